import builtins
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from foresense.export import FORMATS, file_name, format_of
from foresense.export.inspect import FileTypes, TypesError, read_types, require_types
from foresense.signals import read_json


@pytest.fixture(scope="session")
def manifest(full_artefact: Path) -> dict:
    return read_json(full_artefact / "manifest.json")


def test_every_format_of_the_catalog_can_be_made(manifest: dict) -> None:
    assert manifest["refused"] == {}
    assert list(manifest["variants"]) == list(FORMATS)


@pytest.mark.parametrize("variant", sorted(FORMATS))
def test_a_file_agrees_with_its_model_and_is_what_it_claims(variant: str, full_artefact: Path, manifest: dict) -> None:
    facts = manifest["variants"][variant]
    bound = 1e-5 if variant.endswith("float32") else 0.05  # of the training part's range, which is 0..1
    assert facts["max_abs_error"] < bound
    assert facts["max_abs_error"] > 0 or variant.endswith("float32")
    types = read_types(full_artefact / file_name(variant))
    require_types(variant, types)
    assert types.tensors == facts["tensor_types"]


@pytest.mark.parametrize("variant", [name for name in sorted(FORMATS) if name.startswith("onnx")])
def test_onnx_doors_have_the_promised_names_and_no_machine_paths(variant: str, full_artefact: Path) -> None:
    import onnxruntime

    file = full_artefact / file_name(variant)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [(door.name, door.shape) for door in session.get_inputs()] == [("context", [1, 48, 2])]
    assert [(door.name, door.shape) for door in session.get_outputs()] == [("forecast", [1, 12, 2])]
    assert b"site-packages" not in file.read_bytes()
    assert b".py" not in file.read_bytes()


@pytest.mark.parametrize("variant", [name for name in sorted(FORMATS) if name.startswith("tflite")])
def test_tflite_doors_have_the_promised_names(variant: str, full_artefact: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(full_artefact / file_name(variant)))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["context"], "outputs": ["forecast"]}}
    assert interpreter.get_input_details()[0]["dtype"] == (np.int8 if variant == "tflite-int8" else np.float32)


def test_types_of_a_tflite_file_agree_with_what_the_interpreter_shows(full_artefact: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    file = full_artefact / "tflite-int8.tflite"
    plain = Interpreter(str(file), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    plain.allocate_tensors()
    shown = {np.dtype(tensor["dtype"]).name for tensor in plain.get_tensor_details()}
    types = read_types(file)
    assert set(types.tensors) == shown
    assert "float32" not in types.tensors
    assert sum(types.operators.values()) == len(plain._get_ops_details())


def test_an_int8_file_without_integer_kernels_is_refused() -> None:
    float_inside = FileTypes({"float32": 48, "int8": 9}, {"FULLY_CONNECTED": 4}, 4, 0, "int8", "int8")
    only_doors = FileTypes({"float32": 3, "int8": 2}, {"MatMul": 4}, 0, 0, "float32", "float32")
    with pytest.raises(TypesError, match="tflite-int8: not what it claims: 48 float tensors"):
        require_types("tflite-int8", float_inside)
    with pytest.raises(TypesError, match="onnx-int8: not what it claims: no integer kernel"):
        require_types("onnx-int8", only_doors)
    with pytest.raises(TypesError, match="no operator with int8 weights and float32 activations"):
        require_types("tflite-dynamic", only_doors)
    with pytest.raises(TypesError, match="2 int8 tensors in a float32 file"):
        require_types("tflite-float32", only_doors)


def test_a_float32_file_does_not_pass_for_int8(full_artefact: Path) -> None:
    with pytest.raises(TypesError, match="no integer kernel"):
        require_types("tflite-int8", read_types(full_artefact / "tflite-float32.tflite"))
    with pytest.raises(TypesError, match="no integer kernel"):
        require_types("onnx-int8", read_types(full_artefact / "onnx-float32.onnx"))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.pt: expected a file named \.onnx or \.tflite"):
        read_types(tmp_path / "model.pt")


def test_an_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"no export variant 'onnx-int4'; did you mean 'onnx-int8'\? \(known: onnx-float32"
    ):
        format_of("onnx-int4")


def test_without_the_converter_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workshop: ModuleType, build: Callable[..., Path]
) -> None:
    real_import = builtins.__import__

    def no_litert(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("litert_torch"):
            raise ModuleNotFoundError("No module named 'litert_torch'")
        return real_import(name, *args, **kwargs)

    monkeypatch.setitem(sys.modules, "litert_torch", None)
    monkeypatch.setattr(builtins, "__import__", no_litert)
    folder = build(tmp_path, workshop.DLINEAR, ("onnx-float32", "tflite-float32"))
    refused = read_json(folder / "manifest.json")["refused"]
    assert list(refused) == ["tflite-float32"]
    assert "litert_torch, which is in the extra 'edge': pip install 'foresense[edge]'" in refused["tflite-float32"]
    assert not (folder / "tflite-float32.tflite").exists()


def test_when_nothing_can_be_made_every_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workshop: ModuleType, build: Callable[..., Path]
) -> None:
    from foresense.export.proof import ExportError

    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(ExportError, match="plant/lathe-1: no variant could be exported: tflite-float32: ImportError"):
        build(tmp_path, workshop.DLINEAR, ("tflite-float32",))


def test_two_exports_of_one_model_have_equal_bytes(
    tmp_path: Path, workshop: ModuleType, build: Callable[..., Path], quick_artefact: Path
) -> None:
    again = build(tmp_path, workshop.DLINEAR, ("onnx-float32",))
    for path in quick_artefact.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
