"""A backup: a folder of tar files with a manifest that holds their SHA-256; the folder is complete or absent."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from foresense.services.archives import fault_of_tar, written
from foresense.signals import file_sha256
from foresense.signals.folders import flush_folder

MANIFEST = "manifest.json"
MANIFEST_DIGEST = f"{MANIFEST}.sha256"
FORMAT = 2
_KINDS = ("place", "volume", "influx")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_UNFINISHED = ".partial"


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
    """A folder to write into; it takes the name `folder` when the block ends well, and goes away when it does not.

    Args:
        folder: The backup that is to be.

    Raises:
        FileExistsError: there is one of this name.
    """
    partial = folder.with_name(f".{folder.name}{_UNFINISHED}")
    for path in (folder, partial):
        if path.exists():
            raise FileExistsError(f"{path}: exists already; a backup never goes over another one, so try again")
    partial.mkdir(mode=0o700, parents=True)
    try:
        yield partial
        flush_folder(partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial)
        raise
    flush_folder(folder.parent)


def unfinished(folder: Path) -> list[Path]:
    """Backups in `folder` that were begun and not finished: killed, or at work now."""
    return sorted(folder.glob(f".*{_UNFINISHED}"))


def part(folder: Path, name: str, kind: str) -> Part:
    """The entry of the manifest for `<name>.tar` in `folder`."""
    path = folder / f"{name}.tar"
    return Part(name, kind, path.name, path.stat().st_size, file_sha256(path))


def write_manifest(folder: Path, root: Path, parts: Sequence[Part]) -> None:
    """Write the manifest, last of all files: what is in the backup, and the commit it fits.

    Args:
        folder: Of the backup.
        root: Folder of the project.
        parts: What is in the backup.
    """
    commit = git(root, "rev-parse", "HEAD")
    found = {"format": FORMAT, "git_commit": commit, "parts": [asdict(each) for each in parts]}
    with written(folder / MANIFEST) as file:
        file.write(json.dumps(found, indent=1).encode())
    with written(folder / MANIFEST_DIGEST) as file:
        file.write(f"{file_sha256(folder / MANIFEST)}\n".encode())


def git(root: Path, *words: str) -> str | None:
    """What git says of `root`; none where there is no git or no repository."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def verified(folder: Path) -> tuple[Part, ...]:
    """The parts of a backup, after a look at every byte and every name in it.

    Args:
        folder: The backup.

    Raises:
        ValueError: it is no backup, damaged, or holds what must not be unpacked; names every file that is wrong.
    """
    parts = _read_manifest(folder)
    wrong = [f"{each.file}: {fault}" for each in parts if (fault := _fault(folder / each.file, each))]
    if wrong:
        raise ValueError(f"{folder}: damaged, nothing was restored: {'; '.join(wrong)}")
    return parts


def _read_manifest(folder: Path) -> tuple[Part, ...]:
    path, digest_path = folder / MANIFEST, folder / MANIFEST_DIGEST
    if not folder.is_dir():
        raise ValueError(f"{folder}: not a folder; a backup is a folder with {MANIFEST} in it, such as backups/<time>")
    if not path.is_file():
        raise ValueError(f"{folder}: no {MANIFEST} in it: not a backup, or one that was not finished")
    if not digest_path.is_file():
        raise ValueError(
            f"{folder}: no {MANIFEST_DIGEST} in it: damaged, or of an earlier format: use the commit that wrote it"
        )
    if digest_path.read_bytes() != f"{file_sha256(path)}\n".encode():
        raise ValueError(f"{path}: damaged, nothing was restored: its SHA-256 is not what {MANIFEST_DIGEST} says")
    try:
        found = json.loads(path.read_bytes())
        if found["format"] != FORMAT:
            raise ValueError(f"{path}: format {found['format']}, expected {FORMAT}: use the commit that wrote it")
        parts = tuple(Part(**each) for each in found["parts"])
        strange = [each.name for each in parts if not _is_sound(each)]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error}), nothing was restored") from error
    if strange or len({each.name for each in parts}) < len(parts):
        raise ValueError(f"{path}: damaged, nothing was restored: a part has a wrong name, kind or file: {strange}")
    return parts


def _is_sound(each: Part) -> bool:
    return each.kind in _KINDS and bool(_NAME.fullmatch(each.name)) and each.file == f"{each.name}.tar"


def _fault(path: Path, expected: Part) -> str | None:
    if not path.is_file() or path.is_symlink():
        return "missing"
    if path.stat().st_size != expected.size:
        return f"{path.stat().st_size} bytes, expected {expected.size}"
    if file_sha256(path) != expected.sha256:
        return "its SHA-256 is another one"
    return fault_of_tar(path, is_place=expected.kind == "place")
