"""From simulated days to labels: people are never mixed, what ships is what was judged, an artefact labels alone."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from foresense.config import STEPS, ActivityConfig
from foresense.signals import BenchmarkReport, Layout, SignalError, TrainReport, read_json, read_report, write_json
from foresense.signals.labelled import open_labelled_windows
from foresense.sources import SourceError
from foresense.steps import train_activity as trainer
from foresense.steps.benchmark_activity import benchmark_activity
from foresense.steps.export_activity import export_activity
from foresense.steps.features_activity import features_activity
from foresense.steps.frame import StepRun
from foresense.steps.ingest_activity import ingest_activity
from foresense.steps.people_data import fold_of, read_people
from foresense.steps.train_activity import train_activity
from foresense.steps.verify import verify
from foresense.steps.window_activity import window_activity
from tests.forged import assert_each_array_is_missed, plant_compiled

pytestmark = pytest.mark.slow

CONFIG = ActivityConfig.model_validate(
    {
        "kind": "activity",
        "description": "six people",
        "ingest": {
            "source": "simulated_days",
            "rate_hz": 10,
            "n_people": 6,
            "n_hours": 16.0,
            "time_zone": "Europe/Berlin",
        },
        "window": {"length_s": 80.0, "stride_s": 80.0, "n_folds": 3},
        "features": {"families": ["wrist_statistics", "wrist_time"]},
        "train": {
            "candidates": {
                "small": {
                    "network": {
                        "patch_length": 100,
                        "d_model": 16,
                        "n_layers": 1,
                        "n_topology": 0,
                        "scaling": "training",
                    },
                    "learning_rate": 3e-3,
                    "n_epochs": 5,
                    "batch_size": 16,
                },
                "wide": {
                    "network": {
                        "model": "rocket",
                        "n_kernels": 5,
                        "n_statistics": 0,
                        "n_topology": 0,
                        "n_times": 0,
                        "fusion": "late",
                    },
                    "penalties": [1e12],  # nothing is learnt: no machine's rounding makes it the chosen one
                },
            },
            "smoothing": True,
        },
        "export": {"variants": ["onnx-float32"], "n_calibration": 8, "n_golden": 4},
        "benchmark": {"n_warmup": 2, "n_timed": 20, "n_threads": [1], "gates": {"real_time_factor": {"at_least": 10}}},
    }
)
NAME = "wrist"


def make(root: Path, config: ActivityConfig = CONFIG) -> Layout:
    """Everything before the training."""
    (root / "code.json").write_text(
        json.dumps({f"{step}{end}": {"s": "0"} for step in STEPS for end in ("", "_activity")})
    )
    shutil.copytree(Path(__file__).resolve().parents[2] / "devices", root / "devices")
    layout = Layout(root, root)
    ingest_activity(StepRun("ingest", NAME, layout), config.ingest)
    window_activity(StepRun("window", NAME, layout), config.window)
    features_activity(StepRun("features", NAME, layout), config.features)
    return layout


def train(layout: Layout) -> TrainReport:
    return train_activity(StepRun("train", NAME, layout), CONFIG.train)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, TrainReport, BenchmarkReport]:
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        patched.setattr("foresense.steps.people_rivals.N_TREES", 20)
        patched.setattr("foresense.steps.people_rivals.MAX_BINS", 15)  # scikit-learn takes 10 s to bin weighted rows
        layout = make(tmp_path_factory.mktemp("wrist"))
        report = train(layout)
        export_activity(StepRun("export", NAME, layout), CONFIG.export)
        return layout, report, benchmark_activity(StepRun("benchmark", NAME, layout), CONFIG.benchmark)


def test_every_person_is_held_out_once_and_in_one_part_of_each_fold(trained) -> None:
    layout, report, _ = trained
    data = read_people(layout.of(NAME).windows, layout.of(NAME).features)
    held_out: list[int] = []
    for number in range(3):
        fold = fold_of(data, number)
        parts = [set(data.owners[rows]) for rows in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 6
        held_out += sorted(parts[2])
    assert sorted(held_out) == list(range(6))
    assert set(report.people) == set(data.windows.people)


def test_the_report_has_rivals_intervals_and_both_scores(trained) -> None:
    layout, report, _ = trained
    read = read_report(layout.of(NAME).reports, TrainReport)
    assert read.model_dump(mode="json") == report.model_dump(mode="json")
    assert set(report.baselines) == {"majority", "forest", "boosting"}
    assert report.baselines["majority"]["balanced_accuracy"] == pytest.approx(0.25)
    assert report.baselines["majority"]["cohen_kappa"] == 0
    assert report.test["macro_f1"] > 0.5  # chance is below 0.25
    low, high = report.interval["macro_f1"]
    assert low <= report.test["macro_f1"] <= high
    assert report.smoothed["chosen"]["metrics"]["macro_f1"] > report.test["macro_f1"]  # dwell times are long
    assert report.smoothed["chosen"]["transitions"]["n_people"] == 6
    assert report.candidates["chosen"]["test"] == report.test
    for fold in range(3):
        by_name = {name: report.candidates[name]["validation_macro_f1"][fold] for name in ("small", "wide")}
        assert fold in report.candidates[max(by_name, key=lambda name: by_name[name])]["chosen_in"]
    found = report.groups["people"]["difference_to_best_rival"]
    best = max(report.baselines, key=lambda name: report.baselines[name]["macro_f1"])
    assert found["rival"] == best
    assert found["macro_f1"][0] == pytest.approx(report.test["macro_f1"] - report.baselines[best]["macro_f1"])
    assert "people held out in turn" in report.conclusion
    plots = layout.of(NAME).reports / "plots"
    for name in ("confusion.png", "f1-by-class.png", "metrics.png"):
        assert (plots / name).stat().st_size > 10_000
    with (plots / "confusion-raw.csv").open(newline="") as file:
        matrix = [[int(n) for n in row[1:]] for row in list(csv.reader(file))[1:]]
    assert matrix == report.groups["people"]["confusion"]
    assert read_json(plots / "scores-raw.json")["metrics"] == report.test
    assert read_json(plots / "scores-smoothed.json") == read.smoothed["chosen"]
    with (plots / "metrics.csv").open(newline="") as file:
        predictors = {(row["predictor"], row["kind"]) for row in csv.DictReader(file)}
    assert predictors == {(name, "raw") for name in report.candidates} | {
        ("chosen", "smoothed"),
        ("forest", "smoothed"),
    }


def test_labels_of_the_people_held_out_reach_neither_weights_nor_choice(trained, tmp_path, monkeypatch) -> None:
    layout, report, _ = trained
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    other = make(tmp_path)
    windows = other.of(NAME).windows / "people"
    opened = open_labelled_windows(windows)
    first = np.flatnonzero(opened.folds[opened.owners] == 0)
    labels = opened.labels.copy()
    labels[first] = np.random.default_rng(1).permutation(labels[first])
    np.save(windows / "labels.npy", labels)
    once = CONFIG.train.model_copy(update={"folds": 1, "smoothing": False})
    again = train_activity(StepRun("train", NAME, other), once)
    paths = [found.of(NAME).models / "people" / "model.safetensors" for found in (layout, other)]
    before, after = (load_file(path) for path in paths)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert again.model["candidate"] == report.model["candidate"]
    assert again.test["macro_f1"] < report.test["macro_f1"] - 0.2  # the scores do see them


@pytest.mark.parametrize("name", ["forest", "chosen"])
def test_a_candidate_needs_a_name_of_its_own(trained, name: str) -> None:
    """A rival would take its place in the report without a word."""
    named = CONFIG.train.model_copy(update={"candidates": {name: CONFIG.train.candidates["small"]}})
    with pytest.raises(ValueError, match=f"train.candidates: {name} is the name of a rival"):
        train_activity(StepRun("train", NAME, trained[0]), named)


@pytest.mark.long
def test_a_training_that_was_killed_takes_up_what_was_finished(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    layout = make(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "_judge", killed)
        with pytest.raises(KeyboardInterrupt):
            train(layout)
    kept = sorted(path.name for path in layout.of(NAME).checkpoints.iterdir())
    assert len(kept) == 6
    calls: list[str] = []
    monkeypatch.setattr("foresense.steps.people_training.fit", lambda *_, **__: calls.append("trained"))
    report = train(layout)
    assert calls == []
    assert report.test["macro_f1"] > 0.5
    assert not layout.of(NAME).checkpoints.exists()


def test_the_artefact_is_verified_and_a_change_is_found(trained, tmp_path) -> None:
    layout, _, _ = trained
    artefact = layout.of(NAME).exports / "people"
    assert verify(artefact).passed, str(verify(artefact))
    assert not (artefact / "__pycache__").exists()
    copy = tmp_path / "people"
    shutil.copytree(artefact, copy)
    code = copy / "statistical.py"
    planted = plant_compiled(code, "raise SystemExit('this ran')")
    (problem,) = verify(copy).problems
    assert problem.startswith("__pycache__: not listed in manifest.json; Python would run what lies in it")
    shutil.rmtree(planted.parent)
    code.write_text(code.read_text() + "\n")
    assert any("statistical.py: SHA-256 is" in line for line in verify(copy).problems)
    (copy / "more.txt").write_text("x")
    assert any("more.txt: not listed" in line for line in verify(copy).problems)


def test_a_forged_artefact_without_an_array_is_refused_by_its_name(trained, tmp_path) -> None:
    assert_each_array_is_missed(trained[0].of(NAME).exports / "people", tmp_path)


def test_the_artefact_labels_a_recording_by_itself(trained, tmp_path) -> None:
    layout, _, _ = trained
    artefact = layout.of(NAME).exports / "people"
    with np.load(artefact / "golden.npz") as golden:
        raw, labels, begun_s = golden["raw"], golden["labels"], golden["begun_s"]
    path = tmp_path / "recording.csv"
    ms = 1000 * begun_s[:, None] + 100 * np.arange(raw.shape[1])
    times = np.datetime_as_string(ms.ravel().astype("datetime64[ms]"), timezone="UTC")
    columns = zip(times, *raw.reshape(-1, 3).T.tolist(), strict=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["time", "x", "y", "z"], *columns])
    without = "import runpy, sys; sys.modules['foresense'] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", without, str(artefact / "label.py"), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = list(csv.DictReader(done.stdout.splitlines()))
    classes = read_json(artefact / "manifest.json")["classes"]
    assert [row["label"] for row in rows] == [classes[k] for k in labels]
    assert [int(row["row"]) for row in rows] == [0, 800, 1600, 2400]
    assert all(row["smoothed"] in classes for row in rows)
    short = tmp_path / "short.csv"
    short.write_text("x,y,z\n0,0,1\n")
    failed = subprocess.run(
        [sys.executable, str(artefact / "label.py"), str(short)], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert "needs columns ['x', 'y', 'z', 'time'] and 800 rows; missing ['time'], found 1 rows" in failed.stderr


def test_the_benchmark_measures_the_exported_file_from_raw_window_to_label(trained) -> None:
    layout, _, benchmark = trained
    facts = benchmark.variants["onnx-float32"]
    evaluation = read_json(layout.of(NAME).models / "people" / "evaluation.json")
    assert facts["quality"]["macro_f1"] == pytest.approx(evaluation["test"]["macro_f1"], abs=0.01)
    assert facts["quality"]["n_windows"] == evaluation["windows"]["test"]
    assert facts["real_time_factor"] == pytest.approx(80_000 / facts["latency_ms"]["p95"])
    assert set(facts["stages_ms"]) == {"statistics", "times", "network", "smoothing"}
    assert facts["heavy"] == []
    assert [(gate.name, gate.passed) for gate in benchmark.gates] == [("real_time_factor", True)]
    assert (layout.of(NAME).reports / "costs.png").stat().st_size > 5_000


def test_an_artefact_that_changed_or_is_about_other_recordings_is_not_measured(trained, tmp_path) -> None:
    layout = Layout(tmp_path, tmp_path)
    for place in ("windows", "exports"):
        shutil.copytree(getattr(trained[0].of(NAME), place), getattr(layout.of(NAME), place))
    shutil.copytree(trained[0].devices, layout.devices)
    run = StepRun("benchmark", NAME, layout)
    index = layout.of(NAME).windows / "manifest.json"
    content = read_json(index)
    write_json(index, {**content, "recordings_sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"exported for other recordings than .* run `foresense train wrist` and"):
        benchmark_activity(run, CONFIG.benchmark)
    write_json(index, content)
    evaluation = layout.of(NAME).exports / "people" / "evaluation.json"
    held_out = read_json(evaluation)["held_out"]
    write_json(evaluation, {**read_json(evaluation), "held_out": held_out[1:]})  # the others would be learnt from
    with pytest.raises(ValueError, match=r"evaluation\.json: SHA-256 is .* it changed after its export"):
        benchmark_activity(run, CONFIG.benchmark)


def test_the_profile_is_of_the_file_that_ships_and_its_worker_holds_no_torch(trained) -> None:
    layout, report, benchmark = trained
    profile = read_json(layout.of(NAME).reports / "profile.json")
    assert profile["variant"] == benchmark.ships == "onnx-float32"
    assert profile["model_sha256"] == report.model["model_sha256"]
    assert profile["network"]["n_parameters"] == report.model["n_parameters"]
    assert profile["network"]["flops"] > 2 * 16 * 100 * 3  # more than the products of one patch with its weights
    assert profile["plan"] == {"n_windows": 20, "n_warmup": 2, "n_threads": 1}
    assert set(profile["stages_ms"]) == {"statistics", "times", "network", "smoothing"}
    assert profile["slowest_stage"]["name"] in profile["stages_ms"]
    for cost in (*profile["stages_ms"].values(), profile["latency_ms"]):
        assert 0 < cost["p50"] <= cost["p95"] <= cost["p99"]
    assert profile["window_ms"] == 80_000
    assert profile["is_real_time"]
    assert [row["batch"] for row in profile["throughput"]] == [1, 8]  # no batch of more windows than are timed
    assert all(row["windows_per_s"] > 0 for row in profile["throughput"])
    assert abs(profile["memory_mib"]["growth"]) < 5
    assert profile["memory_mib"]["runtime_rss"] < profile["memory_mib"]["peak_rss"]
    assert profile["heavy"] == []


def test_windows_in_another_unit_stop_the_ingest_and_windows_without_features_the_step(tmp_path, monkeypatch) -> None:
    layout = make(tmp_path)
    windows = layout.of(NAME).windows / "people"
    samples = np.load(windows / "samples.npy")
    samples[: len(samples) // 20] *= 9.80665
    np.save(windows / "samples.npy", samples)
    with pytest.raises(
        SignalError, match=r"windows have no features, at most \d+ may \(features.max_failed 0.01\).*m/s"
    ):
        features_activity(StepRun("features", NAME, layout), CONFIG.features)
    generous = CONFIG.features.model_copy(update={"max_failed": 0.5})
    report = features_activity(StepRun("features", NAME, layout), generous)
    assert 0 < report.n_refused < 0.1 * report.n_windows
    from foresense.sources import wrist_days

    monkeypatch.setattr(wrist_days, "_bout", lambda state, n, *_: np.full((n, 3), 5.7, np.float32))
    with pytest.raises(
        SourceError, match=r"the median magnitude is 9\.87, expected about 1 g .*set ingest\.found_unit"
    ):
        ingest_activity(StepRun("ingest", NAME, layout), CONFIG.ingest)


def test_smoothing_asks_for_time(tmp_path) -> None:
    layout = make(tmp_path)
    index = layout.of(NAME).windows / "people" / "index.json"
    index.write_text(index.read_text().replace('"has_time": true', '"has_time": false'))
    with pytest.raises(ValueError, match=r"train\.smoothing: these windows have no real time"):
        train(layout)
