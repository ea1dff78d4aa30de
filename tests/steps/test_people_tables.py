"""Tables that others read: equal to scikit-learn's on the same predictions; what a person reads names what is slow."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import confusion_matrix, matthews_corrcoef, precision_recall_fscore_support

from foresense.evaluate.classification import ClassScores, judge_classes
from foresense.steps.people_report import write_tables
from foresense.steps.people_tables import landmarks_table, profile_table, read_profile

CLASSES = ("sit", "walk", "run, fast")
PROFILE: dict[str, Any] = {
    "schema_version": 1,
    "pipeline": "wrist",
    "variant": "onnx-float32",
    "device": "host",
    "plan": {"n_windows": 100, "n_warmup": 10, "n_threads": 1},
    "network": {"name": "transformer", "n_parameters": 75_016, "flops": 1_617_616, "modules": {}},
    "stages_ms": {
        "topology": {"p50": 6.0, "p95": 8.0, "p99": 9.0},
        "network": {"p50": 2.0, "p95": 2.5, "p99": 3.0},
    },
    "slowest_stage": {"name": "topology", "p50_ms": 6.0, "share": 0.75},
    "latency_ms": {"mean": 8.0, "p50": 8.1, "p95": 10.0, "p99": 12.0},
    "window_ms": 10_000.0,
    "real_time_factor": 1000.0,
    "is_real_time": True,
    "throughput": [{"batch": 1, "windows_per_s": 120.0, "peak_rss_mib": 230.0}],
    "memory_mib": {"peak_rss": 230.0, "runtime_rss": 48.0, "growth": 0.5},
}


def predictions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, 300)
    return truth, np.where(rng.random(300) < 0.7, truth, rng.integers(0, 3, 300))


def scores(truth: np.ndarray, predicted: np.ndarray) -> ClassScores:
    owners = np.arange(300) // 60
    rng = np.random.default_rng(0)
    return judge_classes(truth, predicted, owners, classes=CLASSES, people="abcde", rng=rng, n_resamples=50)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_hold_what_scikit_learn_says_of_the_same_predictions(tmp_path: Path) -> None:
    given = {name: predictions(seed) for seed, name in enumerate(("chosen", "forest"))}
    raw = {name: scores(*one) for name, one in given.items()}
    write_tables(tmp_path, raw, {"chosen": scores(given["chosen"][0], given["chosen"][0])})
    rows = read(tmp_path / "confusion-raw.csv")
    assert [row["true"] for row in rows] == list(CLASSES)
    found = [[int(row[name]) for name in CLASSES] for row in rows]
    assert found == confusion_matrix(*given["chosen"]).tolist()
    assert [int(row[row["true"]]) for row in read(tmp_path / "confusion-smoothed.csv")] == np.bincount(
        given["chosen"][0]
    ).tolist()
    by_metric = {(row["predictor"], row["kind"], row["metric"]): row for row in read(tmp_path / "metrics.csv")}
    assert len(by_metric) == 3 * len(raw["chosen"].metrics)
    assert {key[:2] for key in by_metric} == {("chosen", "raw"), ("forest", "raw"), ("chosen", "smoothed")}
    mcc = by_metric["forest", "raw", "mcc"]
    assert float(mcc["value"]) == pytest.approx(matthews_corrcoef(*given["forest"]), abs=1e-6)
    assert float(mcc["low"]) < float(mcc["value"]) < float(mcc["high"])
    by_class = read(tmp_path / "f1-by-class.csv")
    expected = np.array(precision_recall_fscore_support(*given["forest"])).T
    of_forest = [row for row in by_class if row["predictor"] == "forest"]
    columns = ("precision", "recall", "f1", "support")
    np.testing.assert_allclose([[float(row[name]) for name in columns] for row in of_forest], expected, atol=1e-6)
    assert json.loads((tmp_path / "scores-raw.json").read_text()) == json.loads(json.dumps(raw["chosen"].to_json()))
    assert json.loads((tmp_path / "scores-smoothed.json").read_text())["metrics"]["accuracy"] == 1


def test_without_smoothing_no_table_speaks_of_it(tmp_path: Path) -> None:
    write_tables(tmp_path, {"chosen": scores(*predictions(0))}, None)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"scores-raw.json", "confusion-raw.csv", "metrics.csv", "f1-by-class.csv"}
    assert {row["kind"] for row in read(tmp_path / "metrics.csv")} == {"raw"}


def test_a_class_that_never_occurs_has_no_interval(tmp_path: Path) -> None:
    truth, predicted = (np.minimum(one, 1) for one in predictions(0))
    write_tables(tmp_path, {"chosen": scores(truth, predicted)}, None)
    never = read(tmp_path / "f1-by-class.csv")[2]
    assert (never["f1"], never["f1_low"], never["f1_high"], never["support"]) == ("0.000000", "", "", "0")


def printed(shown: object) -> str:
    page = StringIO()
    Console(width=200, file=page).print(shown)
    return page.getvalue()


def test_the_profile_names_the_slowest_stage_and_says_when_it_is_too_slow() -> None:
    page = printed(profile_table(PROFILE))
    assert "transformer: 75,016 parameters, 1.62 MFLOP a window; measured on host" in page
    assert "slowest stage: topology, 75% of a label" in page
    assert "a window of 10 s is labelled 1,000 times faster than it lasts (p95)\n" in page
    assert "windows per second: 120 (batch 1)" in page
    assert "230 MiB at most, 48 of them the bare runtime; a second pass over 100 windows added 0.5" in page
    assert "NOT IN REAL TIME" in printed(profile_table({**PROFILE, "is_real_time": False}))


def test_the_bound_of_the_landmarks_is_printed_with_its_statement() -> None:
    landmarks = {
        "backend": "ripser, 100 landmarks, topology version 1",
        "n_points": 196,
        "n_windows": 12,
        "share_within_bound": 0.75,
        "bound_g": {"p50": 0.123, "p95": 0.4},
        "longest_loop_g": {"p50": 0.1, "p95": 0.5},
        "statement": "In 9 of 12 windows so.",
    }
    page = printed(landmarks_table(landmarks))
    assert "0.123" in page
    assert "clouds of 196 points" in page
    assert "In 9 of 12 windows so." in page


def test_a_profile_of_another_shape_says_how_to_make_a_new_one(tmp_path: Path) -> None:
    reports = tmp_path / "wrist"
    assert read_profile(reports) is None
    reports.mkdir()
    (reports / "profile.json").write_text(json.dumps(PROFILE))
    assert read_profile(reports) == PROFILE
    (reports / "profile.json").write_text(json.dumps({**PROFILE, "schema_version": 0}))
    with pytest.raises(
        ValueError, match=r"profile\.json: shape version 0, this program reads 1; run `foresense benchm"
    ):
        read_profile(reports)
