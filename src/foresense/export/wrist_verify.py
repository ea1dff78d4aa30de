"""Compare an artefact that labels windows with its manifest, and its files with its golden vectors."""

from pathlib import Path
from typing import Any

import numpy as np

from foresense.export.label import open_features, open_network
from foresense.export.quiet import quieted
from foresense.export.verify import SEAL, VerifyResult
from foresense.signals import file_sha256

WANTED = {"files", "channels", "length", "rate_hz", "classes", "inputs", "variants", "golden", "smooths"}
NEEDED = {"statistical.py", "label.py", "golden.npz", "evaluation.json", "README.md"}
#: Features are float32 of the same formulas: another machine's sums differ in the last digits.
FEATURE_TOLERANCE = 1e-4


def verify_wrist_artefact(folder: Path, manifest: dict[str, Any]) -> VerifyResult:
    """Check the files of one artefact by SHA-256, then golden vectors from raw window to label on every variant.

    Args:
        folder: The artefact; its seal has been checked.
        manifest: Content of `manifest.json`.
    """
    absent = sorted(WANTED - set(manifest))
    if absent:
        return VerifyResult(folder, 0, (), (f"manifest.json: {', '.join(absent)} missing",))
    problems, broken = _files(folder, manifest)
    run: tuple[str, ...] = ()
    if not broken & {"golden.npz", "statistical.py", "label.py"}:
        run, found = _golden(folder, manifest, broken)
        problems += found
    return VerifyResult(folder, len(manifest["files"]), run, tuple(problems))


def _files(folder: Path, manifest: dict[str, Any]) -> tuple[list[str], set[str]]:
    problems: list[str] = []
    broken: set[str] = set()
    for name, expected in manifest["files"].items():
        file = folder / name
        if Path(name).name != name or file.is_symlink() or not file.is_file():
            problems.append(f"{name}: listed in manifest.json, not a file of this folder")
            broken.add(name)
        elif (found := file_sha256(file)) != expected:
            problems.append(f"{name}: SHA-256 is {found}, manifest.json says {expected}")
            broken.add(name)
    listed = {*manifest["files"], "manifest.json", SEAL}
    for path in sorted(folder.iterdir()):
        if path.name not in listed and path.name != "__pycache__":
            problems.append(f"{path.name}: not listed in manifest.json")
    needed = NEEDED | {facts["file"] for facts in manifest["variants"].values()}
    needed |= {"hmm.json", "hmm.py"} if manifest["smooths"] else set()
    for name in sorted(needed - set(manifest["files"])):
        problems.append(f"{name}: an artefact has this file, manifest.json does not list it")
        broken.add(name)
    return problems, broken


def _golden(folder: Path, manifest: dict[str, Any], broken: set[str]) -> tuple[tuple[str, ...], list[str]]:
    with np.load(folder / "golden.npz", allow_pickle=False) as file:
        golden = {name: file[name] for name in file.files}
    shape = (manifest["golden"]["n"], manifest["length"], len(manifest["channels"]))
    if golden.get("raw", np.empty(0)).shape != shape or golden.get("begun_s", np.empty(0)).shape != shape[:1]:
        return (), [f"golden.npz: raw windows of another shape than manifest.json says, {shape}"]
    try:
        compute = open_features(folder, manifest["inputs"], manifest["rate_hz"], manifest["time_zone"])
        inputs = compute(golden["raw"], golden["begun_s"])
    except ImportError as error:
        return (), [f"features cannot be computed here: {error}"]
    problems = []
    for name, values in inputs.items():
        expected = golden.get(name, np.empty(0))
        if expected.shape != values.shape:
            problems.append(f"golden.npz: no {name} of shape {values.shape}")
        elif (worst := float(np.max(np.abs(values - expected) / (1 + np.abs(expected))))) > FEATURE_TOLERANCE:
            problems.append(f"{name}: golden windows give other values, {worst:.3g} apart relative to their size")
    run = []
    for variant, facts in manifest["variants"].items():
        if facts["file"] in broken:
            continue
        try:
            with quieted():
                network = open_network(folder / facts["file"])
        except ImportError as error:
            problems.append(f"{variant}: cannot be checked here: {error}; pip install 'foresense[edge]'")
            continue
        except (RuntimeError, ValueError) as error:
            problems.append(f"{variant}: the runtime refuses the file: {str(error).splitlines()[0]}")
            continue
        run.append(variant)
        rows = range(len(golden["raw"]))
        found = np.concatenate([network({name: each[n : n + 1] for name, each in inputs.items()}) for n in rows])
        for name in (variant, "model"):
            worst_error = float(np.abs(found - golden[name]).max()) if name in golden else float("inf")
            if not worst_error <= facts["tolerance"]:
                problems.append(
                    f"{variant}: differs from golden {name!r} by {worst_error:.3g}, allowed {facts['tolerance']:.3g}"
                )
        is_float = variant.endswith("-float32")
        if is_float and not np.array_equal(found.argmax(axis=1), golden["labels"]):
            problems.append(f"{variant}: golden windows get other labels")
    return tuple(run), problems
