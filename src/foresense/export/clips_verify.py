"""Compare an artefact of clips, or a folder for a device, with its manifest, and its files with golden vectors."""

from pathlib import Path
from typing import Any

import numpy as np

from foresense.export.clips_artefact import inputs_of
from foresense.export.keras_format import run_file
from foresense.export.verify import VerifyResult, listed_files, read_vectors

WANTED = {"files", "golden", "input_shape", "preparation", "threshold", "variants"}
NEEDED = {"README.md", "evaluation.json", "golden.npz"}
PI_WANTED = {"files", "models"}
PI_NEEDED = {"README.md", "requirements_pi.txt", "smoke_test.py", "measure.py"}
#: dB, or grey levels: float64 inside, float32 outside.
INPUT_TOLERANCE = 1e-3


def verify_clips_artefact(folder: Path, manifest: dict[str, Any]) -> VerifyResult:
    """Check the files of one artefact by SHA-256, then from clips to inputs, then every variant on these.

    Args:
        folder: The artefact; its seal has been checked.
        manifest: Content of `manifest.json`, with the keys of WANTED.
    """
    problems, broken = listed_files(folder, manifest, {*NEEDED, manifest["preparation"]["code"]})
    run: list[str] = []
    needed = {"clips", "inputs", "model", *manifest["variants"]}
    golden = read_vectors(folder / "golden.npz", needed, broken, problems)
    if golden is not None:
        made = inputs_of(golden["clips"], manifest["preparation"], manifest["input_shape"])
        problems += _far("golden.npz: inputs made of its clips", made, golden["inputs"], INPUT_TOLERANCE)
        for variant, facts in manifest["variants"].items():
            if facts["file"] not in broken:
                found = _run(variant, folder / facts["file"], golden["inputs"], golden[variant], facts["tolerance"])
                problems += found
                run += [] if found else [variant]
    return VerifyResult(folder, len(manifest["files"]), tuple(run), tuple(problems))


def verify_pi_folder(folder: Path, manifest: dict[str, Any]) -> VerifyResult:
    """Check the files of a folder for a device by SHA-256, then every model on its golden vectors.

    Args:
        folder: What `export.pi.build_pi_folder` wrote; its seal has been checked.
        manifest: Content of `manifest.json`, with the keys of PI_WANTED.
    """
    of_models = {name: {**said, "sha256": said["file_sha256"]} for name, said in manifest["models"].items()}
    golden = {said["golden"] for said in of_models.values()}
    problems, broken = listed_files(folder, {**manifest, "variants": of_models}, PI_NEEDED | golden)
    run: list[str] = []
    for name, said in of_models.items():
        vectors = read_vectors(folder / said["golden"], {"inputs", "outputs"}, broken, problems)
        if vectors is not None and said["file"] not in broken:
            found = _run(name, folder / said["file"], vectors["inputs"], vectors["outputs"], said["tolerance"])
            problems += found
            run += [] if found else [name]
    return VerifyResult(folder, len(manifest["files"]), tuple(run), tuple(problems))


def _run(name: str, file: Path, inputs: np.ndarray, expected: np.ndarray, tolerance: float) -> list[str]:
    try:
        said = run_file(file, inputs)
    except Exception as error:  # a runtime may raise anything: it is what is wrong with the file
        return [f"{name}: cannot be run: {type(error).__name__}: {(str(error).splitlines() or ['no text'])[0]}"]
    return _far(f"{name}: golden vectors", said, expected, float(tolerance))


def _far(what: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> list[str]:
    if found.shape != expected.shape:
        return [f"{what}: shape {found.shape}, expected {expected.shape}"]
    worst = float(np.abs(found - expected).max())
    return [] if worst <= tolerance else [f"{what} differ by {worst:.3g}, at most {tolerance:.3g} is expected"]
