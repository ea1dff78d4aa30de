"""A file in the official layout gives plain numpy's features in every exported format, without TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foresense.config.pat import WEEK_MINUTES, pat_size
from foresense.export import FORMATS
from foresense.export.inspect import read_types, require_types
from foresense.export.pat import feature_source
from foresense.export.pat_runtime import open_features
from foresense.export.proof import Proven, convert_all
from foresense.export.quiet import quieted
from foresense.export.source import ExportSource, convert
from foresense.export.tflite_ranges import int8, symmetric_products
from foresense.models.pat_folded import FoldedPat
from foresense.registry.weights import fetch_weights, read_weights
from tests.models import official_layout, pat_reference

DAY = 1440


def exported(size: str, folder: Path, weeks: np.ndarray) -> ExportSource:
    """A source made of a file in the official layout that came in through the registry."""
    name = f"PAT-{size}_29k"
    path = official_layout.write(folder / f"{name}.h5", official_layout.arrays(size))
    fetch_weights(name, path, folder / "pat", folder / "lock.json")
    weights = read_weights(name, folder / "pat", folder / "lock.json")
    return feature_source(pat_size(size), weights.arrays, weeks, folder)


def expected(size: str, weeks: np.ndarray) -> np.ndarray:
    return pat_reference.features(official_layout.flat(official_layout.arrays(size)), size, weeks)


@pytest.fixture(scope="module")
def weeks() -> np.ndarray:
    return np.random.default_rng(7).normal(size=(3, DAY)).astype(np.float32)


@pytest.fixture(scope="module")
def proven(weeks: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportSource, Proven]:
    """S in every format."""
    folder = tmp_path_factory.mktemp("pat")
    source = exported("S", folder, weeks)
    return folder, source, convert_all(folder, source, list(FORMATS), open_features, what="PAT-S")


def test_s_is_made_in_every_format_and_floats_are_numpys(proven: Any, weeks: np.ndarray) -> None:
    _, _, found = proven
    assert found.refused == {}
    assert list(found.facts) == list(FORMATS)
    reference = expected("S", weeks)
    for variant, outputs in found.outputs.items():
        error = np.abs(outputs - reference).max()
        # float32: rounding. Quantized: features have a spread of about 0.9, and int8 has 256 steps for each tensor
        assert error < (1e-5 if variant.endswith("float32") else 0.25), (variant, error)
        assert np.corrcoef(outputs.ravel(), reference.ravel())[0, 1] > 0.99, variant


@pytest.mark.parametrize("variant", ["onnx-float32", "tflite-float32"])
def test_l_gives_numpys_features_in_both_formats(variant: str, weeks: np.ndarray, tmp_path: Path) -> None:
    source = exported("L", tmp_path, weeks[:1])
    file = tmp_path / f"file.{variant.partition('-')[0]}"
    convert(source, variant, file)
    with quieted():
        found = open_features(file)(source.examples[0])
    np.testing.assert_allclose(found, expected("L", weeks[:1]), rtol=0, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("variant", ["onnx-float32", "tflite-float32"])
@pytest.mark.parametrize("size", ["S", "M", "L"])
def test_a_full_week_gives_numpys_features(size: str, variant: str, tmp_path: Path) -> None:
    week = np.random.default_rng(8).normal(size=(1, WEEK_MINUTES)).astype(np.float32)
    source = exported(size, tmp_path, week)
    file = tmp_path / f"file.{variant.partition('-')[0]}"
    convert(source, variant, file)
    with quieted():
        found = open_features(file, 2)(source.examples[0])
    np.testing.assert_allclose(found, expected(size, week), rtol=0, atol=1e-5)


def test_attention_in_blocks_is_attention_at_once(weeks: np.ndarray) -> None:
    weights = official_layout.flat(official_layout.arrays("S"))
    size, week = pat_size("S"), expected("S", weeks[:1])
    for attention_mib in (1e-6, 0.05, 4.0):  # a patch, some, all
        model = FoldedPat(size, weights, n_minutes=DAY, attention_mib=attention_mib)
        source = ExportSource(model.eval(), {"actigraphy_input": weeks[:1]}, "features", Path())
        np.testing.assert_allclose(source.reference, week, rtol=0, atol=1e-5)
        assert [block.at_once for block in model.blocks] == [{1e-6: 1, 0.05: 20, 4.0: 80}[attention_mib]]


def test_a_day_of_l_never_holds_more_attention_than_it_may() -> None:
    weights = official_layout.flat(official_layout.arrays("L"))
    model = FoldedPat(pat_size("L"), weights)
    assert {block.at_once * 12 * 1120 * 4 for block in model.blocks} == {70 * 12 * 1120 * 4}
    assert 70 * 12 * 1120 * 4 <= 4 * 2**20


def test_integers_that_products_multiply_by_have_their_zero_in_the_middle(proven: Any, weeks: np.ndarray) -> None:
    folder, source, found = proven
    file = folder / "symmetric.tflite"
    with quieted():
        assert int8(source, file).startswith("litert-torch")
        run = open_features(file)
    require_types("tflite-int8", read_types(file))
    outputs = np.concatenate([run(example) for example in source.examples])
    error = np.abs(outputs - expected("S", weeks)).max()
    assert error < 1.5 * found.facts["tflite-int8"]["max_abs_error"]
    assert zero_points(file) == {0}


def zero_points(file: Path) -> set[int]:
    """Of the second operands of all products of a file."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes(), 0))
    graph = model.subgraphs[0]
    products = {
        number
        for number, code in enumerate(model.operatorCodes)
        if max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.BATCH_MATMUL
    }
    second = [operator.inputs[1] for operator in graph.operators if operator.opcodeIndex in products]
    assert second
    return {int(graph.tensors[tensor].quantization.zeroPoint[0]) for tensor in second}


def test_a_range_is_widened_and_never_narrowed(proven: Any) -> None:
    _, source, _ = proven
    model = source.scratch / "float32.tflite"
    names = every_tensor(model)
    ranges: Any = {name: {"min": np.array([[-1.0]]), "max": np.array([[3.0]])} for name in names}
    symmetric_products(model, ranges)
    changed = {name: one for name, one in ranges.items() if one["min"] != -1.0}
    assert 0 < len(changed) < len(names)
    for one in changed.values():
        low, high = one["min"].item(), one["max"].item()
        assert (low, high) == (-3.0 * 128 / 127, 3.0)
        scale = (high - low) / 255
        assert -128 - low / scale == pytest.approx(0.0, abs=1e-12)


def every_tensor(model: Path) -> list[str]:
    from ai_edge_litert import schema_py_generated as schema

    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model.read_bytes(), 0))
    return [tensor.name.decode() for graph in content.subgraphs for tensor in graph.tensors]
