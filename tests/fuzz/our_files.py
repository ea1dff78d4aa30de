"""What people write and steps leave: settings, reports, weights, manifests of versions and artefacts, messages."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from foresense.bridge.payload import Schema
from foresense.config import ConfigError, read_pipelines, read_stages
from foresense.config.pat import PatWeightsError
from foresense.export.manifest import SEAL
from foresense.registry.folder import MANIFEST, PARTS, VersionError, seal_version, verify_version
from foresense.registry.weights import WeightsError, fetch_weights
from foresense.signals import SignalError, file_sha256
from foresense.signals.reports import ExportReport, read_report
from foresense.steps.verify import verify
from foresense.windows.minute_scaler import MinuteScaler, load_minute_scaler
from tests.fuzz.target import Target, as_json, in_memory
from tests.models import official_layout

NAME = "PAT-S_29k"
VALUE = (ValueError, FileNotFoundError)
NOW_NS = 1_750_000_000 * 10**9
PARAMS = {
    "stages": {"ingest": {"mine": {"raw": "data/raw/ett", "code": "ingest"}}, "window": ["mine"]},
    "pipelines": {
        "mine": {
            "description": "one mill",
            "ingest": {"source": "ett", "raw": "ett", "channels": [{"name": "a", "unit": "1"}]},
            "window": {"context": 48, "horizon": 24, "split": {"unit": "share", "train": 0.7}},
            "features": {},
            "train": {"candidates": {"tuned": {"learning_rate": 5e-4}}},
            "export": {},
            "benchmark": {"gates": {"size_mib": {"at_most": 1.0}}},
        },
    },
}
REPORT = {
    "pipeline": "mine",
    "step": "export",
    "profile": "full",
    "created_utc": "2025-01-01T00:00:00+00:00",
    "git_commit": "0" * 40,
    "git_dirty": False,
    "code_digest": "0",
    "data_sha256": "0",
    "schema_version": 1,
    "seed": 0,
    "duration_s": 1.0,
    "peak_rss_mib": 1.0,
    "environment": {"cpu": "x", "threads": 2, "load_1min": 0.1, "versions": {"numpy": "2"}},
    "gates": [],
    "variants": {"onnx-float32": {"file": "a.onnx"}},
    "groups": {},
    "refused": {},
}
MESSAGE = {"samples": [{"workspace_id": "mill", "time_ns": NOW_NS - n, "temp_body": 60.5} for n in range(3)]}


@cache
def official() -> bytes:
    """Weights of the smallest size, as they are published."""
    return in_memory(lambda file: official_layout.write(file, official_layout.arrays("S")))


def _fetch(folder: Path) -> Path:
    shutil.rmtree(folder / "pat", ignore_errors=True)
    (folder / "lock.json").unlink(missing_ok=True)
    return fetch_weights(NAME, folder / f"{NAME}_weights.h5", folder / "pat", folder / "lock.json")


@cache
def _scaler() -> bytes:
    week = np.ones(10080)
    with tempfile.TemporaryDirectory() as folder:
        MinuteScaler(week, week, "counts", "wrist", 9, 9).save(Path(folder) / "scaler")
        return (Path(folder) / "scaler").read_bytes()


@cache
def _version() -> Mapping[str, bytes]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in PARTS:
            (folder / part).parent.mkdir(exist_ok=True)
            (folder / part).write_bytes(part.encode())
        seal_version(folder, pipeline="p", asset="a", data_sha256="0", trained_until_s=0)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


@cache
def artefact() -> Mapping[str, bytes]:
    """An artefact whose model repeats the newest two rows of four; made by hand, as building one takes seconds."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rows = np.random.default_rng(0).random((3, 4, 2), np.float32)
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n, 2])
        for name, n in (("context", 4), ("forecast", 2))
    ]
    bounds = [numpy_helper.from_array(np.array([n]), name) for name, n in (("starts", 2), ("ends", 4), ("axes", 1))]
    node = helper.make_node("Slice", ["context", "starts", "ends", "axes"], ["forecast"])
    graph = helper.make_graph([node], "newest", sides[:1], sides[1:], bounds)
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    arrays = {"physical": rows.astype(np.float64), "inputs": rows, "model": rows[:, 2:], "onnx-float32": rows[:, 2:]}
    scaler = {"kind": "minmax", "channels": ["a", "b"], "shift": [0.0, 0.0], "scale": [1.0, 1.0]}
    windowing = {"group": "mill", "channels": ["a", "b"], "units": ["1", "1"], "context": 4, "horizon": 2}
    files = {
        "onnx-float32.onnx": model.SerializeToString(),
        "golden.npz": in_memory(lambda file: np.savez(file, allow_pickle=False, **arrays)),
        "scaler.json": as_json(scaler),
        "windowing.json": as_json(windowing),
        **dict.fromkeys(("evaluation.json", "predict.py", "README.md"), b"{}"),
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    variant = {"file": "onnx-float32.onnx", "sha256": digests["onnx-float32.onnx"], "tolerance": 1e-5}
    manifest = {
        "schema_version": 1,
        "kind": "forecast",
        **windowing,
        "scaler": scaler,
        "windowing": windowing,
        "versions": {"onnxruntime": "1.31.1"},
        "golden": {"file": "golden.npz", "n": 3},
        "variants": {"onnx-float32": variant},
        "files": digests,
    }
    return {"manifest.json": as_json(manifest), **files}


def _verify(folder: Path) -> object:
    """As after somebody who edits the manifest and seals it again: what it says is borne, and not believed."""
    (folder / SEAL).write_text(f"{file_sha256(folder / 'manifest.json')}  manifest.json\n")
    return verify(folder)


def _parse(folder: Path) -> object:
    """A message is never an error; every record is a sample or is counted with its reason."""
    parsed = Schema().parse((folder / "message").read_bytes(), NOW_NS)
    n_block = 0 if parsed.block is None else len(parsed.block.times_ns)
    assert parsed.n_refused + len(parsed.rows) + n_block >= 1, "a message vanished"
    assert bool(parsed.n_refused) == bool(parsed.reasons), "refused without a reason"
    return parsed


def _without(files: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    return {other: content for other, content in files.items() if other != name}


TARGETS = {
    "params.yaml": Target(
        *("params.yaml", lambda: as_json(PARAMS)),  # YAML, too
        lambda folder: (read_pipelines(folder / "params.yaml"), read_stages(folder / "params.yaml")),
        (ConfigError,),
    ),
    "report": Target("export.json", lambda: as_json(REPORT), lambda folder: read_report(folder, ExportReport), VALUE),
    "official weights": Target(f"{NAME}_weights.h5", official, _fetch, (WeightsError, PatWeightsError)),
    "scaler of weeks": Target(
        *("scaler.safetensors", _scaler, lambda folder: load_minute_scaler(folder / "scaler.safetensors")),
        (SignalError,),
    ),
    "version": Target(
        *(MANIFEST, lambda: _version()[MANIFEST], verify_version, (VersionError, *VALUE)),
        beside=lambda: _without(_version(), MANIFEST),
    ),
    "artefact": Target(
        *("manifest.json", lambda: artefact()["manifest.json"], _verify, VALUE),
        beside=lambda: _without(artefact(), "manifest.json"),
    ),
    "message": Target("message", lambda: as_json(MESSAGE), _parse, (), is_sealed=False),
}
