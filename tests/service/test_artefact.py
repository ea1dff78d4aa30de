import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder
from onnx import TensorProto, helper, numpy_helper

from foresense.config.actigraphy_service import ActigraphyServiceConfig
from foresense.export.manifest import SEAL
from foresense.service import (
    EncoderError,
    SecurityError,
    ServiceError,
    UnreferencedError,
    open_artefact,
    open_encoder,
    service_from_artefact,
    verify_model_integrity,
)
from foresense.service.parts import ActigraphyParts, Prepare, PreparedWeek
from foresense.signals import Recording, file_sha256, write_json

SHIFT, SCALE = 200.0, 141.0
#: Other tests of this process may have loaded what a service does not.
ROOMY = ActigraphyServiceConfig(memory_mib=1e6)
#: Scale and zero of the numbers of an int8 file: it holds -7.1875 to 8.75 in steps of 1/16.
INT8_SCALE = (0.0625, -13)


def picking_weights(n_in: int = 10_080) -> np.ndarray:
    """(96, n_in): feature k is minute 100 k, and nothing is added up, so that every runtime is exact."""
    weights = np.zeros((96, n_in), np.float32)
    weights[np.arange(96), np.arange(96) * 100] = 1
    return weights


def write_tflite(file: Path, *, batch: int, n_in: int = 10_080, is_int8: bool = False) -> None:
    """One FULLY_CONNECTED, written by the schema itself: no converter has a part in the test."""
    kind, number = (schema.TensorType.INT8, np.int8) if is_int8 else (schema.TensorType.FLOAT32, np.float32)
    weights = picking_weights(n_in).astype(number)
    model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    code, table = schema.OperatorCodeT(), schema.FullyConnectedOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    tensors = []
    for name, shape, (scale, zero) in (
        ("weeks", (1, n_in), INT8_SCALE),
        ("weights", weights.shape, (1.0, 0)),
        ("features", (1, 96), INT8_SCALE),
    ):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer, tensor.type = name, list(shape), int(name == "weights"), kind
        if name != "weights":
            tensor.shapeSignature = [batch, shape[1]]
        if is_int8:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero]
        tensors.append(tensor)
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, -1], [2]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.FullyConnectedOptions, table
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [2], [operator]
    held = schema.BufferT()
    held.data = weights.reshape(-1).view(np.uint8)
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT(), held]
    builder = Builder(1 << 22)
    builder.Finish(model.Pack(builder), b"TFL3")
    file.write_bytes(builder.Output())


def write_onnx(file: Path, *, batch: int | str) -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["weeks", "weights"], ["features"])],
        "encoder",
        [helper.make_tensor_value_info("weeks", TensorProto.FLOAT, [batch, 10_080])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 96])],
        [numpy_helper.from_array(np.ascontiguousarray(picking_weights().T), "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(file))


def seal(folder: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    write_json(folder / "manifest.json", manifest)
    (folder / SEAL).write_text(f"{file_sha256(folder / 'manifest.json')}  manifest.json\n")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "weeks"
    folder.mkdir()
    write_tflite(folder / "tflite-float32.tflite", batch=-1)
    write_onnx(folder / "onnx-float32.onnx", batch="n")
    (folder / "scaler.json").write_text(f"[{SHIFT}, {SCALE}]")
    activity = np.random.default_rng(0).integers(0, 2000, 10_080).astype(float)
    features = ((activity - SHIFT) / SCALE).astype(np.float32)[:9600:100]
    names = ("tflite-float32", "onnx-float32")
    np.savez(folder / "known_answer.npz", activity=activity, **dict.fromkeys(names, features))
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    manifest = {
        "schema_version": 1,
        "kind": "weeks",
        "variants": {name: {"file": f"{name}.{name.partition('-')[0]}", "tolerance": 0.0} for name in names},
        "scaler": {"file": "scaler.json"},
        "preparation": {"n_filled": 17},
        "known_answer": {
            "file": "known_answer.npz",
            "start": "2004-05-03T00:00:00+02:00",
            "time_zone": "Europe/Oslo",
            "unit": "counts",
        },
        "files": files,
    }
    write_json(folder / "manifest.json", manifest)
    seal(folder)
    return folder


@pytest.fixture
def artefact(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "weeks")


@pytest.fixture
def how(parts: ActigraphyParts) -> dict[str, Any]:
    def read_preparation(file: Path | None, settings: Mapping[str, Any]) -> Prepare:
        shift, scale = (0.0, 1.0) if file is None else json.loads(file.read_text())

        def prepare(recording: Recording) -> PreparedWeek:
            values = ((recording.samples[:, 0] - shift) / scale).astype(np.float32)
            filled = settings["n_filled"]
            return replace(parts.prepare(recording), values=values, is_referenced=file is not None, n_filled=filled)

        return prepare

    return {"read_preparation": read_preparation}


@pytest.mark.parametrize("variant", [None, "onnx-float32"])
def test_a_service_answers_from_the_folder(
    exported: Path, how: Any, week: Any, run: Callable[..., Any], variant: str | None
) -> None:
    async def ask() -> Any:
        async with service_from_artefact(exported, ROOMY, variant=variant, **how) as service:
            answers = await asyncio.gather(*(service.extract_features(week(n)) for n in range(5)))
            return answers, await service.model_health_check()

    answers, health = run(ask())
    for n, answer in enumerate(answers):
        expected = ((week(n).samples[:9600:100, 0] - SHIFT) / SCALE).astype(np.float32)
        np.testing.assert_array_equal(answer["raw_features"], expected)
    assert health["status"] == "healthy"


@pytest.mark.parametrize("batch", [-1, 1])
def test_a_tflite_file_takes_any_batch(tmp_path: Path, batch: int) -> None:
    write_tflite(tmp_path / "encoder.tflite", batch=batch)
    require_every_batch(tmp_path / "encoder.tflite", takes_batches=batch != 1)


@pytest.mark.parametrize("batch", [-1, 1])
def test_a_full_integer_file_is_asked_in_its_own_numbers(tmp_path: Path, batch: int) -> None:
    write_tflite(tmp_path / "encoder.tflite", batch=batch, is_int8=True)
    encode = open_encoder(tmp_path / "encoder.tflite", n_threads=1)
    weeks = np.random.default_rng(1).normal(size=(3, 10_080)).astype(np.float32)
    weeks[0, 0], weeks[1, 100] = 100.0, -100.0  # beyond what int8 holds
    nearest = np.clip(np.rint(weeks[:, :9600:100] * 16) / 16, -115 / 16, 140 / 16)
    np.testing.assert_array_equal(encode(weeks), nearest)
    assert encode(weeks).dtype == np.float32


@pytest.mark.parametrize("batch", ["n", 1])
def test_an_onnx_file_takes_any_batch(tmp_path: Path, batch: int | str) -> None:
    write_onnx(tmp_path / "encoder.onnx", batch=batch)
    require_every_batch(tmp_path / "encoder.onnx", takes_batches=batch != 1)


def require_every_batch(file: Path, *, takes_batches: bool) -> None:
    encode = open_encoder(file, n_threads=1)
    assert encode.takes_batches == takes_batches
    weeks = np.random.default_rng(1).normal(size=(4, 10_080)).astype(np.float32)
    for n in (1, 3, 4, 1):
        np.testing.assert_array_equal(encode(weeks[:n]), weeks[:n, :9600:100])


def test_a_file_that_is_no_encoder_of_weeks_is_refused(tmp_path: Path) -> None:
    write_tflite(tmp_path / "short.tflite", batch=1, n_in=9600)
    with pytest.raises(
        EncoderError,
        match=r"short\.tflite: expected one input \(n, 10080\) of float32 or int8, n free or 1, found weeks \[1, 9600",
    ):
        open_encoder(tmp_path / "short.tflite")
    write_onnx(tmp_path / "four.onnx", batch=4)
    with pytest.raises(
        EncoderError, match=r"four\.onnx: expected one input .*found weeks \[4, 10080\] tensor\(float\)"
    ):
        open_encoder(tmp_path / "four.onnx")
    with pytest.raises(EncoderError, match=r"weights\.h5: expected a file named \.onnx or \.tflite"):
        open_encoder(tmp_path / "weights.h5")


def test_the_manifest_comes_back_when_nothing_differs(exported: Path) -> None:
    manifest = verify_model_integrity(exported, manifest_sha256=file_sha256(exported / "manifest.json"))
    assert manifest["kind"] == "weeks"


@pytest.mark.parametrize("name", ["tflite-float32.tflite", "onnx-float32.onnx", "scaler.json", "known_answer.npz"])
def test_a_flipped_byte_is_a_security_error_and_nothing_starts(
    artefact: Path, how: Any, run: Callable[..., Any], name: str
) -> None:
    content = bytearray((artefact / name).read_bytes())
    content[len(content) // 2] ^= 1
    expected = file_sha256(artefact / name)
    (artefact / name).write_bytes(content)
    service = service_from_artefact(artefact, ROOMY, **how)
    told = (
        f"{name}: SHA-256 is sha256:{file_sha256(artefact / name)}, manifest.json says sha256:{expected}; nothing was"
    )
    with pytest.raises(SecurityError, match=told):
        run(service.initialize())
    assert not service.is_initialized


@pytest.mark.parametrize("name", ["tflite-float32.tflite", "scaler.json", "manifest.json", SEAL])
def test_a_missing_file_is_not_found(artefact: Path, how: Any, name: str) -> None:
    (artefact / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        open_artefact(artefact, **how)


def test_a_forged_manifest_needs_its_seal_and_the_lock_sees_both(artefact: Path) -> None:
    locked = file_sha256(artefact / "manifest.json")
    (artefact / "scaler.json").write_text("[0, 1]")
    manifest = json.loads((artefact / "manifest.json").read_text())
    manifest["files"]["scaler.json"] = file_sha256(artefact / "scaler.json")
    write_json(artefact / "manifest.json", manifest)
    with pytest.raises(
        SecurityError, match=r"manifest\.json: SHA-256 is sha256:\w+, which manifest\.json\.sha256 does not"
    ):
        verify_model_integrity(artefact)
    seal(artefact)
    verify_model_integrity(artefact)
    with pytest.raises(SecurityError, match=f"the lock says sha256:{locked}"):
        verify_model_integrity(artefact, manifest_sha256=locked)


@pytest.mark.parametrize("name", ["../outside", "link"])
def test_names_stay_inside_the_folder(artefact: Path, name: str) -> None:
    outside = artefact.parent / "outside"
    outside.write_text("x")
    (artefact / "link").symlink_to(outside)
    seal(artefact, lambda manifest: manifest["files"].update({name: file_sha256(outside)}))
    with pytest.raises(SecurityError, match=f"{name}: not a plain file of this folder"):
        verify_model_integrity(artefact)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda m: m["files"].pop("scaler.json"), SecurityError, r"uses scaler\.json and does not list its SHA-256"),
        (lambda m: m["files"].pop("onnx-float32.onnx"), SecurityError, r"uses onnx-float32\.onnx and does not list"),
        (lambda m: m.update(kind="mixed"), ServiceError, r"kind \(1, 'mixed'\), expected \(1, 'weeks'\)"),
        (lambda m: m.update(schema_version=2), ServiceError, r"kind \(2, 'weeks'\), expected \(1, 'weeks'\)"),
        (lambda m: m.pop("scaler"), ServiceError, r"manifest\.json: scaler missing; export again"),
        (lambda m: m.update(variants={}), ServiceError, r"manifest\.json: a variant missing; export again"),
        (
            lambda m: m["variants"].pop("onnx-float32"),
            ServiceError,
            r"no variant 'onnx-float32' \(known: tflite-float32\)",
        ),
    ],
)
def test_a_manifest_of_another_shape_is_refused(
    artefact: Path, how: Any, change: Callable[[dict[str, Any]], None], error: type[Exception], told: str
) -> None:
    seal(artefact, change)
    with pytest.raises(error, match=told):
        open_artefact(artefact, variant="onnx-float32", **how)


def test_a_known_answer_of_another_shape_is_refused(artefact: Path, how: Any) -> None:
    np.savez(artefact / "known_answer.npz", activity=np.zeros(10_080))
    digest = file_sha256(artefact / "known_answer.npz")
    seal(artefact, lambda manifest: manifest["files"].update({"known_answer.npz": digest}))
    with pytest.raises(ServiceError, match=r"expected arrays .*'tflite-float32': \(96,\).*, found .*export again"):
        open_artefact(artefact, **how)


def test_without_a_scaler_the_reader_knows_it(artefact: Path, how: Any, run: Callable[..., Any]) -> None:
    seal(artefact, lambda manifest: manifest.update(scaler=None))
    parts = open_artefact(artefact, **how)
    week = parts.prepare(parts.known_answer.recording)
    assert (week.is_referenced, week.n_filled) == (False, 17)
    with pytest.raises(UnreferencedError, match="no reference of the training people fits it"):
        run(service_from_artefact(artefact, ROOMY, **how).initialize())
    asked = ActigraphyServiceConfig(allow_unreferenced=True)
    with pytest.raises(EncoderError, match="the model or the scaler is not the one that was exported"):
        run(service_from_artefact(artefact, asked, **how).initialize())
