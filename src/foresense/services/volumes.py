"""Volumes of the services, into a backup and back. None is ever removed: what a restore replaces is copied first."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

from foresense.services.archives import written
from foresense.services.backups import Part, part
from foresense.services.containers import Docker, ServiceError, volumes

#: What copies: the base of our own images, so it is there wherever they were built.
HELPER = "python:3.11-slim-bookworm"
_INFLUX = "foresense-influxdb"
#: The server's own dump, beside the copy of its volume: it can be restored into another server and a newer version.
#: The token is the one that the image keeps for its own command line.
INFLUX_DUMP = """rm -rf /tmp/dump
influx backup /tmp/dump >&2
tar -C /tmp/dump -cf - .
rm -rf /tmp/dump"""


def write_volumes(docker: Docker, folder: Path) -> list[Part]:
    """Copy every volume that exists into `folder`, with the services stopped for as long as that takes."""
    there = [name for name in volumes(docker.root) if exists(docker, name)]
    running = docker.running()
    parts = []
    if "influxdb" in running:
        with written(folder / "influx-dump.tar") as file:
            docker.must(*docker.compose("exec", "-T", "influxdb", "sh", "-euc", INFLUX_DUMP), sink=file)
        parts.append(part(folder, "influx-dump", "influx"))
    if running:
        docker.must(*docker.compose("stop", *running))
    try:
        for name in there:
            with written(folder / f"{name}.tar") as file:
                docker.must(*helper(f"{name}:/from:ro"), "tar", "-C", "/from", "-cf", "-", ".", sink=file)
            parts.append(part(folder, name, "volume"))
    finally:
        if running:
            docker.must(*docker.compose("start", *running))
    return parts


def has_influx(folder: Path, parts: Sequence[Part]) -> bool:
    """Whether the InfluxDB of compose.yaml is in the backup `folder`; its volume is made, empty, without it too."""
    for each in parts:
        if each.kind == "volume" and each.name == _INFLUX:
            with tarfile.open(folder / each.file) as tar:
                return any(member.isfile() for member in tar)
    return False


def check_volumes(docker: Docker, parts: Sequence[Part], *, replace: bool) -> None:
    """Refuse to restore under running services, into volumes that are not ours, or over data unless asked to.

    Raises:
        ServiceError: one of these.
    """
    names = [each.name for each in parts if each.kind == "volume"]
    if unknown := sorted(set(names) - set(volumes(docker.root))):
        raise ServiceError(
            f"the backup has the volumes {unknown}, which compose.yaml does not: use the commit that wrote it"
        )
    if running := docker.running():
        raise ServiceError(f"{', '.join(running)}: still running; run `foresense down` first (it removes no data)")
    taken = [
        name for name in names if exists(docker, name) and docker.must(*helper(f"{name}:/from:ro"), "ls", "-A", "/from")
    ]
    if taken and not replace:
        raise ServiceError(f"there is data already in the volumes {taken}; --replace copies it aside and restores")


def restore_volumes(docker: Docker, folder: Path, parts: Sequence[Part], now: str) -> list[str]:
    """Bring volumes back; what they held stays in `<name>.before-<time>`.

    Returns:
        The volumes with what was there before.
    """
    aside = []
    for each in (each for each in parts if each.kind == "volume"):
        if exists(docker, each.name):
            before = f"{each.name}.before-{now}"
            docker.must("volume", "create", before)
            docker.must(*helper(f"{each.name}:/from:ro", f"{before}:/to"), "cp", "-a", "/from/.", "/to/")
            aside.append(before)
        else:
            docker.must("volume", "create", each.name)
        fill = "find /to -mindepth 1 -delete && tar -C /to -xpf -"
        docker.must(*helper(f"{each.name}:/to"), "sh", "-euc", fill, source=folder / each.file)
    return aside


def exists(docker: Docker, name: str) -> bool:
    """Whether there is a volume of this name."""
    return docker.call("volume", "inspect", name).returncode == 0


def helper(*mounts: str) -> tuple[str, ...]:
    """Words that run a helper container without a network; each mount is `<volume>:<path>` or `<volume>:<path>:ro`."""
    words = ["run", "--rm", "--interactive", "--network", "none"]
    for mount in mounts:
        volume, path, *read_only = mount.split(":")
        words += ["--mount", f"type=volume,src={volume},dst={path}{',readonly' if read_only else ''}"]
    return (*words, HELPER)
