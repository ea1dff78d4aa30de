"""Bring a public raw data set into data/raw/: from a folder on this machine, else from its public address."""

import hashlib
import os
from contextlib import nullcontext
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from foresense.signals import file_sha256, replaced_folder, write_bytes
from foresense.sources.known_sets import any_known_set
from foresense.sources.sets import RawFile, RawSet
from foresense.sources.tables import SourceError

_TIMEOUT_S = 30.0
_SHOWN = 5  # names of files; of more, only how many


class FetchError(RuntimeError):
    """A raw file could not be brought; nothing is left behind, and the message says what to do."""


@dataclass(frozen=True)
class FetchResult:
    """What `fetch` did.

    Attributes:
        set_name: Name of the set.
        folder: Where its files are now.
        files: Names of its files, SHA-256 checked.
        origin: Where they came from; `already there` when nothing had to be done.
        source: Where the set is from, for people.
        licence: As stated by its authors.
    """

    set_name: str
    folder: Path
    files: tuple[str, ...]
    origin: str
    source: str
    licence: str

    def __str__(self) -> str:
        """Two lines for the command line."""
        shown = ", ".join(self.files) if len(self.files) <= _SHOWN else f"{len(self.files)} files"
        return (
            f"{self.set_name}: {shown} in {self.folder} ({self.origin}), SHA-256 checked\n"
            f"from {self.source}; licence {self.licence}"
        )


def fetch(set_name: str, raw: Path) -> FetchResult:
    """Bring the public set `set_name` into `<raw>/<set_name>/`; nothing is written before all of it is there.

    Args:
        set_name: A name in `sources.known_sets`.
        raw: Folder data/raw.

    Raises:
        SourceError: no such set, or files that are there already are not the set's files.
        FetchError: the file is not where it should be, no network, or a wrong digest.
    """
    return fetch_set(any_known_set(set_name), raw, local=os.environ.get("FORESENSE_DATA") or None)


def fetch_set(wanted: RawSet, raw: Path, *, local: str | None) -> FetchResult:
    """Bring the files of `wanted` into `<raw>/<set>/`; a new folder has all of them from its first moment on.

    Args:
        wanted: Names, digests and addresses.
        raw: Folder data/raw.
        local: Folder that holds sets by name; None: fetch from the public address.

    Raises:
        SourceError: files that are there already are not the set's files.
        FetchError: the file is not where it should be, no network, or a wrong digest.
    """
    folder = raw / wanted.name
    if all((folder / file.name).is_file() for file in wanted.files):
        _check_present(wanted, folder)
        origin = "already there"
    else:
        origin = local or "public address"
        contents = [_content(wanted, file, local) for file in wanted.files]
        with nullcontext(folder) if folder.is_dir() else replaced_folder(folder) as into:
            for file, content in zip(wanted.files, contents, strict=True):
                write_bytes(into / file.name, content)
    names = tuple(file.name for file in wanted.files)
    return FetchResult(wanted.name, folder, names, origin, wanted.source, wanted.licence)


def _content(wanted: RawSet, file: RawFile, local: str | None) -> bytes:
    """All bytes of one file, digest checked."""
    content = _from_folder(wanted, file, Path(local)) if local else _from_address(wanted, file)
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise FetchError(
            f"{file.name} from {local or file.address}: expected SHA-256 {file.sha256} ({file.n_bytes} bytes), "
            f"found {found} ({len(content)} bytes read); nothing was kept; this is not the declared version"
        )
    return content


def _check_present(wanted: RawSet, folder: Path) -> None:
    for file in wanted.files:
        found = file_sha256(folder / file.name)
        if found != file.sha256:
            raise SourceError(
                f"{folder / file.name}: expected SHA-256 {file.sha256}, found {found}: the file was altered or cut "
                f"off; remove it and fetch again, or keep your own version under another name"
            )


def _from_folder(wanted: RawSet, file: RawFile, local: Path) -> bytes:
    path = local / wanted.name / file.name
    if not path.is_file():
        raise FetchError(
            f"{path}: not there (FORESENSE_DATA is {local}); put the file there, "
            f"or unset FORESENSE_DATA to fetch it from {file.address}"
        )
    return path.read_bytes()


def _from_address(wanted: RawSet, file: RawFile) -> bytes:
    if not file.address.startswith("https://"):
        raise FetchError(f"{file.address}: only https addresses are fetched")
    try:
        with urlopen(file.address, timeout=_TIMEOUT_S) as answer:
            return bytes(answer.read(file.n_bytes + 1))  # one byte too many is enough to see that it is another file
    except (OSError, HTTPException) as error:
        raise FetchError(
            f"{file.address}: could not be fetched ({getattr(error, 'reason', error)}); without a network set "
            f"FORESENSE_DATA to a folder that holds {wanted.name}/{file.name}, or put the file (SHA-256 "
            f"{file.sha256}) into data/raw/{wanted.name}/"
        ) from error
