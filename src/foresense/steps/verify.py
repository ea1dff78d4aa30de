"""Verify: is an artefact still what left the pipeline?"""

import shutil
from collections.abc import Callable, Set
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from foresense.export import clips_verify, mixed_verify, weeks_verify, wrist_verify
from foresense.export import verify as forecast_verify
from foresense.export.manifest import SCHEMA_VERSION, SEAL, seal_of
from foresense.export.verify import VerifyResult
from foresense.registry import ARTEFACT, VersionError, verify_version
from foresense.signals import file_sha256
from foresense.signals.json_object import read_object

#: What the artefact is about -> keys of its manifest, and how it is checked.
_KINDS: dict[str, tuple[Set[str], Callable[[Path, dict[str, Any]], VerifyResult]]] = {
    "activity": (wrist_verify.WANTED, wrist_verify.verify_wrist_artefact),
    "clips": (clips_verify.WANTED, clips_verify.verify_clips_artefact),
    "mixed": (mixed_verify.WANTED, mixed_verify.verify_mixed_artefact),
    "pi": (clips_verify.PI_WANTED, clips_verify.verify_pi_folder),
    "weeks": (weeks_verify.WANTED, weeks_verify.verify_weeks_artefact),
}
#: The same of any other artefact.
_FORECAST = (forecast_verify.WANTED, forecast_verify.verify_forecast_artefact)


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
    seal, digest = folder / SEAL, file_sha256(folder / "manifest.json")
    if not seal.is_file() or seal.read_bytes() != seal_of(digest):
        return _refused(folder, f"SHA-256 is {digest}, which {SEAL} does not say; nothing else was checked")
    manifest = read_object(folder / "manifest.json")
    if manifest.get("schema_version") != SCHEMA_VERSION:
        return _refused(folder, f"expected schema_version {SCHEMA_VERSION}")
    wanted, check = _KINDS.get(str(manifest.get("kind")), _FORECAST)
    absent = sorted(wanted - set(manifest))
    if absent:
        return _refused(folder, f"{', '.join(absent)} missing")
    try:
        return check(folder, manifest)
    except (OSError, ImportError):
        raise
    except Exception as error:  # a manifest of another release, or sealed again by hand, may lead to anything
        told = f"{type(error).__name__}: {(str(error).splitlines() or ['no text'])[0]}"
        return _refused(folder, f"of a shape that this program cannot follow ({told})")


def _refused(folder: Path, why: str) -> VerifyResult:
    return VerifyResult(folder, 0, (), (f"manifest.json: {why}",))
