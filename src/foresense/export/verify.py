"""Compare an artefact with its manifest, and its files with its golden vectors."""

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from foresense.export.manifest import SEAL
from foresense.export.predict import open_model
from foresense.export.quiet import quieted
from foresense.signals import file_sha256, read_json

Opened = TypeVar("Opened")
WANTED = {"files", "channels", "units", "context", "horizon", "scaler", "windowing", "variants", "golden"}
NEEDED = {"scaler.json", "windowing.json", "evaluation.json", "golden.npz", "predict.py", "README.md"}
#: What else to say of a name that is not listed: whoever imports a module of the folder leaves compiled files there.
UNLISTED = {"__pycache__": "; Python would run what lies in it in place of the files that are: remove it"}
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


def verify_forecast_artefact(folder: Path, manifest: dict[str, Any]) -> VerifyResult:
    """Check the files of one artefact by SHA-256, its descriptions, then every variant on the golden vectors.

    Args:
        folder: The artefact; its seal has been checked.
        manifest: Content of `manifest.json`, with the keys of WANTED.
    """
    problems, broken = listed_files(folder, manifest, NEEDED)
    problems += _descriptions(folder, manifest, broken)
    run, found = _golden(folder, manifest, broken)
    return VerifyResult(folder, len(manifest["files"]), run, (*problems, *found))


def listed_files(folder: Path, manifest: dict[str, Any], needed: Set[str]) -> tuple[list[str], set[str]]:
    """Missing, changed and unlisted files; and the names that must not be opened any more.

    Args:
        folder: The artefact.
        manifest: With `files` and `variants`.
        needed: What an artefact of its kind has beside the files of its variants.
    """
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
    problems += [
        f"{path.name}: not listed in manifest.json{UNLISTED.get(path.name, '')}"
        for path in sorted(folder.iterdir())
        if path.name not in listed
    ]
    of_variants = {facts["file"] for facts in manifest["variants"].values()}
    for name in sorted((needed | of_variants) - set(manifest["files"])):
        problems.append(f"{name}: an artefact has this file, manifest.json does not list it")
        broken.add(name)
    for variant, facts in manifest["variants"].items():
        if facts["file"] in manifest["files"] and facts["sha256"] != manifest["files"][facts["file"]]:
            problems.append(f"{variant}: manifest.json gives two SHA-256 for {facts['file']}")
    return problems, broken


def read_vectors(path: Path, needed: Set[str], broken: Set[str], problems: list[str]) -> dict[str, np.ndarray] | None:
    """The arrays of an `.npz` by name.

    Args:
        path: The file.
        needed: Names of what is compared: a manifest that was sealed again by hand may list a file without them.
        broken: Names of files that must not be opened.
        problems: Is told why the file cannot be used.

    Returns:
        All arrays; None where the file must not be opened, cannot be read, or has not all of `needed`.
    """
    if path.name in broken:
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # readers of zip and npy raise many kinds: it is what is wrong with the file
        problems.append(f"{path.name}: no arrays that can be read: {_first_line(error)}")
        return None
    missing = sorted(needed - set(arrays))
    if missing:
        problems.append(f"{path.name}: no array {', '.join(map(repr, missing))}; nothing can be compared with it")
        return None
    return arrays


def opened(
    folder: Path,
    manifest: dict[str, Any],
    broken: Set[str],
    open_file: Callable[[Path], Opened],
    problems: list[str],
) -> Iterator[tuple[str, dict[str, Any], Opened]]:
    """Open the file of each variant in turn.

    Args:
        folder: The artefact.
        manifest: With `variants`.
        broken: Names that must not be opened.
        open_file: From a file to what answers with it.
        problems: Is told why a file cannot be opened.

    Yields:
        (variant, what the manifest says of it, what `open_file` gave) of each that can.
    """
    for variant, facts in manifest["variants"].items():
        if facts["file"] in broken:
            continue
        try:
            with quieted():
                model = open_file(folder / facts["file"])
        except ImportError as error:
            problems.append(f"{variant}: cannot be checked here: {error}; pip install 'foresense[edge]'")
        except Exception as error:  # a runtime may raise anything: it is what is wrong with the file
            problems.append(f"{variant}: the runtime refuses the file: {_first_line(error)}")
        else:
            yield variant, facts, model


def against_golden(
    variant: str,
    found: np.ndarray,
    golden: dict[str, np.ndarray],
    tolerance: float,
    *,
    deviation: float = 1.0,
    unit: str = "",
) -> list[str]:
    """One line for each of this variant's golden outputs and the trained model's that `found` is too far from.

    Args:
        variant: Name of it.
        found: (n_golden, ...): what its file says here.
        golden: Arrays of `golden.npz`, `variant` and `model` among them.
        tolerance: Largest absolute difference, in `unit`.
        deviation: Of one `unit`, in the outputs' own unit.
        unit: Of the tolerance, for the message; empty where it is the outputs'.
    """
    problems = []
    for name in (variant, "model"):
        if golden[name].shape != found.shape:
            problems.append(f"{variant}: golden.npz: {name} of shape {golden[name].shape}, expected {found.shape}")
            continue
        worst = float(np.abs(found - golden[name]).max()) / deviation
        if not worst <= tolerance:
            far = f"{worst:.3g} {unit}".rstrip()
            problems.append(f"{variant}: differs from golden {name!r} by {far}, allowed {tolerance:.3g}")
    return problems


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
    problems: list[str] = []
    needed = {"inputs", "physical", "model", *manifest["variants"]}
    golden = read_vectors(folder / "golden.npz", needed, broken, problems)
    if golden is None:
        return (), problems
    shape = (manifest["golden"]["n"], manifest["context"], len(manifest["channels"]))
    for name in ("inputs", "physical"):
        if golden[name].shape != shape:
            return (), [f"golden.npz: {name} of shape {golden[name].shape}, manifest.json says {shape}"]
    inputs = golden["inputs"]
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
    for variant, facts, forecast in opened(folder, manifest, broken, open_model, problems):
        run.append(variant)
        found = np.concatenate([forecast(context[None]) for context in inputs])
        problems += against_golden(variant, found, golden, facts["tolerance"])
    return tuple(run), problems
