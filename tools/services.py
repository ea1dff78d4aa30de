"""The services of compose.yaml: up, status, logs, down, backup, restore. None of them removes data.

python -m tools.services up                       passwords, volumes, images, containers; waits until all are healthy
python -m tools.services status                   exits 1 when one is not running or not healthy
python -m tools.services backup [--embedded]      into backups/<UTC time>/; --embedded: only folders, needs no docker
python -m tools.services restore <folder>         refuses a damaged backup, and to go over data without --replace
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import backups, secret_file, volumes
from tools.containers import Docker, ServiceError
from tools.containers import volumes as volume_names

ROOT = Path(__file__).resolve().parents[1]
WAIT_S = 900  # images are built before; Spark and MLflow take a minute on a slow disk
ADDRESSES = """Prefect   http://127.0.0.1:4200
MLflow    http://127.0.0.1:5000
InfluxDB  http://127.0.0.1:8086   (user foresense, password in deploy/.env)
Spark     http://127.0.0.1:8080
MQTT      127.0.0.1:1883          (user machines, password in deploy/.env)"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="tools.services", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = found.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="build, start, and wait until every service is healthy")
    up.add_argument("services", nargs="*", help="only these, and what they need")
    up.add_argument("--no-build", action="store_true", help="take the images that are there (going back to a commit)")
    verbs.add_parser("status", help="state and health of each service; exits 1 when one is not well")
    logs = verbs.add_parser("logs", help="the last 200 lines of each service")
    logs.add_argument("services", nargs="*")
    logs.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    verbs.add_parser("down", help="stop and remove the containers; data stays")
    backup = verbs.add_parser("backup", help="copy volumes and folders, with SHA-256")
    backup.add_argument("--embedded", action="store_true", help="only what lies in the project's folder")
    backup.add_argument("--to", type=Path, help="folder for backups; default: backups/ in the project")
    restore = verbs.add_parser("restore", help="bring a backup back")
    restore.add_argument("folder", type=Path)
    restore.add_argument("--embedded", action="store_true", help="only what lies in the project's folder")
    restore.add_argument("--replace", action="store_true", help="put data that is there aside")
    return found


def up(root: Path, services: Sequence[str], *, build: bool) -> int:
    """Make passwords and volumes that are missing, then start services and wait for their health."""
    docker = Docker.find(root)
    if added := secret_file.ensure(root / secret_file.PLACE):
        say(f"{secret_file.PLACE}: {len(added)} passwords made; keep this file, the stores were told them")
    for name in volume_names(root):
        docker.must("volume", "create", name)
    start = ("up", "--detach", "--build" if build else "--no-build", "--wait", "--wait-timeout", str(WAIT_S), *services)
    if code := docker.shown(*start):
        raise ServiceError(
            f"not everything became healthy (docker compose ended with {code}); see: tools.services logs"
        )
    say(ADDRESSES)
    return 0


def status(root: Path) -> int:
    """Print state and health of every service; 1 when one is not running or not healthy."""
    states = Docker.find(root).states()
    for name, (state, health) in states.items():
        say(f"{name:16} {state:12} {health}")
    return int(any(state != "running" or health not in ("healthy", "-") for state, health in states.values()))


def backup(root: Path, folder: Path, *, embedded: bool) -> int:
    """Write a backup with a name from the clock into `folder`."""
    started = (root / secret_file.PLACE).exists()
    docker = Docker.find(root) if started and not embedded else None
    target = folder / backups.stamp()
    with backups.new_backup(target) as partial:
        parts = backups.write_places(root, partial)
        if docker is not None:
            parts += volumes.write_volumes(docker, partial)
        if not parts:
            raise ServiceError(f"{root}: nothing to back up: none of {', '.join(backups.PLACES.values())}, no volumes")
        backups.write_manifest(partial, root, parts)
        backups.verified(partial)
    for each in parts:
        say(f"{each.kind:8} {each.name:28} {each.size / 2**20:10.1f} MiB  {each.sha256[:16]}")
    say(f"{target}: complete")
    return 0


def restore(root: Path, folder: Path, *, embedded: bool, replace: bool) -> int:
    """Bring a backup back: look at every byte of it and at every target first, then change something."""
    parts = backups.verified(folder)
    n_volumes = sum(each.kind == "volume" for each in parts)
    docker = Docker.find(root) if n_volumes and not embedded else None
    backups.check_places(root, parts, replace=replace)
    if docker is not None:
        volumes.check_volumes(docker, parts, replace=replace)
    now = backups.stamp()
    aside = [str(path) for path in backups.restore_places(root, folder, parts, now)]
    if docker is not None:
        aside += volumes.restore_volumes(docker, folder, parts, now)
    for name in aside:
        say(f"put aside: {name}")
    left_out = f"; {n_volumes} volumes left out (--embedded)" if n_volumes and docker is None else ""
    say(f"{folder}: restored{left_out}")
    return 0


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Do what the words say.

    Args:
        arguments: Words of the command line; absent: those of this process.
        root: Folder of the project.

    Returns:
        The exit code; 1 with a message on stderr for what a person can repair.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["down"] and words[1:]:
        sys.stderr.write(f"tools.services: down takes nothing more, found {words[1:]}; nothing here removes data\n")
        return 2
    given = parser().parse_args(words)
    try:
        match given.verb:
            case "up":
                return up(root, given.services, build=not given.no_build)
            case "status":
                return status(root)
            case "logs":
                docker = Docker.find(root)
                return docker.shown("logs", "--tail", "200", *(["--follow"] * given.follow), *given.services)
            case "down":
                return Docker.find(root).shown("down")
            case "backup":
                return backup(root, given.to or root / "backups", embedded=given.embedded)
            case _:
                return restore(root, given.folder, embedded=given.embedded, replace=given.replace)
    except (ServiceError, OSError, ValueError) as error:
        sys.stderr.write(f"tools.services: {error}\n")
        return 1


def say(text: str) -> None:
    """A line for the person at the terminal."""
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
