import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from foresense.config import ExportConfig
from foresense.export.proof import ExportError
from foresense.export.quiet import quieted
from foresense.signals import ExportReport, Layout, file_sha256, read_json, read_report, tree_sha256
from foresense.steps.export import export
from foresense.steps.verify import verify

ONNX = ExportConfig(variants=("onnx-float32", "onnx-int8"), n_calibration=8, n_golden=2)


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What the step tells the tracking room, without a store."""
    told: list[dict] = []

    def attach_to_model(layout: Layout, pipeline: str, model_sha256: str, **content: object) -> str:
        told.append({"pipeline": pipeline, "model_sha256": model_sha256, **content})
        return f"run-{len(told)}"

    def save_mlflow_model(folder: Path, onnx_file: Path, **content: object) -> Path:
        assert onnx_file.is_file()
        return folder

    fake = SimpleNamespace(attach_to_model=attach_to_model, save_mlflow_model=save_mlflow_model)
    monkeypatch.setitem(sys.modules, "foresense.tracking", fake)
    return told


@pytest.fixture
def project(workshop: ModuleType, tmp_path: Path) -> Callable[..., Layout]:
    def make(candidate: object, **options: object) -> Layout:
        with quieted():
            return workshop.make_project(tmp_path, candidate, **options)

    return make


def test_every_group_gets_an_artefact_that_verifies(
    workshop: ModuleType, project: Callable[..., Layout], attached: list[dict]
) -> None:
    layout = project(workshop.DLINEAR, groups=("lathe-1", "mill-2"))
    paths = layout.of("plant")
    stale = paths.exports / "robot-3"
    stale.mkdir(parents=True)
    report = export(workshop.step("export", layout), ONNX)
    assert not stale.exists()
    assert verify(paths.exports).problems == ()
    assert read_report(paths.reports, ExportReport) == report
    assert list(report.groups) == ["lathe-1", "mill-2"]
    assert report.refused == {}
    assert report.data_sha256 == "ab" * 32
    assert report.mlflow_run_id == "run-1"
    for variant, facts in report.variants.items():
        errors = [group[variant]["max_abs_error"] for group in report.groups.values()]
        assert facts["max_abs_error"] == max(errors)
        assert facts["sha256"] == file_sha256(paths.exports / facts["group"] / facts["file"])
    models = [file_sha256(paths.models / group / "model.safetensors") for group in report.groups]
    assert [told["model_sha256"] for told in attached] == models == list(report.models.values())
    kept = [path.name for path in attached[0]["artifacts"]]
    assert kept == ["manifest.json", "mlflow-model"]
    assert attached[0]["metrics"]["export/onnx-int8/size_mib"] == report.groups["lathe-1"]["onnx-int8"]["size_mib"]


def test_the_manifest_says_all_that_a_user_of_the_folder_needs(
    workshop: ModuleType, project: Callable[..., Layout], attached: list[dict]
) -> None:
    layout = project(workshop.DLINEAR)
    export(workshop.step("export", layout), ExportConfig(variants=("onnx-float32",), n_golden=2))
    folder = layout.of("plant").exports / "lathe-1"
    manifest = read_json(folder / "manifest.json")
    assert manifest["channels"] == ["temp_body", "current"]
    assert manifest["units"] == ["Cel", "A"]
    assert manifest["input"] == {"name": "context", "shape": [1, 48, 2], "dtype": "float32", "scale": "scaled"}
    assert manifest["output"]["shape"] == [1, 12, 2]
    assert manifest["scaler"] == read_json(folder / "scaler.json")
    assert manifest["windowing"] == read_json(folder / "windowing.json")
    assert manifest["versions"]["onnxruntime"]
    assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {
        "manifest.json",
        "manifest.json.sha256",
    }
    assert str(layout.root) not in (folder / "manifest.json").read_text()
    readme = (folder / "README.md").read_text()
    assert "| temp_body | Cel |" in readme
    assert "| seasonal_naive_24 |" in readme


def test_golden_vectors_are_contexts_of_the_training_part(
    workshop: ModuleType, project: Callable[..., Layout], attached: list[dict]
) -> None:
    layout = project(workshop.DLINEAR)
    export(workshop.step("export", layout), ExportConfig(variants=("onnx-float32",), n_calibration=3, n_golden=4))
    samples = np.load(layout.of("plant").windows / "lathe-1" / "samples.npy")
    with np.load(layout.of("plant").exports / "lathe-1" / "golden.npz", allow_pickle=False) as golden:
        inputs = golden["inputs"]
    starts = [0, 120, 239]  # three of 240, evenly spread: np.linspace(0, 239, 3) rounds to even
    np.testing.assert_array_equal(inputs, np.stack([samples[start : start + 48] for start in starts]))


def test_an_export_again_has_equal_bytes(
    workshop: ModuleType, project: Callable[..., Layout], attached: list[dict]
) -> None:
    layout = project(workshop.DLINEAR)
    first = export(workshop.step("export", layout), ExportConfig(variants=("onnx-float32",)))
    digest = tree_sha256(layout.of("plant").exports)
    assert first.profile == "full"
    export(workshop.step("export", layout), ExportConfig(variants=("onnx-float32",)))
    assert tree_sha256(layout.of("plant").exports) == digest


def test_a_failed_variant_is_recorded_and_the_others_go_on(
    workshop: ModuleType, project: Callable[..., Layout], attached: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    layout = project(workshop.DLINEAR)
    report = export(workshop.step("export", layout), ExportConfig(variants=("tflite-float32", "onnx-float32")))
    assert list(report.variants) == ["onnx-float32"]
    assert report.refused["tflite-float32"].startswith("lathe-1: ImportError: exporting to TFLite needs litert_torch")
    assert (
        "`tflite-float32` could not be made: ImportError"
        in (layout.of("plant").exports / "lathe-1" / "README.md").read_text()
    )


def test_when_all_fail_the_old_artefact_stays(
    workshop: ModuleType, project: Callable[..., Layout], attached: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = project(workshop.DLINEAR)
    export(workshop.step("export", layout), ExportConfig(variants=("onnx-float32",)))
    digest = tree_sha256(layout.of("plant").exports)
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(ExportError, match="plant/lathe-1: no variant could be exported: tflite-float32: ImportError"):
        export(workshop.step("export", layout), ExportConfig(variants=("tflite-float32",)))
    assert tree_sha256(layout.of("plant").exports) == digest


def test_an_unknown_variant_is_refused_before_anything_is_made(
    workshop: ModuleType, project: Callable[..., Layout]
) -> None:
    layout = project(workshop.DLINEAR)
    with pytest.raises(ValueError, match="no export variant 'tflite-int4'; did you mean 'tflite-int8'"):
        export(workshop.step("export", layout), ExportConfig(variants=("onnx-float32", "tflite-int4")))
    assert not layout.of("plant").exports.exists()


def test_weights_that_were_not_evaluated_are_refused(workshop: ModuleType, project: Callable[..., Layout]) -> None:
    layout = project(workshop.DLINEAR)
    folder = layout.of("plant").models / "lathe-1"
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"evaluation\.json is about weights .*run `foresense train plant` again"):
        export(workshop.step("export", layout), ONNX)


def test_without_a_model_the_error_names_the_step(workshop: ModuleType, project: Callable[..., Layout]) -> None:
    layout = project(workshop.DLINEAR)
    (layout.of("plant").models / "lathe-1" / "evaluation.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"evaluation\.json: not there; run `foresense train plant` first"):
        export(workshop.step("export", layout), ONNX)
