"""Verify: is an artefact still what left the pipeline?"""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from foresense.export.clips_verify import verify_clips_artefact, verify_pi_folder
from foresense.export.mixed_verify import verify_mixed_artefact
from foresense.export.verify import SEAL, VerifyResult, verify_artefact
from foresense.export.weeks_verify import verify_weeks_artefact
from foresense.export.wrist_verify import verify_wrist_artefact
from foresense.registry import ARTEFACT, VersionError, verify_version
from foresense.signals import file_sha256
from foresense.signals.json_object import read_object

#: What the artefact is about -> how it is checked; anything else is taken for a forecast.
_KINDS: dict[str, Callable[[Path, dict[str, Any]], VerifyResult]] = {
    "activity": verify_wrist_artefact,
    "clips": verify_clips_artefact,
    "mixed": verify_mixed_artefact,
    "pi": verify_pi_folder,
    "weeks": verify_weeks_artefact,
}


def verify(artefact: Path) -> VerifyResult:
    """Check SHA-256 of every file, unlisted files, descriptions, and golden vectors on every format.

    Args:
        artefact: `exports/<pipeline>/<group>`, or `exports/<pipeline>` for all of its artefacts; or a version that was
            fetched from the registry, `.foresense/versions/<digest>`.

    Returns:
        What was checked and one line for each difference; lines of a whole pipeline begin with the group.

    Raises:
        FileNotFoundError: no artefact there.
        ValueError: a manifest is not JSON, or no object.
    """
    if not (artefact / "manifest.json").is_file():
        return _verify_below(artefact)
    return _verify_version(artefact) if _is_version(artefact) else _verify_one(artefact)


def _is_version(folder: Path) -> bool:
    """An artefact has a seal; the manifest of a version names its asset, and the registry has its digest."""
    return not (folder / SEAL).is_file() and "asset" in read_object(folder / "manifest.json")


def _verify_version(folder: Path) -> VerifyResult:
    """Every file of a version; of one that is an artefact also its golden vectors, once its files are as they were."""
    try:
        manifest = verify_version(folder)
    except VersionError as error:
        return VerifyResult(folder, 0, (), (str(error),))
    if manifest.kind != ARTEFACT:
        return VerifyResult(folder, len(manifest.files), (), ())
    with TemporaryDirectory() as scratch:  # an artefact's own code is run here, and may leave files beside it
        below = _verify_below(shutil.copytree(folder, Path(scratch) / "version"))
    return VerifyResult(folder, len(manifest.files), below.variants, below.problems)


def _verify_below(artefact: Path) -> VerifyResult:
    """Every artefact in a folder."""
    folders = sorted(path.parent for path in artefact.glob("*/manifest.json"))
    if not folders:
        raise FileNotFoundError(
            f"{artefact}: no manifest.json in it or one folder below; run `foresense export <pipeline>` first, "
            "or give the folder of an artefact, exports/<pipeline>/<group>"
        )
    results = [_verify_one(folder) for folder in folders]
    without = sorted(path.name for path in artefact.iterdir() if path.is_dir() and path not in folders)
    return VerifyResult(
        artefact=artefact,
        n_files=sum(result.n_files for result in results),
        variants=tuple(f"{result.artefact.name}/{name}" for result in results for name in result.variants),
        problems=(
            *(f"{result.artefact.name}/{problem}" for result in results for problem in result.problems),
            *(f"{name}: a folder without manifest.json" for name in without),
        ),
    )


def _verify_one(folder: Path) -> VerifyResult:
    """By what the artefact is about; one whose seal is broken is not looked into."""
    path, seal = folder / "manifest.json", folder / SEAL
    is_sealed = seal.is_file() and seal.read_bytes() == f"{file_sha256(path)}  manifest.json\n".encode()
    manifest = read_object(path) if is_sealed else {}
    check = _KINDS.get(str(manifest.get("kind")))
    try:
        return verify_artefact(folder) if check is None else check(folder, manifest)
    except (OSError, ImportError):
        raise
    except Exception as error:  # a manifest of another release, or sealed again by hand, may lead to anything
        told = f"{type(error).__name__}: {(str(error).splitlines() or ['no text'])[0]}"
        return VerifyResult(folder, 0, (), (f"manifest.json: of a shape that this program cannot follow ({told})",))
