"""Only full-profile results of the same data may stand in the README."""

from pathlib import Path
from typing import Any

import pytest

from foresense.signals import BenchmarkReport, Environment, Gate, IngestReport, TrainReport, read_report, write_report
from tools.readme import BEGIN, END, SHOWN, NotPresentableError, presentable, with_results

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


def project(folder: Path, *, profile: str = "full", measured_data: str = "data") -> Path:
    for pipeline in SHOWN:
        reports = folder / "reports" / pipeline
        write_report(reports, IngestReport(**header(pipeline, "ingest"), source="s", assets={}, findings=[]))
        train = TrainReport(
            **header(pipeline, "train", profile=profile),
            model={"candidates": {"a": "asked"}},
            windows={},
            test={"mse": 0.25},
            interval={"mse": [0.2, 0.3]},
            baselines={"dlinear": {"mse": 0.2}, "last value": {"mse": 1.0}},
            per_channel={},
            timing={},
            candidates={},
            groups={},
            beats_baselines=False,
            conclusion="",
        )
        write_report(reports, train)
        benchmark = BenchmarkReport(
            **header(pipeline, "benchmark", data_sha256=measured_data),
            device="host",
            plan={},
            variants={"onnx-int8": {"size_mib": 1.5, "latency_ms": {"p95": 12.0}}},
            groups={},
            ships="onnx-int8",
            gates=[Gate.judge("size_mib", 1.5, "MiB", at_most=1.0)],
        )
        write_report(reports, benchmark)
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return folder


def test_a_lost_comparison_and_a_failed_gate_are_shown_loudly(tmp_path: Path) -> None:
    text = with_results(f"before\n{BEGIN}\nold\n{END}\nafter\n", project(tmp_path))
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| asked | 0.2500 [0.2000, 0.3000] | dlinear: 0.2000 | **no** | onnx-int8, 1.5 MiB | 12 ms |" in text
    assert "| size_mib | <= 1 MiB | 1.5 | -50% | **FAIL** |" in text


@pytest.mark.parametrize(
    ("intervals", "said"),
    [
        ([[-0.2, -0.1]], "**no**; difference [-0.2000, -0.1000]"),
        ([[-0.2, 0.1]], "**no**; difference [-0.2000, 0.1000], perhaps chance"),
        ([[0.1, 0.2]], "**no**; difference [0.1000, 0.2000]"),
        ([[-0.2, -0.1], [-0.2, 0.1]], "**no**; surely in 1 of 2"),
    ],
)
def test_how_sure_a_comparison_is_stands_beside_it(tmp_path: Path, intervals: list[list[float]], said: str) -> None:
    folder = project(tmp_path) / "reports" / SHOWN[0]
    groups = {str(n): {"difference_to_best_baseline": {"interval": one}} for n, one in enumerate(intervals)}
    write_report(folder, read_report(folder, TrainReport).model_copy(update={"groups": groups}))
    assert f"| {said} | onnx-int8" in with_results(f"{BEGIN}{END}", tmp_path)


def test_a_smoke_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPresentableError, match=r"train\.json has profile 'smoke', only 'full' may be shown"):
        with_results(f"{BEGIN}{END}", project(tmp_path, profile="smoke"))


def test_results_of_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPresentableError, match="train read data data, benchmark other"):
        presentable(project(tmp_path, measured_data="other"), SHOWN[0])


def test_a_readme_without_markers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPresentableError, match="expected the markers"):
        with_results("no markers", tmp_path)


def test_the_readme_shows_the_committed_reports() -> None:
    text = (ROOT / "README.md").read_text()
    assert text == with_results(text, ROOT)
