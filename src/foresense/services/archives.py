"""Tar files of a backup: only their owner reads them; looked through before anything is taken out."""

import os
import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

#: What a place is called in its tar file, be it a file or a folder.
TOP = "data"


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A new file of mode 0600 to write into; it is on the disk when the block ends.

    Raises:
        FileExistsError: there is one already.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def fault_of_tar(path: Path, *, is_place: bool) -> str | None:
    """Why a tar file must not be unpacked; none where it may.

    Args:
        path: The tar file.
        is_place: It holds files and folders below `TOP` and nothing else. Otherwise it is a volume's, in which a link
            may lead to another file of the volume.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if fault := _fault_of(member, is_place=is_place):
                    return f"{member.name!r} in it {fault}"
    except (tarfile.TarError, ValueError) as error:
        return f"not a tar file ({error})"
    return None


def _fault_of(member: tarfile.TarInfo, *, is_place: bool) -> str | None:
    if _leads_out(member.name):
        return "leads out of its folder"
    if is_place and PurePosixPath(member.name).parts[:1] != (TOP,):
        return f"is not below {TOP}/"
    if member.isreg() or member.isdir():
        return None
    if not (member.issym() or member.islnk()):
        return "is neither a file nor a folder"
    if is_place:
        return "is a link"
    # A hard link names another member, a symbolic one a path from where it lies.
    start = posixpath.dirname(member.name) if member.issym() else ""
    is_out = member.linkname.startswith("/") or _leads_out(posixpath.normpath(posixpath.join(start, member.linkname)))
    return f"is a link to {member.linkname!r}, out of its folder" if is_out else None


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts
