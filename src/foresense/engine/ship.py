"""Code on its way to workers: where modules are found, and a package folder as one zip file for Spark."""

import hashlib
import os
import site
import sys
import sysconfig
import zipfile
from pathlib import Path

_LEFT_OUT = {"__pycache__"}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip file can hold


def shipped(module: Path, into: Path) -> Path:
    """What to give to Spark for a module: a Python file as it is, a package as a zip file in the folder `into`.

    The name of the zip has a digest of its content: Spark refuses a second file of a name it knows.
    """
    if module.is_file():
        return module.absolute()
    files = sorted(
        path for path in module.absolute().rglob("*") if path.is_file() and not _LEFT_OUT.intersection(path.parts)
    )
    digest = hashlib.sha256()
    beside = into / f"{module.name}.part"
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            name, content = path.relative_to(module.absolute().parent).as_posix(), path.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return beside.replace(into / f"{module.name}-{digest.hexdigest()[:16]}.zip")


def unpacked(archive: Path, into: Path) -> Path:
    """A folder with the files of a zip: packages that look for files beside themselves find them there."""
    folder = into / archive.stem
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return folder


def extra_places() -> list[Path]:
    """Where this process finds modules beside what its interpreter brings along: folders and zip files, in order.

    What the interpreter brings is left out: a child process of a worker may be a Python of another version.
    """
    brought = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    stdlib_zip = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    places = [Path(os.path.abspath(entry)) for entry in sys.path]
    return [
        place
        for place in places
        if not {str(place), str(place.parent)} & brought and place.name != stdlib_zip and place.exists()
    ]
