"""Keras models to TFLite and ONNX: published sizes, types read from the file, agreement with the model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foresense.export import keras_format, keras_onnx
from foresense.export.inspect import FileTypes, TypesError, read_types
from foresense.export.keras_format import VARIANTS, KerasExportError, KerasSource, export_keras, run_file
from foresense.export.quiet import quieted
from foresense.signals import file_sha256

#: Sizes of the published exports, MiB, and of their float16 files (spec of the networks, N-5 to N-7, NX-4).
PUBLISHED = {
    "thermal": {"float32": 45.641, "float16": 22.823, "dynamic": 11.418, "int8-float-io": 11.418},
    "acoustic": {"float32": 14.139, "float16": 7.072, "dynamic": 3.540, "int8-float-io": 3.542},
}
SHAPES = {"thermal": (224, 224, 3), "acoustic": (128, 128, 1)}
N_PARAMETERS = {"thermal": 11_963_457, "acoustic": 3_705_345}


@pytest.fixture(scope="module")
def network() -> Callable[[tuple[int, ...]], Any]:
    """The published network for an input shape, untrained."""
    with quieted():
        import keras
    layers = keras.layers

    def build(shape: tuple[int, ...]) -> Any:
        keras.utils.set_random_seed(0)
        return keras.Sequential(
            [
                keras.Input(shape),
                layers.Conv2D(32, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(64, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(64, activation="relu"),
                layers.Dropout(0.5),
                layers.Dense(1, activation="sigmoid"),
            ]
        )

    return build


def hot_spots(shape: tuple[int, ...], n: int) -> np.ndarray:
    """(n, *shape), float32, 0 to 1: one warm spot on a cold module, another place in each window."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    spots = [
        np.exp(-((y - row) ** 2 + (x - column) ** 2) / shape[0]) for row, column in rng.uniform(0, shape[0], (n, 2))
    ]
    return np.repeat(np.stack(spots)[..., None], shape[2], axis=3).astype(np.float32)


@pytest.mark.parametrize("name", ["acoustic", pytest.param("thermal", marks=pytest.mark.long)])
def test_the_published_networks_leave_at_their_published_sizes(
    network: Callable[[tuple[int, ...]], Any], tmp_path: Path, name: str
) -> None:
    model, windows = network(SHAPES[name]), hot_spots(SHAPES[name], 1)
    assert model.count_params() == N_PARAMETERS[name]
    variants = [f"tflite-{kind}" for kind in PUBLISHED[name]]
    facts = export_keras(tmp_path, KerasSource(model, windows, windows), variants).variants
    for kind, size_mib in PUBLISHED[name].items():
        # names and version of a file's making differ by some hundred bytes; weights by megabytes
        assert facts[f"tflite-{kind}"]["size_mib"] == pytest.approx(size_mib, abs=0.002), kind
    # what the spec's author counted in the published int8 file: 13 int8 tensors between 2 of float32
    published = facts["tflite-int8-float-io"]
    assert (published["tensor_types"]["int8"], published["tensor_types"]["float32"]) == (13, 2)
    assert (published["operators"]["QUANTIZE"], published["operators"]["DEQUANTIZE"]) == (1, 1)
    assert facts["tflite-dynamic"]["tensor_types"]["int8"] == 2


@pytest.fixture(scope="module")
def small(network: Callable[[tuple[int, ...]], Any]) -> KerasSource:
    """The network on small windows, its inputs centred inside, as a pipeline trains it."""
    import keras

    inputs = keras.Input((24, 40, 1))
    model = keras.Model(inputs, network((24, 40, 1))(keras.layers.Rescaling(4.0, -0.5)(inputs)))
    return KerasSource(model, hot_spots((24, 40, 1), 32), hot_spots((24, 40, 1), 8))


@pytest.fixture(scope="module")
def exported(small: KerasSource, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("keras")
    return folder, export_keras(folder, small, VARIANTS).variants


#: Outputs are probabilities. float16 has 11 bits of mantissa: 2**-11 in each weight, which averages out over a sum; an
#: int8 output has steps of 1/256.
LARGEST_ERROR = {
    "tflite-float32": 1e-6,
    "tflite-float16": 2**-11,
    "tflite-dynamic": 1e-2,
    "tflite-int8-float-io": 3 / 256,
    "tflite-int8": 3 / 256,
    "onnx-float32": 1e-6,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_says_what_the_model_says(exported: tuple[Path, dict], small: KerasSource, variant: str) -> None:
    folder, facts = exported
    found = facts[variant]
    assert found["mean_abs_error"] <= found["max_abs_error"] <= LARGEST_ERROR[variant]
    assert found["sha256"] == file_sha256(folder / found["file"])
    by_tensorflow = np.asarray(small.model(small.proving, training=False))
    error = np.abs(run_file(folder / found["file"], small.proving, n_threads=2) - by_tensorflow).max()
    assert error == pytest.approx(found["max_abs_error"], abs=1e-6)


def test_doors_are_integers_only_where_they_are_asked_for(exported: tuple[Path, dict]) -> None:
    doors = {variant: (facts["input_type"], facts["output_type"]) for variant, facts in exported[1].items()}
    assert doors.pop("tflite-int8") == ("int8", "int8")
    assert set(doors.values()) == {("float32", "float32")}


def test_a_file_is_the_same_for_one_window_and_for_many(exported: tuple[Path, dict], small: KerasSource) -> None:
    file = exported[0] / "tflite-int8.tflite"
    alone = np.concatenate([run_file(file, window[None]) for window in small.proving])
    np.testing.assert_array_equal(run_file(file, small.proving), alone)


def test_calibration_windows_set_the_ranges(small: KerasSource, exported: tuple[Path, dict], tmp_path: Path) -> None:
    # windows a hundred times too cold: everything real lies beyond the ranges that they give
    cold = KerasSource(small.model, small.calibration / 100, small.proving)
    facts = export_keras(tmp_path, cold, ["tflite-int8"]).variants["tflite-int8"]
    assert facts["max_abs_error"] > 5 * exported[1]["tflite-int8"]["max_abs_error"]


@pytest.mark.parametrize(
    ("file", "claimed", "text"),
    [
        ("tflite-dynamic", "tflite-int8-float-io", "no kernel whose weights and activations are integers; "),
        ("tflite-float32", "tflite-dynamic", "no operator with int8 weights and float32 activations"),
        ("tflite-float32", "tflite-float16", "no float16 tensor"),
        ("tflite-float16", "tflite-float32", r"\d+ float16 tensors"),
        ("tflite-dynamic", "tflite-float32", r"\d+ int8 tensors"),
        ("tflite-int8-float-io", "tflite-int8", "doors are float32 and float32, expected int8 on both sides; 2 float"),
        ("tflite-int8", "tflite-int8-float-io", "doors are int8 and int8, expected float32 on both sides; 0 float"),
    ],
)
def test_a_file_that_is_not_what_it_claims_is_refused(
    exported: tuple[Path, dict], file: str, claimed: str, text: str
) -> None:
    found: FileTypes = read_types(exported[0] / f"{file}.tflite")
    with pytest.raises(TypesError, match=f"{claimed}: not what it claims: .*{text}"):
        keras_format.require_keras_types(claimed, found)


def test_an_onnx_file_holds_the_models_weights_and_no_paths(exported: tuple[Path, dict], small: KerasSource) -> None:
    import onnx

    content = onnx.load(exported[0] / "onnx-float32.onnx")
    n_stored = sum(int(np.prod(stored.dims)) for stored in content.graph.initializer if stored.data_type == 1)
    assert small.model.count_params() <= n_stored <= small.model.count_params() + 10
    assert [taken.name for taken in content.graph.input] == ["window"]
    assert b"site-packages" not in content.SerializeToString()
    assert exported[1]["onnx-float32"]["converter_version"].startswith("keras 3.")


def test_a_model_that_torch_cannot_hold_says_why(
    small: KerasSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "on $KERAS_BACKEND: no layer TFOpLambda" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(keras_onnx.sys, "executable", str(python))
    text = "onnx-float32: exit code 1, expected 0; last lines:\non torch: no layer TFOpLambda"
    with pytest.raises(RuntimeError, match=text):
        keras_format.convert_keras(small, "onnx-float32", tmp_path / "model.onnx")


def test_windows_that_calibrate_nothing_are_refused(small: KerasSource) -> None:
    model, good = small.model, small.proving
    for calibration, proving, text in [
        (
            good[:, :12],
            good,
            r"calibration: windows of shape \(8, 12, 40, 1\), float32; the model takes \(n, 24, 40, 1\)",
        ),
        (good, good.astype(np.float64), r"proving: .* float64; the model takes .* float32, n > 0"),
        (good[:0], good, r"calibration: windows of shape \(0, 24, 40, 1\)"),
        (good, good * np.float32("nan"), "proving: holds values that are not finite; fill or drop those windows"),
        (good * 0, good, "calibration: all values are equal, no range of integers follows from them"),
    ]:
        with pytest.raises(KerasExportError, match=text):
            KerasSource(model, calibration, proving)


def test_a_model_that_gives_no_numbers_is_not_exported(small: KerasSource, tmp_path: Path) -> None:
    import keras

    broken = keras.models.clone_model(small.model)
    broken.set_weights([weights * np.float32("nan") for weights in broken.get_weights()])
    source = KerasSource(broken, small.calibration, small.proving)
    with pytest.raises(KerasExportError, match="KerasExportError: differs from the model by nan on 8 windows"):
        export_keras(tmp_path, source, ["tflite-float32"])


def test_a_variant_that_cannot_be_made_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    import keras

    # 12 weights: TensorFlow leaves tensors of less than 1,024 weights in float32
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    windows = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    export = export_keras(tmp_path, KerasSource(model, windows, windows), ["tflite-dynamic", "tflite-float32"])
    assert list(export.variants) == ["tflite-float32"]
    assert export.refused["tflite-dynamic"].startswith(
        "TypesError: tflite-dynamic: not what it claims: no operator with int8 weights and float32 activations"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["tflite-float32.tflite"]


def test_an_unknown_variant_is_refused_before_anything_is_written(small: KerasSource, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no Keras export variant 'tflite-int4' \(known: tflite-float32, .*onnx-float32\)"
    ):
        export_keras(tmp_path, small, ["tflite-float32", "tflite-int4"])
    assert list(tmp_path.iterdir()) == []


def test_without_tensorflow_the_extra_is_named(
    small: KerasSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(keras_format, "import_module", absent)
    text = r"no variant .*: ImportError: exporting a Keras model needs TensorFlow: pip install 'foresense\[edge\]'"
    with pytest.raises(KerasExportError, match=text):
        export_keras(tmp_path, small, ["tflite-float32"])
