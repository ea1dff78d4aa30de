"""Compare an artefact with its manifest, and its files with its golden vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.export.predict import open_model
from foresense.export.quiet import quieted
from foresense.signals import file_sha256, read_json

SCHEMA_VERSION = 1
#: SHA-256 of the manifest, as `sha256sum` writes and checks it: the one file that the manifest cannot list.
SEAL = "manifest.json.sha256"
#: float32 rounding of a scaled sample.
SCALING_TOLERANCE = 1e-5


@dataclass(frozen=True)
class VerifyResult:
    """What was checked and what differs.

    Attributes:
        artefact: The folder.
        n_files: Files whose SHA-256 was compared.
        variants: Variants that were run on the golden vectors.
        problems: One line for each difference; empty when all is well.
    """

    artefact: Path
    n_files: int
    variants: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return not self.problems

    def __str__(self) -> str:
        """One line when all is well, else one for each difference."""
        checked = f"{self.n_files} files by SHA-256, golden vectors of {', '.join(self.variants) or 'no variant'}"
        if self.passed:
            return f"{self.artefact}: verified: {checked}"
        return "\n  ".join([f"{self.artefact}: {len(self.problems)} difference(s) ({checked})", *self.problems])


def verify_artefact(folder: Path) -> VerifyResult:
    """Check one artefact.

    Raises:
        FileNotFoundError: no manifest there.
        ValueError: the manifest is not JSON.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; give the folder of one artefact, exports/<pipeline>/<group>")
    expected = f"{file_sha256(path)}  manifest.json\n"
    if not (folder / SEAL).is_file() or (folder / SEAL).read_bytes() != expected.encode():
        said = f"SHA-256 is {expected.split()[0]}, which {SEAL} does not say"
        return VerifyResult(folder, 0, (), (f"manifest.json: {said}; nothing else was checked",))
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        return VerifyResult(folder, 0, (), (f"manifest.json: expected schema_version {SCHEMA_VERSION}",))
    wanted = {"files", "channels", "units", "context", "horizon", "scaler", "windowing", "variants", "golden"}
    absent = sorted(wanted - set(manifest))
    if absent:
        return VerifyResult(folder, 0, (), (f"manifest.json: {', '.join(absent)} missing",))
    problems, broken = _files(folder, manifest)
    problems += _descriptions(folder, manifest, broken)
    run: tuple[str, ...] = ()
    if "golden.npz" not in broken:
        run, found = _golden(folder, manifest, broken)
        problems += found
    return VerifyResult(folder, len(manifest["files"]), run, tuple(problems))


def _files(folder: Path, manifest: dict[str, Any]) -> tuple[list[str], set[str]]:
    """Missing, changed and unlisted files; and the names that must not be opened any more."""
    problems, broken = [], set()
    for name, expected in manifest["files"].items():
        file = folder / name
        if Path(name).name != name or file.is_symlink() or not file.is_file():
            problems.append(f"{name}: listed in manifest.json, not a file of this folder")
            broken.add(name)
        elif (found := file_sha256(file)) != expected:
            problems.append(f"{name}: SHA-256 is {found}, manifest.json says {expected}")
            broken.add(name)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name not in manifest["files"] and name not in ("manifest.json", SEAL):
            problems.append(f"{name}: not listed in manifest.json")
    needed = {"scaler.json", "windowing.json", "evaluation.json", "golden.npz", "predict.py", "README.md"}
    needed |= {facts["file"] for facts in manifest["variants"].values()}
    for name in sorted(needed - set(manifest["files"])):
        problems.append(f"{name}: an artefact has this file, manifest.json does not list it")
        broken.add(name)
    for variant, facts in manifest["variants"].items():
        if facts["file"] in manifest["files"] and facts["sha256"] != manifest["files"][facts["file"]]:
            problems.append(f"{variant}: manifest.json gives two SHA-256 for {facts['file']}")
    return problems, broken


def _descriptions(folder: Path, manifest: dict[str, Any], broken: set[str]) -> list[str]:
    """Scaler and windowing against the manifest: the same channels in the same order, the same numbers."""
    problems = []
    for name in ("scaler", "windowing"):
        if f"{name}.json" in broken:
            continue
        content = read_json(folder / f"{name}.json")
        if content.get("channels") != manifest["channels"]:
            problems.append(
                f"{name}.json: channels {content.get('channels')}, manifest.json has {manifest['channels']} in order"
            )
        problems += [
            f"{name}.json: {key} is {content.get(key)}, manifest.json has {value}"
            for key, value in manifest[name].items()
            if key != "channels" and content.get(key) != value
        ]
    for name, part in (("manifest.json", manifest["scaler"]), ("manifest.json", manifest["windowing"])):
        if part.get("channels") != manifest["channels"]:
            problems.append(f"{name}: channels {part.get('channels')} inside, {manifest['channels']} outside")
    return problems


def _golden(folder: Path, manifest: dict[str, Any], broken: set[str]) -> tuple[tuple[str, ...], list[str]]:
    with np.load(folder / "golden.npz", allow_pickle=False) as file:
        golden = {name: file[name] for name in file.files}
    shape = (manifest["golden"]["n"], manifest["context"], len(manifest["channels"]))
    inputs = golden.get("inputs", np.empty(0))
    if inputs.shape != shape:
        return (), [f"golden.npz: inputs of shape {inputs.shape}, manifest.json says {shape}"]
    problems = []
    if "scaler.json" not in broken:
        scaler = read_json(folder / "scaler.json")
        scaled = (golden["physical"] - np.asarray(scaler["shift"])) / np.asarray(scaler["scale"])
        worst = np.abs(scaled - inputs).max(axis=(0, 1))
        bad = worst > SCALING_TOLERANCE * (1 + np.abs(inputs).max(axis=(0, 1)))
        problems += [
            f"scaler.json: golden samples of {manifest['channels'][channel]!r} differ by {worst[channel]:.3g} after "
            "scaling; this is another model's scaler"
            for channel in np.flatnonzero(bad)
        ]
    run = []
    for variant, facts in manifest["variants"].items():
        if facts["file"] in broken:
            continue
        try:
            with quieted():
                forecast = open_model(folder / facts["file"])
        except ImportError as error:
            problems.append(f"{variant}: cannot be checked here: {error}; pip install 'foresense[edge]'")
            continue
        except (RuntimeError, ValueError) as error:
            problems.append(f"{variant}: the runtime refuses the file: {str(error).splitlines()[0]}")
            continue
        run.append(variant)
        found = np.concatenate([forecast(context[None]) for context in inputs])
        for name in (variant, "model"):
            if name not in golden or golden[name].shape != found.shape:
                problems.append(f"{variant}: golden.npz has no outputs {name!r} of shape {found.shape}")
                continue
            worst_error = float(np.abs(found - golden[name]).max())
            if not worst_error <= facts["tolerance"]:
                problems.append(
                    f"{variant}: differs from golden {name!r} by {worst_error:.3g}, allowed {facts['tolerance']:.3g}"
                )
    return tuple(run), problems
