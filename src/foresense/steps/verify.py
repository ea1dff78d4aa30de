"""Verify: is an artefact still what left the pipeline?"""

from pathlib import Path

from foresense.export.verify import VerifyResult, verify_artefact


def verify(artefact: Path) -> VerifyResult:
    """Check SHA-256 of every file, unlisted files, descriptions, and golden vectors on every format.

    Args:
        artefact: `exports/<pipeline>/<group>`, or `exports/<pipeline>` for all of its artefacts.

    Returns:
        What was checked and one line for each difference; lines of a whole pipeline begin with the group.

    Raises:
        FileNotFoundError: no artefact there.
        ValueError: a manifest is not JSON.
    """
    if (artefact / "manifest.json").is_file():
        return verify_artefact(artefact)
    folders = sorted(path.parent for path in artefact.glob("*/manifest.json"))
    if not folders:
        raise FileNotFoundError(
            f"{artefact}: no manifest.json in it or one folder below; run `foresense export <pipeline>` first, "
            "or give the folder of an artefact, exports/<pipeline>/<group>"
        )
    results = [verify_artefact(folder) for folder in folders]
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
