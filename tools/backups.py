"""A backup: a folder of tar files with a manifest that holds their SHA-256; the folder is complete or absent."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

MANIFEST = "manifest.json"
FORMAT = 1
#: What is kept in the project's folder and cannot be made again from git: part of a backup -> path.
PLACES = {
    "secrets": "deploy/.env",
    "store": "store",
    "mlflow-runs": "mlflow/mlflow.db",
    "mlflow-artifacts": "mlflow/artifacts",
    "dvc-cache": ".dvc/cache",
}
N_TRIES = 5  # of copying a folder from which files go away meanwhile
SQLITE = b"SQLite format 3\0"
SQLITE_COMPANIONS = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class Part:
    """One tar file of a backup.

    Attributes:
        name: Of the place, the volume or the service.
        kind: `place`, `volume` or `influx`.
        file: Name of the tar file.
        size: Bytes.
        sha256: Of the tar file.
    """

    name: str
    kind: str
    file: str
    size: int
    sha256: str


def stamp() -> str:
    """The time now, as names of folders carry it."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


@contextmanager
def new_backup(folder: Path) -> Iterator[Path]:
    """A folder to write into; it takes the name `folder` when the block ends well, and goes away when it does not."""
    if folder.exists():
        raise FileExistsError(f"{folder}: exists already; a backup never goes over another one")
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(mode=0o700, parents=True)
    try:
        yield partial
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial)
        raise


def part(folder: Path, name: str, kind: str) -> Part:
    """The entry of the manifest for `<name>.tar` in `folder`."""
    path = folder / f"{name}.tar"
    return Part(name, kind, path.name, path.stat().st_size, digest(path))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, root: Path, parts: Sequence[Part]) -> None:
    """Write the manifest, last of all files: what is in the backup, and the commit it fits."""
    commit = git(root, "rev-parse", "HEAD")
    found = {"format": FORMAT, "git_commit": commit, "parts": [asdict(each) for each in parts]}
    with (folder / MANIFEST).open("x") as file:
        json.dump(found, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def git(root: Path, *words: str) -> str | None:
    """What git says of `root`; none where there is no git or no repository."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def verified(folder: Path) -> tuple[Part, ...]:
    """The parts of a backup, after a look at every byte.

    Raises:
        ValueError: it is no backup, or damaged; names every file that is.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder}: no {MANIFEST} in it: not a backup, or one that was not finished")
    try:
        found = json.loads(path.read_text())
        if found["format"] != FORMAT:
            raise ValueError(f"{path}: format {found['format']}, expected {FORMAT}: use the commit that wrote it")
        parts = tuple(Part(**each) for each in found["parts"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error}); nothing was restored") from error
    wrong = [f"{each.file}: {fault}" for each in parts if (fault := _fault(folder / Path(each.file).name, each))]
    if wrong:
        raise ValueError(f"{folder}: damaged, nothing was restored: {'; '.join(wrong)}")
    return parts


def _fault(path: Path, expected: Part) -> str | None:
    if not path.is_file():
        return "missing"
    if path.stat().st_size != expected.size:
        return f"{path.stat().st_size} bytes, expected {expected.size}"
    return None if digest(path) == expected.sha256 else "its SHA-256 is another one"


def write_places(root: Path, folder: Path) -> list[Part]:
    """Copy every place that is there into `folder`.

    Raises:
        OSError: not enough room, or something changed while it was copied.
    """
    there = {name: root / place for name, place in PLACES.items() if (root / place).exists()}
    needed = sum(path.lstat().st_size for source in there.values() for path in (source, *source.rglob("*")))
    if needed > (free := shutil.disk_usage(folder).free):
        raise OSError(
            f"{folder.parent}: {free >> 20} MiB free, {needed >> 20} MiB needed; give another place with --to"
        )
    for name, source in there.items():
        try:
            _archive_of_one_moment(source.resolve(), folder / f"{name}.tar")
        except (OSError, sqlite3.Error) as error:
            raise OSError(
                f"{PLACES[name]}: could not be copied ({error}); stop what writes there (bridge, simulate, "
                "a training), and try again"
            ) from error
    return [part(folder, name, "place") for name in there]


def _archive_of_one_moment(source: Path, target: Path) -> None:
    # The embedded store takes parts away when it has merged them; what is left then is the whole again.
    for _ in range(N_TRIES - 1):
        try:
            return _archive(source, target)
        except FileNotFoundError:
            target.unlink()
    return _archive(source, target)


def _archive(source: Path, target: Path) -> None:
    databases = {path for path in _files(source) if path.is_file() and not path.is_symlink() and _is_sqlite(path)}
    companions = {f"{path}{ending}" for path in databases for ending in SQLITE_COMPANIONS}
    with target.open("xb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in _files(source):
                name = Path("data") / path.relative_to(source)
                if path in databases:
                    _add_database(tar, path, name, target)
                elif str(path) not in companions:
                    tar.add(path, arcname=name, recursive=False)
        file.flush()
        os.fsync(file.fileno())


def _files(source: Path) -> list[Path]:
    return [source, *sorted(source.rglob("*"))]


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def _add_database(tar: tarfile.TarFile, path: Path, name: Path, target: Path) -> None:
    """Add one consistent state, also while others write; the write-ahead log is in it."""
    copy = target.with_suffix(".sqlite")
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(copy)) as still,
    ):
        live.backup(still)
    copy.chmod(path.stat().st_mode & 0o777)
    tar.add(copy, arcname=name)
    copy.unlink()


def check_places(root: Path, parts: Sequence[Part], *, replace: bool) -> None:
    """Refuse to restore over data, unless asked to.

    Raises:
        ValueError: the backup has a part that this commit does not know.
        FileExistsError: there is data already, and `replace` is false.
    """
    unknown = [each.name for each in parts if each.kind == "place" and each.name not in PLACES]
    if unknown:
        raise ValueError(f"the backup has {unknown}, which this commit does not know: use the commit that wrote it")
    paths = [root / PLACES[each.name] for each in parts if each.kind == "place"]
    taken = [str(path.relative_to(root)) for path in paths if path.is_file() or (path.is_dir() and any(path.iterdir()))]
    if taken and not replace:
        raise FileExistsError(f"there is data already in {taken}; --replace puts it aside and restores")


def restore_places(root: Path, folder: Path, parts: Sequence[Part], now: str) -> list[Path]:
    """Bring places back; what stood there stays beside, as `<name>.before-<time>`.

    All archives are unpacked before the first place is touched; if a place cannot be swapped, those before it go back.

    Returns:
        What was put aside.
    """
    moves: list[tuple[Path, Path]] = []  # done, in order
    unpacked: list[tuple[Path, Path]] = []
    try:
        for each in (each for each in parts if each.kind == "place"):
            place = root / PLACES[each.name]
            beside = place.with_name(f"{place.name}.restoring-{now}")
            beside.mkdir(parents=True)
            unpacked.append((beside, place))
            with tarfile.open(folder / each.file) as tar:
                tar.extractall(beside, filter="tar")  # its filter `data` would make DVC's read-only cache writable
        for beside, place in unpacked:
            for old in (place, *(place.with_name(place.name + ending) for ending in SQLITE_COMPANIONS)):
                if old.exists() or old.is_symlink():
                    moves.append((old, _move(old, old.with_name(f"{old.name}.before-{now}"))))
            moves.append((beside / "data", _move(beside / "data", place)))
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
