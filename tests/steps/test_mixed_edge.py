"""Mixed recordings out of the house: files that agree, an artefact that answers by itself, a benchmark of it."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics

from foresense.config import GateConfig
from foresense.config.mixed_pipeline import MixedBenchmarkConfig, MixedExportConfig
from foresense.export.mixed_inputs import inputs_of
from foresense.export.mixed_predict import calendar_of
from foresense.export.proof import ExportError
from foresense.models import model_sha256
from foresense.models.mixed import load_mixed, save_mixed
from foresense.signals import BenchmarkReport, ExportReport, Layout, file_sha256, read_json, read_report, write_json
from foresense.signals.mixed_windows import MixedWindows, open_mixed_windows
from foresense.steps.benchmark_mixed import benchmark_mixed
from foresense.steps.export_mixed import export_mixed
from foresense.steps.frame import StepRun
from foresense.steps.verify import verify
from tests.forged import assert_each_array_is_missed
from tests.steps.mixed_shop import ask, clock_of, layout_of, leave_model, town_windows, ward_windows

GATES = {
    "size_mib": GateConfig(at_most=5),
    "latency_ms_p95": GateConfig(at_most=1000),
    "peak_rss_mib": GateConfig(at_most=1e-3),
    "agreement_max_abs_error": GateConfig(at_most=1e-4),
}
BENCHMARK = MixedBenchmarkConfig(n_warmup=2, n_timed=10, n_threads=(1,), gates=GATES)
HARD = ["one channel without a value", "infinite values", "unseen categories", "nothing measured"]
#: Runs a script as if foresense were not installed.
ALONE = "import runpy, sys; sys.modules['foresense'] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"


def of_values(windows: MixedWindows, rows: np.ndarray, said: np.ndarray) -> dict[str, float]:
    truth = windows.targets[rows]
    return {
        "rmse": float(metrics.root_mean_squared_error(truth, said[:, 0])),
        "mae": float(metrics.mean_absolute_error(truth, said[:, 0])),
    }


def of_two(windows: MixedWindows, rows: np.ndarray, said: np.ndarray) -> dict[str, float]:
    truth, shares = windows.classes[rows], torch.softmax(torch.from_numpy(said), 1).numpy()[:, 1]
    return {
        "auroc": float(metrics.roc_auc_score(truth, shares)),
        "auprc": float(metrics.average_precision_score(truth, shares)),
        "brier": float(metrics.brier_score_loss(truth, shares)),
    }


def of_three(windows: MixedWindows, rows: np.ndarray, said: np.ndarray) -> dict[str, float]:
    truth, likely = windows.classes[rows], said.argmax(1)
    return {
        "macro_f1": float(metrics.f1_score(truth, likely, average="macro")),
        "cohen_kappa": float(metrics.cohen_kappa_score(truth, likely)),
        "accuracy": float(metrics.accuracy_score(truth, likely)),
    }


def export(layout: Layout, name: str, **changes: Any) -> ExportReport:
    config = MixedExportConfig(**{"variants": ("onnx-float32",), "n_calibration": 6, "n_golden": 3, **changes})
    return export_mixed(StepRun("export", name, layout), config)


def benchmark(layout: Layout, name: str, config: MixedBenchmarkConfig = BENCHMARK) -> BenchmarkReport:
    return benchmark_mixed(StepRun("benchmark", name, layout), config)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_mlflow_store: Path) -> Layout:
    """`town`: a value by ONNX and TFLite; `ward`: two classes; `three`: three, by a network without categories."""
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = tmp_path_factory.mktemp("mixed")
        layout = layout_of(root)
        (root / "mlflow").mkdir()
        shutil.copyfile(empty_mlflow_store, root / "mlflow" / "mlflow.db")
        leave_model(layout, "town", town_windows(root), of_values, branches="temporal")
        leave_model(layout, "ward", ward_windows(), of_two, branches="both", fusion="gate")
        leave_model(layout, "three", ward_windows(3), of_three, branches="temporal", use_categories=False)
        export(layout, "town", variants=("onnx-float32", "tflite-float32"))
        export(layout, "ward")
        export(layout, "three")
        return layout


@pytest.fixture(scope="module")
def measured(project: Layout) -> dict[str, BenchmarkReport]:
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        return {name: benchmark(project, name) for name in ("town", "ward", "three")}


def artefact_of(layout: Layout, name: str) -> Path:
    return layout.of(name).exports / "recordings"


@pytest.mark.parametrize("name", ["town", "ward", "three"])
def test_every_file_says_what_the_network_says_whatever_is_missing(project: Layout, name: str) -> None:
    artefact = artefact_of(project, name)
    manifest, report = read_json(artefact / "manifest.json"), read_report(project.of(name).reports, ExportReport)
    assert report.refused == {}
    assert report.models == {"recordings": manifest["model_sha256"]}
    with np.load(artefact / "golden.npz") as file:
        golden = dict(file)
    assert manifest["golden"] == {"file": "golden.npz", "n": 7, "hard": HARD}
    assert np.isnan(golden["numbers"][3, 0]).all()
    assert np.isinf(golden["numbers"][4, -1]).all()
    assert (golden["categories"][5] == 1).all()
    assert np.isnan(golden["numbers"][6]).all()
    assert np.isnan(golden["numbers"][:3]).any()
    model = load_mixed(project.of(name).models / "recordings")
    with torch.inference_mode():
        said = model(**{each: torch.from_numpy(golden[each]) for each in manifest["inputs"]}).numpy()
    deviation = manifest["agreement"]["deviation"]
    assert (deviation == 1) == (name != "town")
    for variant, facts in manifest["variants"].items():
        assert facts["max_abs_error"] <= facts["tolerance"] == 1e-4
        assert np.abs(golden[variant] - said).max() <= 1e-4 * deviation
    assert manifest["agreement"]["n_windows"] == 6 + len(HARD)
    assert verify(artefact).passed, str(verify(artefact))


def test_a_network_without_categories_takes_none(project: Layout) -> None:
    taken = read_json(artefact_of(project, "three") / "manifest.json")["inputs"]
    assert taken == ["numbers", "static_numbers"]
    assert read_json(artefact_of(project, "town") / "manifest.json")["inputs"] == [
        "numbers",
        "categories",
        "static_numbers",
    ]


def test_differences_of_values_are_told_in_deviations_of_the_training_targets(project: Layout) -> None:
    windows = open_mixed_windows(project.of("town").windows / "recordings")
    agreement = read_json(artefact_of(project, "town") / "manifest.json")["agreement"]
    assert agreement["deviation"] == pytest.approx(np.std(windows.targets[windows.of_part("train")]), rel=1e-6)
    assert agreement["unit"] == "deviations of the target"


def test_the_clock_of_a_file_is_that_of_the_features(project: Layout) -> None:
    windows = open_mixed_windows(project.of("town").windows / "recordings")
    rows = windows.of_part("test")
    found = inputs_of(windows, rows, 0, calendar=True)
    assert found.arrays["static_numbers"] == pytest.approx(clock_of(windows, windows.gather(rows), rows), abs=1e-6)
    # 2024-07-01 00:00 in Shanghai, 30 minutes later in Kathmandu's time zone of a quarter hour
    assert calendar_of(np.array([1719763200.0]), "Asia/Shanghai")[0] == pytest.approx([0, 1, 0, -1], abs=1e-6)
    hour = 2 * np.pi * 21.75 / 24
    assert calendar_of(np.array([1719763200.0]), "Asia/Kathmandu")[0, :2] == pytest.approx([np.sin(hour), np.cos(hour)])


@pytest.mark.parametrize("name", ["town", "ward", "three"])
def test_the_benchmark_scores_the_files_on_the_test_part(
    project: Layout, measured: dict[str, BenchmarkReport], name: str
) -> None:
    report, evaluation = measured[name], read_json(project.of(name).models / "recordings" / "evaluation.json")
    for facts in report.variants.values():
        assert facts["heavy"] == []
        assert facts["deterministic"]
        assert facts["quality"] == pytest.approx(
            {**evaluation["test"], "n_windows": evaluation["windows"]["test"]}, rel=1e-4
        )
        assert abs(facts["quality_drop"]) <= 1e-4
        assert facts["agreement_max_abs_error"] <= 1e-4
        assert 0 < facts["latency_ms"]["p50"] <= facts["latency_ms"]["p95"]
        assert facts["cold_start_ms"] > facts["latency_ms"]["p50"]
        assert set(facts["stages_ms"]) == {"read", "model"}
    assert report.ships in report.variants
    assert {gate.name: gate.passed for gate in report.gates} == {gate: gate != "peak_rss_mib" for gate in GATES}
    edge = read_json(project.of(name).reports / "metrics_edge.json")
    assert edge["n_gates_failed"] == 1
    assert set(evaluation["test"]) <= set(edge)
    assert (project.of(name).reports / "costs.png").stat().st_size > 5_000


def predict(artefact: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, str(artefact / "predict.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_artefact_forecasts_by_itself(project: Layout, tmp_path: Path) -> None:
    artefact = artefact_of(project, "town")
    windows = open_mixed_windows(project.of("town").windows / "recordings")
    first = windows.of_part("train")[:1]
    expected = ask(windows, load_mixed(project.of("town").models / "recordings"), first, calendar=True)[0, 0]
    for variant in ("onnx-float32", "tflite-float32"):
        done = predict(artefact, str(artefact / "example.csv"), "--variant", variant)
        rows = list(csv.DictReader(done.stdout.splitlines()))
        assert (done.returncode, len(rows)) == (0, 1), done.stderr
        at = windows.times_ns[first[0]].astype("datetime64[ns]") + np.timedelta64(8, "h")
        assert rows[0]["time"] == f"{np.datetime_as_string(at, 's')}+08:00"
        assert (rows[0]["target"], rows[0]["unit"]) == ("PM2.5", "ug/m3")
        assert float(rows[0]["value"]) == pytest.approx(expected, rel=1e-4)
    lines = (artefact / "example.csv").read_text().splitlines()
    other = tmp_path / "longer.csv"  # one step more before, local times without a zone, units left out, a new wind
    header = lines[0].replace(" [ug/m3]", "")
    cells = [line.replace("+08:00", "").split(",") for line in lines[1:]]
    place = header.split(",").index("wd")
    before = np.datetime64(cells[0][0]) - np.timedelta64(1, "h")
    rows_of_file = [[str(before), *cells[0][1:]], *cells]
    rows_of_file[-1][place] = "upwards"
    other.write_text("\n".join([header, *(",".join(row) for row in rows_of_file)]) + "\n")
    done = predict(artefact, str(other))
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "wd: 1 value(s) that the training part never showed; taken as unseen",
        f"{other}: the newest 24 rows count, 1 before not",
    ]
    assert done.stdout.count("\n") == 2


def test_the_artefact_classifies_by_itself(project: Layout) -> None:
    artefact = artefact_of(project, "ward")
    statics = read_json(artefact / "manifest.json")["example"]["statics"]
    flags = [part for one in statics for part in ("--static", one)]
    done = predict(artefact, str(artefact / "example.csv"), *flags)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    windows = open_mixed_windows(project.of("ward").windows / "recordings")
    first = windows.of_part("train")[:1]
    logits = ask(windows, load_mixed(project.of("ward").models / "recordings"), first, calendar=False)
    assert [row["class"] for row in rows] == ["survived", "died"]
    found = [float(row["probability"]) for row in rows]
    assert found == pytest.approx(torch.softmax(torch.from_numpy(logits), 1)[0].tolist(), abs=1e-5)


def test_a_changed_artefact_is_found(project: Layout, tmp_path: Path) -> None:
    copy = tmp_path / "recordings"
    shutil.copytree(artefact_of(project, "town"), copy)
    file = copy / "onnx-float32.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    (copy / "more.txt").write_text("x")
    result = verify(copy)
    assert [line.partition(" is ")[0] for line in result.problems] == [
        "onnx-float32.onnx: SHA-256",
        "more.txt: not listed in manifest.json",
    ]
    assert result.variants == ("tflite-float32",)
    (copy / "manifest.json").write_text((copy / "manifest.json").read_text() + " ")
    assert "which manifest.json.sha256 does not say" in verify(copy).problems[0]


def test_a_schema_of_another_model_is_found_even_when_every_digest_fits(project: Layout, tmp_path: Path) -> None:
    copy = tmp_path / "recordings"
    shutil.copytree(artefact_of(project, "town"), copy)
    schema, manifest = read_json(copy / "schema.json"), read_json(copy / "manifest.json")
    schema["categorical"][0]["values"].reverse()
    write_json(copy / "schema.json", schema)
    manifest["files"]["schema.json"] = file_sha256(copy / "schema.json")
    write_json(copy / "manifest.json", manifest)
    (copy / "manifest.json.sha256").write_text(f"{file_sha256(copy / 'manifest.json')}  manifest.json\n")
    assert verify(copy).problems == (
        "example.csv: categories are not those of the first golden window; schema.json reads another model's channels",
    )


def test_a_forged_artefact_without_an_array_is_refused_by_its_name(project: Layout, tmp_path: Path) -> None:
    assert_each_array_is_missed(artefact_of(project, "ward"), tmp_path)


def test_a_file_that_changed_after_its_export_is_not_measured(project: Layout, tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path)
    shutil.copytree(project.of("ward").windows, layout.of("ward").windows)
    shutil.copytree(project.of("ward").exports, layout.of("ward").exports)
    shutil.copytree(project.devices, layout.devices)
    artefact = artefact_of(layout, "ward")
    (artefact / "onnx-float32.onnx").write_bytes((artefact_of(project, "three") / "onnx-float32.onnx").read_bytes())
    with pytest.raises(ValueError, match=r"onnx: SHA-256 is \w{12}, manifest.json says \w{12}: it changed after"):
        benchmark(layout, "ward")
    shutil.rmtree(layout.of("ward").exports)
    with pytest.raises(FileNotFoundError, match="run `foresense export ward` first"):
        benchmark(layout, "ward")


def test_only_what_takes_holes_is_offered(project: Layout) -> None:
    with pytest.raises(
        ValueError, match=r"'tflite-int8' is not offered for mixed recordings \(offered: onnx-float32, "
    ):
        export(project, "ward", variants=("tflite-int8",))
    unknown = MixedBenchmarkConfig(gates={"latency_p95": GateConfig(at_most=1)})
    with pytest.raises(ValueError, match="no gate 'latency_p95'; did you mean 'latency_ms_p95'"):
        benchmark(project, "ward", unknown)


def test_a_model_that_was_not_evaluated_or_learnt_from_other_windows_is_not_exported(
    project: Layout, tmp_path: Path
) -> None:
    layout = Layout(tmp_path, tmp_path)
    for place in ("windows", "models"):
        shutil.copytree(getattr(project.of("ward"), place), getattr(layout.of("ward"), place))
    folder = layout.of("ward").models / "recordings"
    schema = read_json(folder / "schema.json")
    write_json(folder / "schema.json", {**schema, "means": [one + 1 for one in schema["means"]]})
    with pytest.raises(ValueError, match="the windows of turn 0 have another schema now"):
        export(layout, "ward")
    model = load_mixed(folder)
    torch.nn.init.zeros_(model.head.weight)
    save_mixed(folder, model)
    with pytest.raises(ValueError, match=r"evaluation.json is about weights \w{12}, model.safetensors is \w{12}; run"):
        export(layout, "ward")


def test_a_file_that_says_something_else_is_refused(
    project: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path, tmp_path)
    for place in ("windows", "models"):
        shutil.copytree(getattr(project.of("ward"), place), getattr(layout.of("ward"), place))
    folder = layout.of("ward").models / "recordings"
    model = load_mixed(folder)
    model.head.bias.data += 0.25
    save_mixed(folder, model)
    write_json(
        folder / "evaluation.json", {**read_json(folder / "evaluation.json"), "model_sha256": model_sha256(folder)}
    )
    before = artefact_of(project, "ward") / "onnx-float32.onnx"  # of the weights before
    monkeypatch.setattr("foresense.export.proof.convert", lambda _, __, file: str(shutil.copyfile(before, file)))
    with pytest.raises(ExportError, match=r"differs from the model by 0.25 on 10 calibration windows; at most 0.0001"):
        export(layout, "ward")
    assert not layout.of("ward").exports.exists()


class Mean(torch.nn.Module):
    """Has no answer where something is missing."""

    def forward(self, numbers: torch.Tensor, **_: torch.Tensor) -> torch.Tensor:
        return numbers.nan_to_num(nan=0.0, posinf=float("inf"), neginf=0.0).mean((1, 2))[:, None].repeat(1, 2)


def test_a_model_without_an_answer_is_not_exported(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foresense.steps.export_mixed.load_shipped", lambda _: Mean())
    with pytest.raises(
        ExportError, match=r"ward: the model gives no finite number for a window with infinite values \(1 such windows"
    ):
        export(project, "ward")
    with pytest.raises(ExportError, match=r"three: the model gives \(2,\) numbers for a window, expected \(3,\)"):
        export(project, "three")
    assert verify(artefact_of(project, "ward")).passed
