"""What a project keeps in its folders: into a backup and back. What a restore replaces stays beside."""

import fcntl
import json
import os
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from foresense.services.archives import TOP, written
from foresense.services.backups import Part, part
from foresense.services.databases import COMPANIONS, copy_database, is_database, is_held
from foresense.stores import split_name

_N_TRIES = 20  # of a folder from which files go away meanwhile
_N_HELD = 512  # files kept open at a time; a process may have 1024
_UNFINISHED = ".unfinished"  # what the embedded store and the exports end a name with until the file is complete
_STORE = "embedded:store"  # where FORESENSE_STORE says nothing; as `bridge run` has it
_STATE = "state.json"  # of the bridge, in its folder
_WRITER_LOCK = "writer.lock"  # locked by the process that writes to the embedded store


def places(root: Path, environment: Mapping[str, str]) -> dict[str, Path]:
    """What cannot be made again from git, by its name in a backup, in the order in which it is copied.

    A sample goes from the publisher's queue to the bridge's and on to the store; copied in this order, it is in at
    least one of the copies. A run names artifacts that come later, or are there already: runs come before artifacts.

    Args:
        root: Folder of the project.
        environment: FORESENSE_STORE and FORESENSE_BRIDGE_FOLDER, as the bridge reads them.

    Raises:
        ValueError: one of them lies inside another, or FORESENSE_STORE names no store.
    """
    kind, folder = split_name(store_name(environment))
    store = root / (folder if kind == "embedded" else "store")
    found = {
        "secrets": root / "deploy" / ".env",
        "bridge": root / (environment.get("FORESENSE_BRIDGE_FOLDER") or "bridge"),
        "store": store,
        "store-forecasts": store.with_name(f"{store.name}-forecasts"),
        "store-anomalies": store.with_name(f"{store.name}-anomalies"),
        "forecasts": root / "forecasts",
        "nights": root / "nights",
        "migration": root / "migration",
        "mlflow-runs": root / "mlflow" / "mlflow.db",
        "mlflow-artifacts": root / "mlflow" / "artifacts",
        "dvc-cache": root / ".dvc" / "cache",
    }
    resolved = {name: path.resolve() for name, path in found.items()}
    for name, path in resolved.items():
        for other, outer in resolved.items():
            if name != other and path.is_relative_to(outer):
                raise ValueError(
                    f"{path}: '{name}' of a backup lies inside '{other}' ({outer}); give each a folder of its own "
                    "(FORESENSE_STORE, FORESENSE_BRIDGE_FOLDER)"
                )
    return resolved


def store_name(environment: Mapping[str, str]) -> str:
    """What FORESENSE_STORE says, or what it stands for when it says nothing."""
    return environment.get("FORESENSE_STORE") or _STORE


def check_store(root: Path, bridge: Path, environment: Mapping[str, str]) -> None:
    """Refuse to go by FORESENSE_STORE where the bridge was told to write to another store.

    Args:
        root: Folder of the project.
        bridge: Folder of the bridge, whose state names its store.
        environment: FORESENSE_STORE.

    Raises:
        ValueError: they differ.
    """
    name, written_to = store_name(environment), _store_of_bridge(bridge / _STATE)
    if written_to is None or _where(root, written_to) == _where(root, name):
        return
    said = name if environment.get("FORESENSE_STORE") else f"nothing, which stands for {name}"
    raise ValueError(
        f"{bridge / _STATE}: the bridge writes to the store {written_to!r}, and FORESENSE_STORE says {said}; set "
        f"FORESENSE_STORE={written_to} to have those samples in the backup, or leave samples out with --without-store"
    )


def _store_of_bridge(state: Path) -> str | None:
    """None where no bridge has run, or one that did not say it."""
    try:
        found = json.loads(state.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return (found.get("store") or None) if isinstance(found, dict) else None


def _where(root: Path, name: str) -> tuple[str, Path | None]:
    # Buckets of InfluxDB are backed up together.
    kind, rest = split_name(name)
    return kind, (root / rest).resolve() if kind == "embedded" else None


def write_places(found: Mapping[str, Path], folder: Path) -> list[Part]:
    """Copy every place that is there into `folder`.

    Args:
        found: Name to place.
        folder: Of the backup that is being written.

    Raises:
        OSError: not enough room, or something changed while it was copied.
        ValueError: a place holds a link, a socket or the like.
    """
    there = {name: place for name, place in found.items() if place.exists()}
    for name, place in there.items():
        if folder.resolve().is_relative_to(place):
            raise ValueError(
                f"{folder.parent}: lies inside '{name}' ({place}), which goes into the backup; give another with --to"
            )
    needed = sum(_size(path) for place in there.values() for path in _listing(place))
    if needed > (free := shutil.disk_usage(folder).free):
        raise OSError(
            f"{folder.parent}: {free >> 20} MiB free, {needed >> 20} MiB needed; give another place with --to"
        )
    for name, place in there.items():
        try:
            _pack_of_one_moment(place, folder / f"{name}.tar")
        except (OSError, sqlite3.Error) as error:
            raise OSError(
                f"{place}: could not be copied ({error}); stop what writes there (bridge, simulate, a training), and "
                "try again"
            ) from error
    return [part(folder, name, "place") for name in there]


def _pack_of_one_moment(place: Path, target: Path) -> None:
    # The embedded store takes parts away when it has merged them; what stands there then is the whole again.
    for left in reversed(range(_N_TRIES)):
        with ExitStack() as stack:
            try:
                return _pack(place, target, stack)
            except FileNotFoundError:
                target.unlink(missing_ok=True)
                if not left:
                    raise


def _pack(place: Path, target: Path, stack: ExitStack) -> None:
    databases = _copied_databases(_listing(place), target, stack)
    # After the databases: what leaves a queue meanwhile is in a file then.
    paths = _settled(place)
    beside = {f"{path}{ending}" for path in databases for ending in COMPANIONS}
    folders = {path for path in paths if stat.S_ISDIR(path.lstat().st_mode)}
    files = [path for path in paths if path not in databases and path not in folders and str(path) not in beside]
    if any(is_database(path) for path in files):
        raise FileNotFoundError("a database was begun meanwhile")
    # Held open before the first is copied: a part of the store that is merged away then is still read to its end.
    held = {path: stack.enter_context(path.open("rb")) for path in files} if len(files) <= _N_HELD else {}
    streamed = set(files) - set(held)
    with (
        written(target) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, dereference=True) as tar,
    ):
        for path in paths:
            name = str(Path(TOP) / path.relative_to(place))
            if path in databases:
                _add_database(tar, databases[path], name, path.stat())
            elif path in held:
                _add(tar, held[path], name)
            elif path in streamed:
                with path.open("rb") as source:
                    _add(tar, source, name)
            elif path in folders:
                tar.add(path, arcname=name, recursive=False)


def _copied_databases(paths: Iterable[Path], target: Path, stack: ExitStack) -> dict[Path, Path]:
    copies: dict[Path, Path] = {}
    for path in paths:
        if path.is_file() and is_database(path):
            copies[path] = target.with_name(f".{target.stem}-{len(copies)}.sqlite")
            for ending in ("", *COMPANIONS):
                stack.callback(Path(f"{copies[path]}{ending}").unlink, missing_ok=True)
            copy_database(path, copies[path])
    return copies


def _add(tar: tarfile.TarFile, source: IO[bytes], name: str) -> None:
    tar.addfile(tar.gettarinfo(arcname=name, fileobj=source), source)


def _add_database(tar: tarfile.TarFile, copy: Path, name: str, of: os.stat_result) -> None:
    with copy.open("rb") as source:
        info = tar.gettarinfo(arcname=name, fileobj=source)
        info.mode, info.mtime, info.uid, info.gid = stat.S_IMODE(of.st_mode), int(of.st_mtime), of.st_uid, of.st_gid
        info.uname = info.gname = ""
        tar.addfile(info, source)


def _settled(place: Path) -> list[Path]:
    """A listing from which nothing went away while it was made.

    Names of a folder come one by one: a merge in between could hide the parts and what they became.
    """
    before = _listing(place)
    for _ in range(_N_TRIES):
        now = _listing(place)
        if set(before) <= set(now):
            return now
        before = now
    raise OSError("files go away faster than they can be listed")


def _listing(place: Path) -> list[Path]:
    """The place and all below it, sorted; files that are not finished are left out.

    Raises:
        ValueError: something is neither a file nor a folder.
    """
    found = [place]
    for folder, folders, files in os.walk(place, onerror=_raise_unless_gone):
        found += [Path(folder) / name for name in (*folders, *files) if not name.endswith(_UNFINISHED)]
    for path in found:
        mode = _mode(path)
        if mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
            raise ValueError(f"{path}: {kind}, and a backup holds files and folders only: put it elsewhere")
    return sorted(found)


def _raise_unless_gone(error: OSError) -> None:
    # `os.walk` begins by asking for the content of what may be one file.
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _mode(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def check_places(found: Mapping[str, Path], parts: Sequence[Part], *, replace: bool) -> None:
    """Refuse to restore over data unless asked to, and under a process that writes there.

    Args:
        found: Name to place.
        parts: Of the backup.
        replace: Data that is there may be put aside.

    Raises:
        ValueError: the backup has a part that this commit does not know.
        FileExistsError: there is data already, and `replace` is false.
        BlockingIOError: somebody writes there.
    """
    unknown = [each.name for each in parts if each.kind == "place" and each.name not in found]
    if unknown:
        raise ValueError(f"the backup has {unknown}, which this commit does not know: use the commit that wrote it")
    here = [found[each.name] for each in parts if each.kind == "place"]
    taken = [path for path in here if path.is_file() or (path.is_dir() and any(path.iterdir()))]
    if taken and not replace:
        raise FileExistsError(
            f"there is data already in {[str(path) for path in taken]}; --replace puts it aside and restores"
        )
    for place in taken:
        if writer := _writer_of(place):
            raise BlockingIOError(f"{writer}: in use; stop what writes there (bridge, simulate), then restore")


def _writer_of(place: Path) -> Path | None:
    """The file that a process holds because it writes there."""
    lock = place / _WRITER_LOCK
    if lock.is_file():
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock
    files = (path for path in _listing(place) if path.is_file())
    return next((path for path in files if is_database(path) and is_held(path)), None)


def restore_places(found: Mapping[str, Path], folder: Path, parts: Sequence[Part], now: str) -> list[Path]:
    """Bring places back; what stood there stays beside, as `<name>.before-<time>`.

    All archives are unpacked before the first place is touched; if a place cannot be swapped, those before it go back.

    Args:
        found: Name to place.
        folder: The backup, looked through by `verified`.
        parts: Of the backup.
        now: For names.

    Returns:
        What was put aside.
    """
    moves: list[tuple[Path, Path]] = []  # done, in order
    unpacked: list[tuple[Path, Path]] = []
    try:
        for each in (each for each in parts if each.kind == "place"):
            place = found[each.name]
            beside = place.with_name(f"{place.name}.restoring-{now}")
            beside.mkdir(mode=0o700, parents=True)
            unpacked.append((beside, place))
            with tarfile.open(folder / each.file, "r:") as tar:
                tar.extractall(beside, filter="tar")  # its filter `data` would make DVC's read-only cache writable
        for beside, place in unpacked:
            for old in (place, *(place.with_name(place.name + ending) for ending in COMPANIONS)):
                if old.exists():
                    moves.append((old, _move(old, old.with_name(f"{old.name}.before-{now}"))))
            moves.append((beside / TOP, _move(beside / TOP, place)))
    except BaseException:
        for source, target in reversed(moves):
            target.rename(source)
        raise
    finally:
        for beside, _ in unpacked:
            shutil.rmtree(beside, ignore_errors=True)
    return [target for _, target in moves if f".before-{now}" in target.name]


def _move(source: Path, target: Path) -> Path:
    return source.rename(target)
