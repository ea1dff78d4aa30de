"""Files that are complete or absent, and their digests."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, flush it to the disk, then rename: a reader sees all of it or nothing.

    Raises:
        OSError: the disk is full or may not be written; nothing is left beside `path`, and what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: object) -> None:
    """Write `content` as JSON with a stable layout; NaN and infinity are refused, because JSON has neither."""
    write_bytes(path, (json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read one JSON file.

    Raises:
        FileNotFoundError: with the path.
        ValueError: the file is not JSON in UTF-8; the message names it.
    """
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); the file was cut off or edited by hand") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error}); the file was damaged") from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply to be ours; the file was damaged or edited by hand") from error


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Give a fresh folder beside `folder`; it takes its place when the block ends without an error.

    An older `folder` is renamed away whole before, and removed after: at no moment is a part of it in its place.

    Yields:
        The folder to write into.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = _folder_beside(folder)
    beside.chmod(0o755)
    try:
        yield beside
        if folder.exists():
            older = _folder_beside(folder)
            os.replace(folder, older)
            os.replace(beside, folder)
            shutil.rmtree(older)
        else:
            os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _folder_beside(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))


def file_sha256(path: Path) -> str:
    """SHA-256 of one file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_sha256(folder: Path) -> str:
    """SHA-256 over sorted 'digest  path' lines of all files below `folder`, as `sha256sum` would print them.

    Raises:
        FileNotFoundError: `folder` holds no file.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise FileNotFoundError(f"{folder}: no files there; run the step that writes it first")
    lines = "".join(f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()
