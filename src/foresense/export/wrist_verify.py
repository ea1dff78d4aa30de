"""Compare an artefact that labels windows with its manifest, and its files with its golden vectors."""

from pathlib import Path
from typing import Any

import numpy as np

from foresense.export.label import open_features, open_network
from foresense.export.verify import VerifyResult, against_golden, listed_files, opened, read_vectors

WANTED = {"files", "channels", "length", "rate_hz", "classes", "inputs", "variants", "golden", "smooths"}
NEEDED = {"statistical.py", "label.py", "golden.npz", "evaluation.json", "README.md"}
#: Features are float32 of the same formulas: another machine's sums differ in the last digits.
FEATURE_TOLERANCE = 1e-4


def verify_wrist_artefact(folder: Path, manifest: dict[str, Any]) -> VerifyResult:
    """Check the files of one artefact by SHA-256, then golden vectors from raw window to label on every variant.

    Args:
        folder: The artefact; its seal has been checked.
        manifest: Content of `manifest.json`, with the keys of WANTED.
    """
    smoothing = {"hmm.json", "hmm.py"} if manifest["smooths"] else set()
    problems, broken = listed_files(folder, manifest, NEEDED | smoothing)
    run: tuple[str, ...] = ()
    if not broken & {"statistical.py", "label.py"}:
        run, found = _golden(folder, manifest, broken)
        problems += found
    return VerifyResult(folder, len(manifest["files"]), run, tuple(problems))


def _golden(folder: Path, manifest: dict[str, Any], broken: set[str]) -> tuple[tuple[str, ...], list[str]]:
    problems: list[str] = []
    needed = {"raw", "begun_s", "model", "labels", *manifest["inputs"], *manifest["variants"]}
    golden = read_vectors(folder / "golden.npz", needed, broken, problems)
    if golden is None:
        return (), problems
    shape = (manifest["golden"]["n"], manifest["length"], len(manifest["channels"]))
    if golden["raw"].shape != shape or golden["begun_s"].shape != shape[:1]:
        return (), [f"golden.npz: raw windows of another shape than manifest.json says, {shape}"]
    try:
        compute = open_features(folder, manifest["inputs"], manifest["rate_hz"], manifest["time_zone"])
        inputs = compute(golden["raw"], golden["begun_s"])
    except ImportError as error:
        return (), [f"features cannot be computed here: {error}"]
    for name, values in inputs.items():
        expected = golden[name]
        if expected.shape != values.shape:
            problems.append(f"golden.npz: {name} of shape {expected.shape}, expected {values.shape}")
        elif (worst := float(np.max(np.abs(values - expected) / (1 + np.abs(expected))))) > FEATURE_TOLERANCE:
            problems.append(f"{name}: golden windows give other values, {worst:.3g} apart relative to their size")
    run = []
    for variant, facts, network in opened(folder, manifest, broken, open_network, problems):
        run.append(variant)
        rows = range(len(golden["raw"]))
        found = np.concatenate([network({name: each[n : n + 1] for name, each in inputs.items()}) for n in rows])
        problems += against_golden(variant, found, golden, facts["tolerance"])
        is_float = variant.endswith("-float32")
        if is_float and not np.array_equal(found.argmax(axis=1), golden["labels"]):
            problems.append(f"{variant}: golden windows get other labels")
    return tuple(run), problems
