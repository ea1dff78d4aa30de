"""The folder that leaves an activity pipeline: raw window in g in, a label out, by the code that trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from foresense.config.wrist import WristModelConfig
from foresense.export import label
from foresense.export.artefact import BuiltArtefact
from foresense.export.manifest import SCHEMA_VERSION, write_manifest
from foresense.export.proof import convert_all, versions
from foresense.export.source import ExportSource
from foresense.features import statistical
from foresense.signals import write_bytes, write_json


@dataclass(frozen=True, eq=False)
class WristOrigin:
    """Where an artefact comes from, and what goes into it beside the network.

    Attributes:
        pipeline: Name of the pipeline.
        data_sha256: Digest of the recordings behind the model.
        model_sha256: SHA-256 of the trained weights.
        evaluation: Content of the model's `evaluation.json`.
        classes: Names of the logits.
        channels: Of the samples.
        rate_hz: Of the samples.
        time_zone: IANA name of local time.
        smoothing: Content of `hmm.json`; None where nothing smooths.
        hmm_code: Text of the module that smooths.
    """

    pipeline: str
    data_sha256: str
    model_sha256: str
    evaluation: dict[str, Any]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    rate_hz: float
    time_zone: str
    smoothing: dict[str, Any] | None
    hmm_code: bytes


def inputs_of(network: WristModelConfig) -> tuple[str, ...]:
    """Names of what a network takes of a window."""
    asked = {"statistics": network.n_statistics, "topology": network.n_topology, "times": network.n_times}
    return ("windows", *(name for name, n in asked.items() if n))


def build_wrist_artefact(
    folder: Path,
    model: nn.Module,
    windows: np.ndarray,
    begun_s: np.ndarray,
    origin: WristOrigin,
    scratch: Path,
    *,
    variants: Sequence[str],
    n_golden: int,
) -> BuiltArtefact:
    """Convert, prove and describe one classifier.

    Args:
        folder: An existing empty folder; the manifest and its seal are written last.
        model: In evaluation mode.
        windows: (n, length, 3), g: windows of training people; they calibrate, and the first become golden vectors.
        begun_s: (n,), when each begins, seconds since 1970 UTC.
        origin: Where everything comes from.
        scratch: An existing folder.
        variants: Names in FORMATS.
        n_golden: How many golden vectors.

    Raises:
        ExportError: not one variant could be made; lists every reason.
    """
    network: WristModelConfig = model.config  # type: ignore[assignment]
    names = inputs_of(network)
    write_bytes(folder / "statistical.py", Path(statistical.__file__).read_bytes())
    write_bytes(folder / "label.py", Path(label.__file__).read_bytes())
    calibration = label.open_features(folder, list(names), origin.rate_hz, origin.time_zone)(windows, begun_s)
    source = ExportSource(model=model, calibration=calibration, output="logits", scratch=scratch)
    proven = convert_all(folder, source, variants, label.open_network, what=origin.pipeline)
    np.savez(
        folder / "golden.npz",
        allow_pickle=False,
        raw=windows[:n_golden],
        begun_s=begun_s[:n_golden],
        model=source.reference[:n_golden],
        labels=source.reference[:n_golden].argmax(axis=1),
        **{name: values[:n_golden] for name, values in calibration.items()},
        **{variant: outputs[:n_golden] for variant, outputs in proven.outputs.items()},
    )
    if origin.smoothing is not None:
        write_json(folder / "hmm.json", origin.smoothing)
        write_bytes(folder / "hmm.py", origin.hmm_code)
    write_json(folder / "evaluation.json", origin.evaluation)
    manifest = _manifest(network, names, origin, proven.facts, proven.refused, n_golden=min(n_golden, len(windows)))
    write_bytes(folder / "README.md", _readme(manifest).encode())
    write_manifest(folder, manifest)
    return BuiltArtefact(variants=proven.facts, refused=proven.refused)


def _manifest(
    network: WristModelConfig,
    names: Sequence[str],
    origin: WristOrigin,
    variants: Mapping[str, dict[str, Any]],
    refused: Mapping[str, str],
    *,
    n_golden: int,
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "activity",
        "pipeline": origin.pipeline,
        "channels": list(origin.channels),
        "units": ["g"] * len(origin.channels),
        "length": network.window_length,
        "rate_hz": origin.rate_hz,
        "time_zone": origin.time_zone,
        "classes": list(origin.classes),
        "inputs": list(names),
        "needs": ["numpy", *(["foresense[topology]"] if "topology" in names else [])],
        "smooths": origin.smoothing is not None,
        "model": origin.evaluation["model"],
        "network": network.model_dump(mode="json"),
        "model_sha256": origin.model_sha256,
        "data_sha256": origin.data_sha256,
        "versions": versions(),
        "golden": {"file": "golden.npz", "n": n_golden},
        "variants": dict(variants),
        "refused": dict(refused),
    }


def _readme(manifest: dict[str, Any]) -> str:
    lines = [
        f"# {manifest['pipeline']}: what a wrist is doing",
        "",
        f"{manifest['length']} samples at {manifest['rate_hz']:g} Hz, {', '.join(manifest['channels'])} in g, in;",
        f"one of {', '.join(manifest['classes'])} out. `python label.py recording.csv [variant]` labels a recording",
        f"(needs {', '.join(manifest['needs'])} and the variant's runtime: onnxruntime or ai-edge-litert).",
        "",
        "| variant | file | MiB | largest difference from the model, logits |",
        "| --- | --- | ---: | ---: |",
        *(
            f"| {name} | {facts['file']} | {facts['size_mib']:.3f} | {facts['max_abs_error']:.2g} |"
            for name, facts in manifest["variants"].items()
        ),
        "",
        "`foresense verify <this folder>` checks every file and the golden vectors, from raw window to label.",
    ]
    return "\n".join(lines) + "\n"
