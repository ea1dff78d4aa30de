"""What `foresense up`, `status`, `logs`, `down`, `backup` and `restore` do. None of them removes data."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from foresense.services import backups, secret_file, volumes
from foresense.services.containers import Docker, ServiceError, check_services
from foresense.services.containers import volumes as volume_names
from foresense.services.places import (
    check_places,
    check_store,
    places,
    restore_places,
    store_name,
    write_places,
)
from foresense.signals.kept import forget_kept
from foresense.stores import split_name

WAIT_S = 900  # images are built before; Spark and MLflow take a minute on a slow disk
ADDRESSES = """Prefect   http://127.0.0.1:4200
MLflow    http://127.0.0.1:5000
InfluxDB  http://127.0.0.1:8086   (user foresense, password in deploy/.env)
Spark     http://127.0.0.1:8080
MQTT      127.0.0.1:1883          (user machines, password in deploy/.env)"""
_INFLUX_OF_COMPOSE = (("127.0.0.1", 8086), ("localhost", 8086), ("::1", 8086), ("influxdb", 8086))
Tell = Callable[[str], None]


def up(root: Path, services: Sequence[str], *, build: bool, tell: Tell) -> None:
    """Make passwords and volumes that are missing, then start services and wait for their health.

    Args:
        root: Folder of the project.
        services: Only these, and what they need; none: all.
        build: Build the images first; otherwise take those that are there.
        tell: Gets a line for the person at the terminal.

    Raises:
        ServiceError: no docker, no such service, or one did not become healthy.
    """
    docker = Docker.find(root)
    check_services(root, services)
    if added := secret_file.ensure(root / secret_file.PLACE):
        tell(f"{secret_file.PLACE}: {len(added)} passwords made; keep this file, the stores were told them")
    for name in volume_names(root):
        docker.must("volume", "create", name)
    start = ("up", "--detach", "--build" if build else "--no-build", "--wait", "--wait-timeout", str(WAIT_S), *services)
    if code := docker.shown(*start):
        raise ServiceError(f"not everything became healthy (docker compose ended with {code}); see: foresense logs")
    tell(ADDRESSES)


def status(root: Path, tell: Tell) -> bool:
    """Tell state and health of every service.

    Args:
        root: Folder of the project.
        tell: Gets a line for each.

    Returns:
        Whether every one is running and healthy.

    Raises:
        ServiceError: no docker, or nothing was started from this folder.
    """
    states = Docker.find(root).states()
    for name, (state, health) in states.items():
        tell(f"{name:16} {state:12} {health}")
    return all(state == "running" and health in ("healthy", "-") for state, health in states.values())


def logs(root: Path, services: Sequence[str], *, follow: bool) -> int:
    """Show the last 200 lines of each service.

    Args:
        root: Folder of the project.
        services: Only these; none: all.
        follow: Go on until Ctrl-C.

    Returns:
        The exit code of docker.

    Raises:
        ServiceError: no docker, no such service, or nothing was started from this folder.
    """
    docker = Docker.find(root)
    check_services(root, services)
    return docker.shown("logs", "--tail", "200", *(["--follow"] * follow), *services)


def down(root: Path) -> int:
    """Stop and remove the containers; volumes stay.

    Args:
        root: Folder of the project.

    Returns:
        The exit code of docker.

    Raises:
        ServiceError: no docker, or nothing was started from this folder.
    """
    return Docker.find(root).shown("down")


def backup(
    root: Path,
    folder: Path,
    environment: Mapping[str, str],
    *,
    embedded: bool,
    without_store: bool = False,
    tell: Tell,
) -> bool:
    """Write a backup with a name from the clock into `folder`.

    Args:
        root: Folder of the project.
        folder: For backups.
        environment: Says where store and bridge keep their data.
        embedded: Only what lies in folders of this machine; needs no docker.
        without_store: The samples are backed up elsewhere: leave the folder of the store out.
        tell: Gets a line for each part, and for what is not in it.

    Returns:
        Whether the samples are in it, or were not asked for.

    Raises:
        ServiceError: there is nothing to back up, or docker does not answer.
        OSError: no room, or something could not be copied.
        ValueError: a place cannot be backed up as it is; the bridge writes to another store than FORESENSE_STORE.
    """
    found = places(root, environment)
    if without_store:
        del found["store"]
    else:
        check_store(root, found["bridge"], environment)
    started = (root / secret_file.PLACE).exists()
    docker = Docker.find(root) if started and not embedded else None
    for left in backups.unfinished(folder):
        tell(f"{left}: a backup that did not finish; unless another one runs now, remove it by hand")
    target = folder / backups.stamp()
    with backups.new_backup(target) as partial:
        parts = write_places(found, partial)
        if docker is not None:
            parts += volumes.write_volumes(docker, partial)
        if not parts:
            looked_at = ", ".join(str(path) for path in found.values())
            raise ServiceError(
                f"{root}: nothing to back up: none of {looked_at}, no volumes; see `foresense --project`"
            )
        backups.write_manifest(partial, root, parts)
        backups.verified(partial)
        has_compose_influx = volumes.has_influx(partial, parts)
    for each in parts:
        tell(f"{each.kind:8} {each.name:28} {each.size / 2**20:10.1f} MiB  {each.sha256[:16]}")
    names = {each.name for each in parts}
    for name, path in found.items():
        if name not in names:
            tell(f"not there: {name} ({path})")
    if without_store:
        tell(f"{target}: complete, without the store (--without-store)")
        return True
    if split_name(store_name(environment))[0] == "influx" and not (
        has_compose_influx and _is_of_compose(environment.get("FORESENSE_INFLUX_URL", ""))
    ):
        address = environment.get("FORESENSE_INFLUX_URL") or "FORESENSE_INFLUX_URL is not set"
        tell(
            f"NOT in this backup: the samples in {store_name(environment)} ({address}); use `influx backup` (2.x) or "
            "`influxd backup` (1.x) on its machine, or `foresense backup` without --embedded in the checkout whose "
            "compose.yaml runs it; --without-store says that this is done"
        )
        tell(f"{target}: complete but for the samples")
        return False
    tell(f"{target}: complete")
    return True


def _is_of_compose(url: str) -> bool:
    address = urlsplit(url or "http://127.0.0.1:8086")
    return (address.hostname, address.port) in _INFLUX_OF_COMPOSE


def restore(
    root: Path, folder: Path, environment: Mapping[str, str], *, embedded: bool, replace: bool, tell: Tell
) -> None:
    """Bring a backup back: look at every byte of it and at every target first, then change something.

    Args:
        root: Folder of the project.
        folder: The backup.
        environment: Says where store and bridge keep their data.
        embedded: Only what lies in folders of this machine; needs no docker.
        replace: Put data that is there aside.
        tell: Gets a line for what was put aside.

    Raises:
        ServiceError: docker does not answer, or its volumes are in use or hold data.
        OSError: data is there already, somebody writes there, or the disk does not let us.
        ValueError: the backup is damaged or of another commit.
    """
    parts = backups.verified(folder)
    found = places(root, environment)
    n_volumes = sum(each.kind == "volume" for each in parts)
    docker = Docker.find(root) if n_volumes and not embedded else None
    check_places(found, parts, replace=replace)
    if docker is not None:
        volumes.check_volumes(docker, parts, replace=replace)
    now = backups.stamp()
    try:
        aside = [str(path) for path in restore_places(found, folder, parts, now)]
        if docker is not None:
            aside += volumes.restore_volumes(docker, folder, parts, now)
    finally:
        forgotten = forget_kept(root)
    for name in aside:
        tell(f"put aside: {name}")
    if forgotten:
        tell(forgotten)
    left_out = f"; {n_volumes} volumes left out (--embedded)" if n_volumes and docker is None else ""
    tell(f"{folder}: restored{left_out}")
