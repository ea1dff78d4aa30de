"""Official weights of the Pretrained Actigraphy Transformer: fetched or taken, checked, pinned, and only then read.

A file is read with h5py, never deserialised as a Keras object. Its SHA-256 is pinned in a lock file when it first comes
in, and compared ever after: no digest of these files is published that could be proved.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np

from foresense.config.pat import PatSize, PatWeightsError, pat_size, require_weights, weight_shapes
from foresense.signals.files import read_json, write_bytes, write_json

PAGE = "https://github.com/njacobsonlab/Pretrained-Actigraphy-Transformer"
SCHEMA_VERSION = 1
#: The largest official file is 8.0 MB, the whole network of Huge with its optimizer below 60 MB.
MAX_BYTES = 64 * 2**20
_TIMEOUT_S = 30.0
_KERAS_FOLDER = "model_weights"  # where a whole model was saved, not its weights alone


class WeightsError(ValueError):
    """A weights file is absent, unpinned, altered, or not what its name says."""


class WeightsFetchError(RuntimeError):
    """A weights file could not be brought; nothing was written."""


@dataclass(frozen=True)
class Attribution:
    """What every artefact that holds these weights must say (CC BY 4.0, section 3a)."""

    title: str
    authors: str
    source: str
    licence: str
    licence_address: str
    paper: str
    trained_on: str
    changes: str = "none"


@dataclass(frozen=True)
class Release:
    """One official file.

    Attributes:
        name: `PAT-S_29k`; its file is `PAT-S_29k_weights.h5`.
        size: Name in PAT_SIZES.
        n_people: Whose weeks it was trained on.
        cycles: Survey cycles of NHANES that it has seen, and must not be tested on.
    """

    name: str
    size: str
    n_people: int
    cycles: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.name}_weights.h5"

    @property
    def attribution(self) -> Attribution:
        """Who made it, from what, under which licence."""
        return Attribution(
            title="Pretrained Actigraphy Transformer (PAT)",
            authors="Franklin Y. Ruan, Aiwei Zhang, Jenny Y. Oh, SouYoung Jin, Nicholas C. Jacobson",
            source=PAGE,
            licence="CC BY 4.0",
            licence_address="https://creativecommons.org/licenses/by/4.0/",
            paper="arXiv 2411.15240",
            trained_on=f"wrist and hip actigraphy of {self.n_people:,} people of NHANES {', '.join(self.cycles)}",
        )


_CYCLES = ("2003-2004", "2005-2006", "2011-2012", "2013-2014")
#: name -> file. `21k` has not seen 2013-2014: the one to take where that cycle is the test.
RELEASES: dict[str, Release] = {
    release.name: release
    for size in ("S", "M", "L")
    for release in (
        Release(f"PAT-{size}_29k", size, 29_307, _CYCLES),
        Release(f"PAT-{size}_21k", size, 21_538, _CYCLES[:3]),
    )
}


@dataclass(frozen=True)
class Pin:
    """What was accepted when a file first came in."""

    sha256: str
    n_bytes: int
    origin: str
    pinned_utc: str


@dataclass(frozen=True, eq=False)
class Weights:
    """Checked weights.

    Attributes:
        release: Which file.
        sha256: Of the file.
        arrays: Path in the file -> float32 array, as `weight_shapes` says: what `foresense.models.pat.load` takes.
    """

    release: Release
    sha256: str
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class State:
    """One line of `foresense weights list`.

    Attributes:
        release: Which file.
        status: `absent`, `unpinned`, `verified` or `refused`.
        is_pinned: Whether the lock has its digest.
        reason: Why it is not verified.
    """

    release: Release
    status: str
    is_pinned: bool
    reason: str = ""


def release_of(name: str) -> Release:
    """The release of a name.

    Raises:
        WeightsError: there is none; lists the known ones.
    """
    if name not in RELEASES:
        raise WeightsError(f"no weights {name!r}; known: {', '.join(RELEASES)}")
    return RELEASES[name]


def fetch_weights(name: str, origin: str | Path, folder: Path, lock: Path) -> Path:
    """Bring one official file into `folder`: structure checked, digest compared with the lock or pinned in it.

    Args:
        name: In RELEASES.
        origin: An https (on this machine also http) address, a file, or a folder that holds `<name>_weights.h5`.
        folder: Where the file is put; made where it is missing.
        lock: JSON file of the pinned digests; made where it is missing.

    Returns:
        The file's path.

    Raises:
        WeightsFetchError: no network, an HTTP error, half a download, or no such file: nothing is written.
        WeightsError: the file is not the pinned one, or another release's.
        PatWeightsError: names or shapes are not those of the size.
    """
    release = release_of(name)
    content = _from_address(str(origin)) if _is_address(str(origin)) else _from_path(release, Path(origin))
    pins = read_lock(lock)
    found = sha256(content).hexdigest()
    where = f"{release.file} from {origin}"
    _compare(release, pins, found, len(content), where)
    _require_readable(content, release, where)
    path = folder / release.file
    write_bytes(path, content)
    if release.file not in pins:
        pin = Pin(found, len(content), _without_query(str(origin)), datetime.now(UTC).isoformat(timespec="seconds"))
        _write_lock(lock, {**pins, release.file: pin})
    return path


def read_weights(name: str, folder: Path, lock: Path) -> Weights:
    """Read one official file that is there: the bytes that are read are the bytes whose digest is pinned.

    Raises:
        FileNotFoundError: it is not there.
        WeightsError: it is not pinned, or not the pinned one.
        PatWeightsError: names or shapes are not those of the size.
    """
    release = release_of(name)
    path = folder / release.file
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; bring it with `foresense weights fetch {name}` (from {PAGE})")
    content = path.read_bytes()
    pins = read_lock(lock)
    if release.file not in pins:
        raise WeightsError(
            f"{path}: not pinned in {lock}; `foresense weights fetch {name} --origin {path}` checks and pins it"
        )
    found = sha256(content).hexdigest()
    _compare(release, pins, found, len(content), str(path))
    return Weights(release, found, _read(BytesIO(content), pat_size(release.size), str(path)))


def states(folder: Path, lock: Path) -> list[State]:
    """What is there of every release, each file read and checked."""
    pins = read_lock(lock)
    return [_state(release, folder, lock, pins) for release in RELEASES.values()]


def read_lock(lock: Path) -> dict[str, Pin]:
    """File name -> pin; empty where there is no lock yet.

    Raises:
        WeightsError: the lock is of another version or not of this shape.
    """
    if not lock.is_file():
        return {}
    content = read_json(lock)
    try:
        if content["schema_version"] != SCHEMA_VERSION:
            raise WeightsError(f"{lock}: version {content['schema_version']}, expected {SCHEMA_VERSION}")
        return {name: Pin(**pin) for name, pin in content["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{lock}: expected schema_version and files with sha256, n_bytes, origin, pinned_utc; {error!r}; "
            "take it from git"
        ) from error


def _write_lock(lock: Path, pins: dict[str, Pin]) -> None:
    files = {name: asdict(pin) for name, pin in sorted(pins.items())}
    write_json(lock, {"schema_version": SCHEMA_VERSION, "files": files})


def _state(release: Release, folder: Path, lock: Path, pins: dict[str, Pin]) -> State:
    is_pinned = release.file in pins
    if not (folder / release.file).is_file():
        return State(release, "absent", is_pinned, "pinned, but not there" if is_pinned else "")
    if not is_pinned:
        return State(release, "unpinned", is_pinned, f"not in {lock.name}")
    try:
        read_weights(release.name, folder, lock)
    except (WeightsError, PatWeightsError) as error:
        return State(release, "refused", is_pinned, str(error))
    return State(release, "verified", is_pinned)


def _require_readable(content: bytes, release: Release, where: str) -> None:
    """Read bytes that nobody has pinned yet, and let nothing out but errors that name them."""
    try:
        _read(BytesIO(content), pat_size(release.size), where)
    except (WeightsError, PatWeightsError, ImportError):
        raise
    except Exception as error:  # h5py may raise anything on a damaged file: it is what is wrong with the file
        raise WeightsError(f"{where}: not a whole HDF5 file ({error}); damaged, or not a weights file") from error


def _compare(release: Release, pins: dict[str, Pin], found: str, n_bytes: int, where: str) -> None:
    """Refuse bytes that are not the pinned ones of this release, or that are pinned as another one."""
    other = next((name for name, pin in pins.items() if pin.sha256 == found and name != release.file), None)
    if other is not None:
        raise WeightsError(f"{where}: these are the bytes that are pinned as {other}; expected {release.file}")
    pin = pins.get(release.file)
    if pin is None or pin.sha256 == found:
        return
    cut = f": cut off, {pin.n_bytes - n_bytes} bytes are missing" if n_bytes < pin.n_bytes else ""
    raise WeightsError(
        f"{where}: expected SHA-256 {pin.sha256} ({pin.n_bytes} bytes, pinned {pin.pinned_utc}), found {found} "
        f"({n_bytes} bytes){cut}; it was altered or is another file: bring the pinned one again"
    )


def _read(file: IO[bytes], size: PatSize, where: str) -> dict[str, np.ndarray]:
    """The arrays of a file in the network's order; every name, shape and type is checked before a number is read."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "weights files are read with h5py, which is in the extra 'edge': pip install 'foresense[edge]'"
        ) from error

    try:
        opened = h5py.File(file, "r")
    except OSError as error:
        raise WeightsError(f"{where}: not a whole HDF5 file ({error}); cut off, or not a weights file") from error
    with opened:
        is_whole_model = isinstance(opened.get(_KERAS_FOLDER, getlink=True), h5py.HardLink)  # no other file's group
        root = opened[_KERAS_FOLDER] if is_whole_model else opened
        found = _datasets(root, where)
        require_weights(size, {name: dataset.shape for name, dataset in found.items()}, where=where)
        for name, dataset in found.items():
            if dataset.dtype != np.float32:
                raise WeightsError(f"{where}: {name}: expected float32, found {dataset.dtype}")
        try:
            arrays = {name: np.asarray(found[name][()]) for name in weight_shapes(size)}
        except OSError as error:
            raise WeightsError(f"{where}: could not be read to its end ({error})") from error
    bad = [name for name, values in arrays.items() if not np.isfinite(values).all()]
    if bad:
        raise WeightsError(f"{where}: values that are not numbers in {', '.join(bad)}")
    return arrays


def _datasets(root: Any, where: str) -> dict[str, Any]:
    """Path below `root` -> dataset. Links are not followed; one whose bytes lie in another file is refused."""
    import h5py

    found = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    root.visititems(visit)
    elsewhere = [name for name, dataset in found.items() if dataset.external or dataset.is_virtual]
    if elsewhere:
        raise WeightsError(f"{where}: {', '.join(elsewhere)} lie in another file; weights must be in this one")
    return found


def _is_address(origin: str) -> bool:
    return "://" in origin


def _without_query(origin: str) -> str:
    """An address without its keys, a path without this machine's folders: what the lock may hold."""
    if not _is_address(origin):
        return Path(origin).name
    parts = urlsplit(origin)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


def _from_path(release: Release, origin: Path) -> bytes:
    path = origin / release.file if origin.is_dir() else origin
    if not path.is_file():
        raise WeightsFetchError(f"{path}: no such file; give the file, its folder, or an address (see {PAGE})")
    return _limited(path.read_bytes, path.stat().st_size, str(path))


def _from_address(address: str) -> bytes:
    _require_safe(address)
    try:
        with urlopen(address, timeout=_TIMEOUT_S) as answer:
            _require_safe(answer.url)  # where a redirection led
            declared = answer.headers.get("Content-Length")
            content = bytes(answer.read(MAX_BYTES + 1))
    except HTTPError as error:
        raise WeightsFetchError(f"{address}: HTTP {error.code} {error.reason}; see {PAGE} for the address") from error
    except (OSError, HTTPException) as error:
        raise WeightsFetchError(
            f"{address}: could not be fetched ({getattr(error, 'reason', error)}); without a network give the file or "
            "its folder as --origin"
        ) from error
    if declared is not None and len(content) < min(int(declared), MAX_BYTES + 1):
        raise WeightsFetchError(f"{address}: half a download: {len(content)} of {declared} bytes; try again")
    return _limited(lambda: content, len(content), address)


def _require_safe(address: str) -> None:
    parts = urlsplit(address)
    is_here = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
    if parts.scheme != "https" and not is_here:
        raise WeightsFetchError(f"{address}: only https addresses are fetched")


def _limited(read: Callable[[], bytes], n_bytes: int, where: str) -> bytes:
    if n_bytes > MAX_BYTES:
        raise WeightsFetchError(f"{where}: more than {MAX_BYTES} bytes; no official file is that large")
    return read()
