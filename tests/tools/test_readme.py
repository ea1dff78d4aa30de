"""Only full-profile results of the same data may stand in the README."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from foresense.config import STEPS
from foresense.signals import (
    BenchmarkReport,
    Environment,
    ExportReport,
    FeaturesReport,
    Gate,
    IngestReport,
    Layout,
    TrainReport,
    WindowReport,
    read_report,
    write_report,
)
from foresense.signals.reports import REPORTS
from foresense.steps.results_table import markdown
from tools.readme import BEGIN, END, NotPresentableError, presentable, with_results

ROOT = Path(__file__).parents[2]


def header(pipeline: str, step: str, **changes: Any) -> dict[str, Any]:
    return {
        "pipeline": pipeline,
        "step": step,
        "profile": "full",
        "created_utc": "2026-11-21T00:00:00+00:00",
        "git_commit": "c",
        "git_dirty": False,
        "code_digest": "d",
        "data_sha256": "data",
        "seed": 0,
        "duration_s": 1.0,
        "peak_rss_mib": 1.0,
        "environment": Environment(cpu="one", threads=2, load_1min=0.0, versions={}),
        **changes,
    }


#: One pipeline of each shape of results: forecasts, people, tables with holes, images.
SHOWN = ("oil", "activity", "air", "thermal")
FORECASTS = {"difference_to_best_baseline": {"mse": 0.05, "interval": [0.01, 0.09]}}
GROUPS: dict[str, dict[str, Any]] = {
    "oil": {"ETTh1": FORECASTS},
    "activity": {"people": {"difference_to_best_rival": {"rival": "forest", "macro_f1": [0.01, -0.02, 0.04]}}},
    "air": {
        "recordings": {
            "chosen_by": "rmse",
            "best_network_minus_best_rival": {"rival": "ridge", "rmse": [2.5, 1.0, 4.0]},
        }
    },
    "thermal": {"clips": {"minus_best_rival": {"modules": {"rival": "forest", "auc": [0.03, 0.01, 0.05]}}}},
}


def project(folder: Path) -> Path:
    for pipeline in SHOWN:
        reports = folder / "reports" / pipeline
        write_report(reports, IngestReport(**header(pipeline, "ingest"), source="s", assets={}, findings=[]))
        write_report(reports, WindowReport(**header(pipeline, "window"), groups={}))
        features = FeaturesReport(**header(pipeline, "features", data_sha256="windows"), n_windows=1, features={})
        write_report(reports, features)
        train = TrainReport(
            **header(pipeline, "train"),
            model={"candidates": {"a": "asked"}, "candidate": "late", "is_rival": pipeline == "air"},
            windows={},
            test={"mse": 0.25, "macro_f1": 0.87, "rmse": 76.0, "auc": 0.9},
            interval={"mse": [0.2, 0.3], "macro_f1": [0.85, 0.89], "rmse": [70.0, 80.0], "auc": [0.85, 0.95]},
            baselines={
                "forest" if pipeline in ("activity", "thermal") else "dlinear": {
                    "mse": 0.2,
                    "macro_f1": 0.86,
                    "auc": 0.87,
                }
            },
            per_channel={},
            timing={},
            candidates={},
            groups=GROUPS[pipeline],
            beats_baselines=False,
            conclusion="",
        )
        write_report(reports, train)
        export = ExportReport(**header(pipeline, "export"), variants={}, groups={}, refused={})
        write_report(reports, export)
        benchmark = BenchmarkReport(
            **header(pipeline, "benchmark"),
            device="host",
            plan={"n_threads": [1, 2]},
            variants={"onnx-int8": {"size_mib": 1.5, "latency_ms": {"p95": 12.0}}},
            groups={},
            ships="onnx-int8",
            gates=[Gate.judge("size_mib", 1.5, "MiB", at_most=1.0)],
        )
        write_report(reports, benchmark)
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return folder


def change(folder: Path, step: str, **fields: Any) -> Path:
    """Write one report of the first pipeline again, with other content; gives the project back."""
    reports = folder / "reports" / SHOWN[0]
    write_report(reports, read_report(reports, REPORTS[step]).model_copy(update=fields))
    return folder


def test_a_lost_comparison_and_a_failed_gate_are_shown_loudly(tmp_path: Path) -> None:
    text = with_results(f"before\n{BEGIN}\nold\n{END}\nafter\n", project(tmp_path))
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    edge = "| onnx-int8, 1.5 MiB | 12 ms | **size_mib FAILED** |"
    assert f"| asked | MSE 0.250 [0.200, 0.300] | dlinear: 0.200 | +0.05 [+0.01, +0.09]: **behind** {edge}" in text
    assert f"| macro-F1 0.870 [0.850, 0.890] | forest: 0.860 | +0.01 [-0.02, +0.04]: not sure {edge}" in text
    assert f"| late, **a rival** | RMSE 76.0 [70.0, 80.0] | ridge | +2.5 [+1, +4]: **behind** {edge}" in text
    assert f"| late | AUC 0.900 [0.850, 0.950] | forest: 0.870 | +0.03 [+0.01, +0.05]: ahead {edge}" in text
    assert "| size_mib | <= 1 MiB | 1.5 | -50% | **FAIL** |" in text


@pytest.mark.parametrize(
    ("intervals", "said"),
    [
        ([[-0.2, -0.1]], "-0.15 [-0.2, -0.1]: ahead"),
        ([[-0.2, 0.1]], "-0.15 [-0.2, +0.1]: not sure"),
        ([[-0.2, -0.1], [-0.2, 0.1]], "surely ahead in 1, surely behind in 0 of 2"),
    ],
)
def test_how_sure_a_comparison_is_stands_beside_it(tmp_path: Path, intervals: list[list[float]], said: str) -> None:
    groups = {
        str(n): {"difference_to_best_baseline": {"mse": -0.15, "interval": one}} for n, one in enumerate(intervals)
    }
    assert f"| {said} | onnx-int8" in with_results(f"{BEGIN}{END}", change(project(tmp_path), "train", groups=groups))


def test_a_result_of_too_few_units_has_no_interval_and_a_row(tmp_path: Path) -> None:
    folder = project(tmp_path)
    reports = folder / "reports" / "thermal"
    write_report(reports, read_report(reports, TrainReport).model_copy(update={"interval": {}}))
    assert "| late | AUC 0.900 (no interval) | forest: 0.870 |" in with_results(f"{BEGIN}{END}", folder)


def test_latencies_of_several_machines_are_told_apart(tmp_path: Path) -> None:
    folder = project(tmp_path)
    assert "verdict on one thread of one, 2 threads." in with_results(f"{BEGIN}{END}", folder)
    other = Environment(cpu="other", threads=8, load_1min=0.0, versions={})
    said = with_results(f"{BEGIN}{END}", change(folder, "benchmark", environment=other, plan={"n_threads": [4]}))
    assert "verdict on 4 threads of other, 8 threads (`oil`); " in said
    assert "; one thread of one, 2 threads (`activity`, `air`, `thermal`)." in said


def test_pipelines_without_results_of_the_full_profile_are_named(tmp_path: Path) -> None:
    folder = change(project(tmp_path), "benchmark", profile="smoke")
    said = markdown(Layout(root=folder, project=folder))
    assert "| `activity` |" in said
    assert "| `oil` |" not in said
    assert "Not measured in the full profile: `oil`, `oil-paper`" in said


@pytest.mark.parametrize("step", STEPS)
def test_a_smoke_result_is_refused(tmp_path: Path, step: str) -> None:
    with pytest.raises(NotPresentableError, match=rf"{step}\.json has profile 'smoke', only 'full' may be shown"):
        with_results(f"{BEGIN}{END}", change(project(tmp_path), step, profile="smoke"))


@pytest.mark.parametrize("step", STEPS)
def test_a_result_of_code_that_no_commit_holds_is_refused(tmp_path: Path, step: str) -> None:
    with pytest.raises(NotPresentableError, match=rf"{step}\.json was made with changes that are not in commit c;"):
        presentable(change(project(tmp_path), step, git_dirty=True), SHOWN[0])


@pytest.mark.parametrize("step", ["window", "export", "benchmark"])
def test_results_of_other_data_are_refused(tmp_path: Path, step: str) -> None:
    with pytest.raises(NotPresentableError, match=f"data data in train, other in {step}; run `dvc repro"):
        presentable(change(project(tmp_path), step, data_sha256="other"), SHOWN[0])


def test_an_export_of_other_weights_than_the_trained_is_refused(tmp_path: Path) -> None:
    folder = change(project(tmp_path), "train", groups={"lathe": {"model_sha256": "aa"}})
    presentable(change(folder, "export", models={"lathe": "aa"}), SHOWN[0])
    with pytest.raises(NotPresentableError, match="lathe: weights aa in train, bb in export"):
        presentable(change(folder, "export", models={"lathe": "bb"}), SHOWN[0])


def test_weights_that_are_exported_to_be_compared_need_no_group(tmp_path: Path) -> None:
    folder = change(project(tmp_path), "train", groups={"clips": {"model_sha256": "aa"}}, candidates={"parity": {}})
    presentable(change(folder, "export", models={"clips": "aa", "parity": "bb"}), SHOWN[0])
    with pytest.raises(NotPresentableError, match="other: weights no model in train, bb in export"):
        presentable(change(folder, "export", models={"clips": "aa", "other": "bb"}), SHOWN[0])


def test_a_benchmark_of_another_file_than_the_exported_is_refused(tmp_path: Path) -> None:
    folder = change(project(tmp_path), "export", groups={"lathe": {"onnx-int8": {"sha256": "aa"}}})
    refused = {"tflite-int8": {"verdict": "rejected"}}  # by the device: never opened
    presentable(change(folder, "benchmark", groups={"lathe": {"onnx-int8": {"sha256": "aa"}, **refused}}), SHOWN[0])
    with pytest.raises(NotPresentableError, match="lathe/onnx-int8: file aa in export, bb in benchmark"):
        presentable(change(folder, "benchmark", groups={"lathe": {"onnx-int8": {"sha256": "bb"}}}), SHOWN[0])


def test_a_readme_without_markers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPresentableError, match="expected the markers"):
        with_results("no markers", tmp_path)


def test_the_readme_shows_the_committed_reports() -> None:
    text = (ROOT / "README.md").read_text()
    assert text == with_results(text, ROOT)


def test_make_check_compares_the_readme_with_the_reports() -> None:
    done = subprocess.run(["make", "--dry-run", "check"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "-m tools.readme --check" in done.stdout
