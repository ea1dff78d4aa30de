"""Compare an artefact of mixed recordings with its manifest, and its files with its golden vectors."""

from pathlib import Path
from typing import Any

import numpy as np

from foresense.export.mixed_predict import InputError, open_model, read_window
from foresense.export.quiet import quieted
from foresense.export.verify import SEAL, VerifyResult
from foresense.signals import file_sha256, read_json
from foresense.signals.mixed_columns import SchemaError
from foresense.signals.mixed_schema import MixedSchema

WANTED = {
    "agreement",
    "calendar",
    "classes",
    "example",
    "files",
    "golden",
    "has_time",
    "inputs",
    "interval_s",
    "length",
    "shapes",
    "target",
    "time_zone",
    "variants",
}
NEEDED = {"schema.json", "evaluation.json", "golden.npz", "example.csv", "predict.py", "README.md"}


def verify_mixed_artefact(folder: Path, manifest: dict[str, Any]) -> VerifyResult:
    """Check the files of one artefact by SHA-256, its example from text to arrays, then every variant.

    Args:
        folder: The artefact; its seal has been checked.
        manifest: Content of `manifest.json`.
    """
    absent = sorted(WANTED - set(manifest))
    if absent:
        return VerifyResult(folder, 0, (), (f"manifest.json: {', '.join(absent)} missing",))
    problems, broken = listed_files(folder, manifest, NEEDED)
    run: tuple[str, ...] = ()
    if "golden.npz" not in broken:
        with np.load(folder / "golden.npz", allow_pickle=False) as file:
            golden = {name: file[name] for name in file.files}
        found = _shapes(golden, manifest)
        problems += found
        if not found:
            if not broken & {"schema.json", "example.csv"}:
                problems += _example(folder, manifest, golden)
            run, found = _variants(folder, manifest, golden, broken)
            problems += found
    return VerifyResult(folder, len(manifest["files"]), run, tuple(problems))


def listed_files(folder: Path, manifest: dict[str, Any], needed: set[str]) -> tuple[list[str], set[str]]:
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
    listed = {*manifest["files"], "manifest.json", SEAL, "__pycache__"}
    problems += [
        f"{path.name}: not listed in manifest.json" for path in sorted(folder.iterdir()) if path.name not in listed
    ]
    of_variants = {facts["file"] for facts in manifest["variants"].values()}
    for name in sorted((needed | of_variants) - set(manifest["files"])):
        problems.append(f"{name}: an artefact has this file, manifest.json does not list it")
        broken.add(name)
    for variant, facts in manifest["variants"].items():
        if facts["file"] in manifest["files"] and facts["sha256"] != manifest["files"][facts["file"]]:
            problems.append(f"{variant}: manifest.json gives two SHA-256 for {facts['file']}")
    return problems, broken


def _shapes(golden: dict[str, np.ndarray], manifest: dict[str, Any]) -> list[str]:
    n = manifest["golden"]["n"]
    shapes = {name: (n, *shape[1:]) for name, shape in manifest["shapes"].items()}
    shapes |= {name: (n, len(manifest["classes"]) or 1) for name in ("model", *manifest["variants"])}
    return [
        f"golden.npz: {name} of shape {golden[name].shape if name in golden else None}, manifest.json says {shape}"
        for name, shape in shapes.items()
        if name not in golden or golden[name].shape != shape
    ]


def _example(folder: Path, manifest: dict[str, Any], golden: dict[str, np.ndarray]) -> list[str]:
    """The example as text against the first golden window; the schema is what reads it."""
    schema = read_json(folder / "schema.json")
    try:
        MixedSchema.from_json(schema, "schema.json")
        window = read_window(folder / "example.csv", manifest["example"]["statics"], manifest, schema)
    except (SchemaError, InputError) as error:
        return [f"example.csv: {error}"]
    return [
        f"example.csv: {name} are not those of the first golden window; schema.json reads another model's channels"
        for name, rows in window.inputs.items()
        if not np.array_equal(rows, golden[name][:1], equal_nan=rows.dtype.kind == "f")
    ]


def _variants(
    folder: Path, manifest: dict[str, Any], golden: dict[str, np.ndarray], broken: set[str]
) -> tuple[tuple[str, ...], list[str]]:
    problems: list[str] = []
    run = []
    for variant, facts in manifest["variants"].items():
        if facts["file"] in broken:
            continue
        try:
            with quieted():
                ask = open_model(folder / facts["file"])
        except ImportError as error:
            problems.append(f"{variant}: cannot be checked here: {error}; pip install 'foresense[edge]'")
            continue
        except (RuntimeError, ValueError) as error:
            problems.append(f"{variant}: the runtime refuses the file: {str(error).splitlines()[0]}")
            continue
        run.append(variant)
        rows = range(manifest["golden"]["n"])
        found = np.concatenate([ask({name: golden[name][n : n + 1] for name in manifest["inputs"]}) for n in rows])
        for name in (variant, "model"):
            worst = float(np.abs(found - golden[name]).max()) / manifest["agreement"]["deviation"]
            if not worst <= facts["tolerance"]:
                problems.append(
                    f"{variant}: differs from golden {name!r} by {worst:.3g} {manifest['agreement']['unit']}, allowed "
                    f"{facts['tolerance']:.3g}"
                )
    return tuple(run), problems
