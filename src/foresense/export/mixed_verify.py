"""Compare an artefact of mixed recordings with its manifest, and its files with its golden vectors."""

from pathlib import Path
from typing import Any

import numpy as np

from foresense.export.mixed_predict import InputError, open_model, read_window
from foresense.export.verify import VerifyResult, against_golden, listed_files, opened, read_vectors
from foresense.signals import read_json
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
        manifest: Content of `manifest.json`, with the keys of WANTED.
    """
    problems, broken = listed_files(folder, manifest, NEEDED)
    run: tuple[str, ...] = ()
    needed = {"model", *manifest["shapes"], *manifest["variants"]}
    golden = read_vectors(folder / "golden.npz", needed, broken, problems)
    if golden is not None:
        found = _shapes(golden, manifest)
        problems += found
        if not found:
            if not broken & {"schema.json", "example.csv"}:
                problems += _example(folder, manifest, golden)
            run, found = _variants(folder, manifest, golden, broken)
            problems += found
    return VerifyResult(folder, len(manifest["files"]), run, tuple(problems))


def _shapes(golden: dict[str, np.ndarray], manifest: dict[str, Any]) -> list[str]:
    n = manifest["golden"]["n"]
    shapes = {name: (n, *shape[1:]) for name, shape in manifest["shapes"].items()}
    shapes |= {name: (n, len(manifest["classes"]) or 1) for name in ("model", *manifest["variants"])}
    return [
        f"golden.npz: {name} of shape {golden[name].shape}, manifest.json says {shape}"
        for name, shape in shapes.items()
        if golden[name].shape != shape
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
    agreement = manifest["agreement"]
    for variant, facts, ask in opened(folder, manifest, broken, open_model, problems):
        run.append(variant)
        rows = range(manifest["golden"]["n"])
        found = np.concatenate([ask({name: golden[name][n : n + 1] for name in manifest["inputs"]}) for n in rows])
        problems += against_golden(
            variant, found, golden, facts["tolerance"], deviation=agreement["deviation"], unit=agreement["unit"]
        )
    return tuple(run), problems
