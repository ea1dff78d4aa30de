"""Compare an artefact of weeks with its manifest, and its files with its golden vectors."""

from pathlib import Path
from typing import Any

import numpy as np

from foresense.export.pat_runtime import open_features
from foresense.export.quiet import quieted
from foresense.export.verify import VerifyResult, listed_files, read_vectors
from foresense.signals import SignalError
from foresense.windows.minute_scaler import load_minute_scaler

WANTED = {"agreement", "files", "golden", "input", "known_answer", "preparation", "scaler", "variants"}
NEEDED = {
    "README.md",
    "classifier.json",
    "evaluation.json",
    "golden.npz",
    "known_answer.npz",
    "pat_runtime.py",
    "scaler.safetensors",
}


def verify_weeks_artefact(folder: Path, manifest: dict[str, Any]) -> VerifyResult:
    """Check the files of one artefact by SHA-256, its reference, then every variant on the golden vectors.

    Args:
        folder: The artefact; its seal has been checked.
        manifest: Content of `manifest.json`, with the keys of WANTED.
    """
    problems, broken = listed_files(folder, manifest, NEEDED)
    if "scaler.safetensors" not in broken:
        try:
            load_minute_scaler(folder / "scaler.safetensors")
        except SignalError as error:
            problems.append(str(error))
    run: list[str] = []
    variants = set(manifest["variants"])
    read_vectors(folder / "known_answer.npz", {"activity", *variants}, broken, problems)
    golden = read_vectors(folder / "golden.npz", {manifest["input"], "model", *variants}, broken, problems)
    if golden is not None:
        for variant, facts in manifest["variants"].items():
            if facts["file"] in broken:
                continue
            problem = _differs(folder / facts["file"], manifest["input"], golden, float(facts["tolerance"]))
            if problem:
                problems.append(f"{variant}: {problem}")
            else:
                run.append(variant)
    return VerifyResult(folder, len(manifest["files"]), tuple(run), tuple(problems))


def _differs(file: Path, name: str, golden: dict[str, np.ndarray], tolerance: float) -> str:
    """What is wrong with what a file says of the golden weeks; empty where nothing is."""
    try:
        with quieted():
            ask = open_features(file)
        said = np.concatenate([ask({name: week[None]}) for week in golden[name]])
    except Exception as error:  # a runtime may raise anything: it is what is wrong with the file
        return f"cannot be run: {type(error).__name__}: {(str(error).splitlines() or ['no text'])[0]}"
    if said.shape != golden["model"].shape:
        return f"golden.npz: model of shape {golden['model'].shape}, expected {said.shape}"
    worst = float(np.abs(said - golden["model"]).max())
    if not worst <= tolerance:
        return f"golden vectors differ from the network by {worst:.3g}, at most {tolerance:.3g} is expected"
    return ""
