"""The folder that leaves a pipeline of anomaly detectors: an image or a spectrogram in, how anomalous it is out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from foresense.config.anomaly import SpectrogramConfig
from foresense.export.artefact import BuiltArtefact
from foresense.export.keras_format import KerasSource, export_keras, run_file
from foresense.export.manifest import SCHEMA_VERSION, write_manifest
from foresense.export.pi import FLOAT_TOLERANCE, INTEGER_TOLERANCE
from foresense.export.proof import versions
from foresense.features import grey_images, logmel
from foresense.signals import write_bytes, write_json

#: Variants whose arithmetic is that of floats: another processor differs by the order of sums only.
_FLOATS = ("tflite-float32", "tflite-float16", "onnx-float32")


@dataclass(frozen=True, eq=False)
class ClipsOrigin:
    """Where an artefact comes from, and how its inputs are made.

    Attributes:
        pipeline: Name of the pipeline.
        data_sha256: Digest of the recordings behind the model.
        evaluation: Content of the model's `evaluation.json`.
        spectrogram: How a clip becomes levels; None where the clips are images.
        rate_hz: Samples per second of a clip; None of images.
        clips: (n_golden, ...): clips as they are recorded, whose inputs are the first golden ones.
    """

    pipeline: str
    data_sha256: str
    evaluation: Mapping[str, Any]
    spectrogram: SpectrogramConfig | None
    rate_hz: float | None
    clips: np.ndarray


def build_clips_artefact(
    folder: Path, source: KerasSource, origin: ClipsOrigin, *, variants: Sequence[str]
) -> BuiltArtefact:
    """Convert, prove and describe one network.

    Args:
        folder: An existing empty folder; the manifest and its seal are written last.
        source: The network; its first proving windows are the inputs of `origin.clips`.
        origin: Where everything comes from.
        variants: Names in `keras_format.VARIANTS`.

    Raises:
        KerasExportError: not one variant could be made; lists every reason.
    """
    export = export_keras(folder, source, variants)
    n = len(origin.clips)
    golden: dict[str, np.ndarray] = {"clips": origin.clips, "inputs": source.proving[:n], "model": source.reference[:n]}
    for variant, facts in export.variants.items():
        golden[variant] = run_file(folder / facts["file"], golden["inputs"])
        share = FLOAT_TOLERANCE if variant in _FLOATS else INTEGER_TOLERANCE
        facts["tolerance"] = share * max(1.0, float(np.abs(golden[variant]).max()))
    np.savez_compressed(folder / "golden.npz", allow_pickle=False, **golden)
    write_json(folder / "evaluation.json", origin.evaluation)
    maker = grey_images if origin.spectrogram is None else logmel
    maker_file = Path(str(maker.__file__))
    write_bytes(folder / maker_file.name, maker_file.read_bytes())
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "clips",
        "pipeline": origin.pipeline,
        "input_shape": list(source.proving.shape[1:]),
        "output": "probability of an anomaly",
        "threshold": origin.evaluation["threshold"],
        "false_alarm_rate": origin.evaluation["false_alarm_rate"],
        "classes": origin.evaluation["classes"],
        "preparation": {
            "code": maker_file.name,
            "clip_shape": list(origin.clips.shape[1:]),
            "rate_hz": origin.rate_hz,
            "spectrogram": None if origin.spectrogram is None else origin.spectrogram.model_dump(mode="json"),
        },
        "golden": {"file": "golden.npz", "n": n},
        "agreement": {"n_windows": len(source.proving), "unit": "probability"},
        "model": origin.evaluation["model"],
        "model_sha256": origin.evaluation["model_sha256"],
        "data_sha256": origin.data_sha256,
        "versions": versions(),
        "variants": export.variants,
        "refused": export.refused,
    }
    write_bytes(folder / "README.md", _readme(manifest).encode())
    write_manifest(folder, manifest)
    return BuiltArtefact(variants=export.variants, refused=export.refused)


def inputs_of(clips: np.ndarray, preparation: Mapping[str, Any], input_shape: Sequence[int]) -> np.ndarray:
    """(n, height, width, channels), float32: clips as a network of an artefact gets them.

    Args:
        clips: (n, n_samples), or (n, height, width) of grey levels.
        preparation: Of the manifest.
        input_shape: Of the manifest.
    """
    if preparation["spectrogram"] is not None:
        return np.asarray(logmel.LogMel(**preparation["spectrogram"])(clips)[..., None])
    height, width, n_channels = input_shape
    return grey_images.resized_images(clips, height=height, width=width, n_channels=n_channels)


def _readme(manifest: Mapping[str, Any]) -> str:
    """What a person who has only this folder needs; deterministic."""
    preparation = manifest["preparation"]
    shape = " x ".join(map(str, preparation["clip_shape"]))
    if preparation["spectrogram"] is None:
        height, width, n_channels = manifest["input_shape"]
        how = (
            f"An image of {shape} grey levels (height x width) goes through `grey_images.resized_images` to {height} x "
            f"{width} x {n_channels}: {height / preparation['clip_shape'][0]:.3g} times as high, "
            f"{width / preparation['clip_shape'][1]:.3g} times as wide, no pixel more known than before."
        )
    else:
        how = (
            f"A clip of {shape} samples at {preparation['rate_hz']:g} Hz goes through `logmel.LogMel` with the "
            "parameters in `manifest.json`, `preparation.spectrogram`: levels in dB, a last axis of 1."
        )
    classes = manifest["classes"]
    lines = [
        f"# {manifest['pipeline']}: how anomalous a clip is",
        "",
        fill(
            f"{how} Standardisation is inside the network. Out comes the probability of an anomaly; above "
            f"{manifest['threshold']:.6g} is an alarm: at most {manifest['false_alarm_rate']:g} of normal clips are "
            f"expected above it. `evaluation.json` says how often it is right. Normal is '{classes[0]}'; not normal: "
            f"{', '.join(classes[1:])}.",
            width=110,
        ),
        "",
        "| variant | file | MiB | largest difference from the network |",
        "| --- | --- | ---: | ---: |",
        *(
            f"| {name} | {facts['file']} | {facts['size_mib']:.3f} | {facts['max_abs_error']:.2g} |"
            for name, facts in manifest["variants"].items()
        ),
        "",
        f"`{preparation['code']}` needs numpy alone. `golden.npz` has clips, their inputs, and what each file says of",
        "them. `foresense verify <this folder>` checks every file, the inputs and the golden vectors.",
    ]
    return "\n".join(lines) + "\n"
