"""The folder that leaves a pipeline of mixed recordings: raw values with holes in, a value or classes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from foresense.export import mixed_predict
from foresense.export.artefact import BuiltArtefact
from foresense.export.manifest import SCHEMA_VERSION, write_manifest
from foresense.export.mixed_inputs import INPUTS, MixedInputs, example_csv, hard_inputs, joined
from foresense.export.mixed_predict import OUTPUT
from foresense.export.proof import ExportError, Proven, convert_all, versions
from foresense.export.source import ExportSource
from foresense.signals import write_bytes, write_json
from foresense.signals.mixed_schema import MixedSchema

#: What a model of mixed recordings can leave as.
OFFERED = ("onnx-float32", "tflite-float32")
#: Static numbers behind those of the schema where a model sees the clock.
CALENDAR = ("hour_sin", "hour_cos", "month_sin", "month_cos")


@dataclass(frozen=True, eq=False)
class MixedOrigin:
    """Where an artefact comes from, and what its windows are.

    Attributes:
        pipeline: Name of the pipeline.
        data_sha256: Digest of the recordings behind the model.
        model_sha256: SHA-256 of the trained weights.
        evaluation: Content of the model's `evaluation.json`.
        schema: Of the training part that the model learnt from.
        length: Steps of a window.
        has_time: Whether times are real.
        time_zone: IANA name of local time.
        deviation: Of the target in the training windows, in its unit; differences of values are told in it. 1 of
            classes, whose differences are told in logits.
    """

    pipeline: str
    data_sha256: str
    model_sha256: str
    evaluation: dict[str, Any]
    schema: MixedSchema
    length: int
    has_time: bool
    time_zone: str
    deviation: float

    @property
    def classes(self) -> list[str]:
        """Names of the outputs; empty where the output is a value."""
        return list(self.evaluation["class_names"]) if self.evaluation["predicts"] == "class" else []

    @property
    def error_unit(self) -> str:
        """What differences between a file and its model are told in."""
        return "logits" if self.classes else "deviations of the target"


@dataclass(frozen=True, eq=False)
class _InDeviations(ExportSource):
    """What the model says is divided by `deviation`: a tolerance then means the same for every unit."""

    deviation: float = 1.0

    @cached_property
    def reference(self) -> np.ndarray:
        return np.asarray(super().reference / np.float32(self.deviation))


def require_offered(variants: Sequence[str]) -> None:
    """Refuse what cannot take holes.

    Raises:
        ValueError: a variant that is not offered for mixed recordings.
    """
    for variant in variants:
        if variant not in OFFERED:
            raise ValueError(
                f"export.variants: {variant!r} is not offered for mixed recordings (offered: {', '.join(OFFERED)}): "
                "their values are raw and full of NaN, for which none of an integer's 256 levels stands; leave it out"
            )


def taken_inputs(model: nn.Module, inputs: MixedInputs) -> tuple[str, ...]:
    """Names of what a model takes of windows: a network without categories takes no codes."""
    uses_categories = getattr(getattr(model, "config", None), "use_categories", True)
    return tuple(name for name in INPUTS if name in inputs.arrays and (uses_categories or "categories" not in name))


def build_mixed_artefact(
    folder: Path,
    model: nn.Module,
    windows: MixedInputs,
    origin: MixedOrigin,
    scratch: Path,
    *,
    variants: Sequence[str],
    n_golden: int,
) -> BuiltArtefact:
    """Convert, prove and describe one model.

    Args:
        folder: An existing empty folder; the manifest and its seal are written last.
        model: In evaluation mode; takes the inputs of `windows` by name.
        windows: Of the training part, holes and all; hard ones made of the first are added, and all prove the files.
        origin: Where everything comes from.
        scratch: An existing folder.
        variants: Names in `OFFERED`.
        n_golden: How many of the windows become golden vectors; the hard ones are golden, too.

    Raises:
        ExportError: not one variant could be made, lists every reason; or a model that gives no finite number, or
            another number of outputs than it has classes.
    """
    taken = taken_inputs(model, windows)
    hard, hard_names = hard_inputs(windows, len(CALENDAR) if origin.evaluation["calendar"] else 0)
    proving = joined(windows, hard)
    given = proving.only(taken)
    said = ExportSource(model=model, calibration=given, output=OUTPUT, scratch=scratch).reference
    _require_outputs(said, origin, len(windows), hard_names)
    scaled = _InDeviations(model=model, calibration=given, output=OUTPUT, scratch=scratch, deviation=origin.deviation)
    proven = convert_all(folder, scaled, variants, _open_in(origin.deviation), what=origin.pipeline)
    golden = np.append(np.arange(min(n_golden, len(windows))), np.arange(len(windows), len(proving)))
    np.savez(
        folder / "golden.npz",
        allow_pickle=False,
        model=said[golden],
        **{name: rows[golden] for name, rows in proving.arrays.items()},
        **{name: outputs[golden] * np.float32(origin.deviation) for name, outputs in proven.outputs.items()},
    )
    time_zone = origin.time_zone if origin.has_time else None
    example, statics = example_csv(windows, origin.schema, length=origin.length, time_zone=time_zone)
    write_bytes(folder / "example.csv", example)
    write_json(folder / "schema.json", origin.schema.to_json())
    write_json(folder / "evaluation.json", origin.evaluation)
    write_bytes(folder / "predict.py", Path(mixed_predict.__file__).read_bytes())
    manifest = _manifest(origin, taken, proving, proven)
    manifest["golden"] = {"file": "golden.npz", "n": len(golden), "hard": list(hard_names)}
    manifest["example"] = {"file": "example.csv", "statics": statics}
    write_bytes(folder / "README.md", _readme(manifest).encode())
    write_manifest(folder, manifest)
    return BuiltArtefact(variants=proven.facts, refused=proven.refused)


def _open_in(deviation: float) -> Any:
    """Opens files whose outputs come in deviations."""

    def open_file(file: Path) -> Any:
        ask = mixed_predict.open_model(file)
        return lambda inputs: ask(inputs) / np.float32(deviation)

    return open_file


def _require_outputs(reference: np.ndarray, origin: MixedOrigin, n_plain: int, hard: Sequence[str]) -> None:
    n_asked = len(origin.classes) or 1
    if reference.shape[1:] != (n_asked,):
        raise ExportError(
            f"{origin.pipeline}: the model gives {reference.shape[1:]} numbers for a window, expected ({n_asked},); "
            f"evaluation.json is not about it: run `foresense train {origin.pipeline}` again"
        )
    wrong = np.flatnonzero(~np.isfinite(reference).all(axis=1))
    if len(wrong):
        first = int(wrong[0])
        what = "a training window" if first < n_plain else f"a window with {hard[first - n_plain]}"
        raise ExportError(
            f"{origin.pipeline}: the model gives no finite number for {what} ({len(wrong)} such windows of "
            f"{len(reference)}); a model of mixed recordings answers whatever is missing: correct the model"
        )


def _manifest(origin: MixedOrigin, taken: Sequence[str], proving: MixedInputs, proven: Proven) -> dict[str, Any]:
    evaluation = origin.evaluation
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "mixed",
        "pipeline": origin.pipeline,
        "predicts": evaluation["predicts"],
        "target": evaluation["target"],
        "classes": origin.classes,
        "length": origin.length,
        "interval_s": origin.schema.interval_s,
        "has_time": origin.has_time,
        "time_zone": origin.time_zone,
        "calendar": bool(evaluation["calendar"]),
        "inputs": list(taken),
        "shapes": {name: [1, *rows.shape[1:]] for name, rows in proving.arrays.items()},
        "output": OUTPUT,
        "agreement": {"n_windows": len(proving), "unit": origin.error_unit, "deviation": origin.deviation},
        "model": evaluation["model"],
        "model_sha256": origin.model_sha256,
        "data_sha256": origin.data_sha256,
        "versions": versions(),
        "variants": dict(proven.facts),
        "refused": dict(proven.refused),
    }


def _readme(manifest: Mapping[str, Any]) -> str:
    target, steps = manifest["target"], f"{manifest['length']} steps of {manifest['interval_s']:g} s"
    ahead = "" if target["ahead"] is None else f", {target['ahead']} steps after the last one"
    given = (
        f"the probability of {', '.join(manifest['classes'])}"
        if manifest["classes"]
        else f"a value in {target['unit']}"
    )
    statics = "".join(f" --static '{one}'" for one in manifest["example"]["statics"])
    lines = [
        f"# {manifest['pipeline']}: {target['name']}{ahead}",
        "",
        f"{steps} in, raw values with holes; {given} out. `schema.json` names channels, units and vocabularies.",
        "",
        "```",
        f"python predict.py example.csv{statics}",
        "```",
        "",
        "needs numpy and the variant's runtime, onnxruntime or ai-edge-litert. An empty cell is a value that was not",
        "measured; a category that the training part never showed is taken as unseen, and said. `example.csv` is one",
        "window of the training part.",
        "",
        f"| variant | file | MiB | largest difference from the model, {manifest['agreement']['unit']} |",
        "| --- | --- | ---: | ---: |",
        *(
            f"| {name} | {facts['file']} | {facts['size_mib']:.3f} | {facts['max_abs_error']:.2g} |"
            for name, facts in manifest["variants"].items()
        ),
        "",
        f"Compared on {manifest['agreement']['n_windows']} windows of the training part, among them hard ones:",
        f"{', '.join(manifest['golden']['hard'])}.",
        "Integers (ONNX: int64, TFLite: int32) are codes of categories only. No file computes in int8: raw values hold",
        "NaN, and none of 256 levels stands for it.",
        "",
        "`foresense verify <this folder>` checks every file, the golden vectors, and the example from text to answer.",
    ]
    return "\n".join(lines) + "\n"
