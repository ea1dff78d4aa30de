"""From recordings to a judged choice: the rule is learnt, what is held out changes nothing, what ships is judged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import mean_absolute_error, roc_auc_score, roc_curve

from foresense.config import STEPS, MixedConfig
from foresense.models.mixed_shipped import load_shipped
from foresense.signals import FeaturesReport, Layout, SignalError, TrainReport, read_json, read_report, tree_sha256
from foresense.signals.mixed_schema import MixedSchema
from foresense.signals.mixed_windows import open_mixed_windows, write_mixed_windows
from foresense.steps.features_mixed import features_mixed
from foresense.steps.frame import StepRun
from foresense.steps.ingest_mixed import ingest_mixed
from foresense.steps.mixed_data import MixedData, fold_of, network_of, read_mixed
from foresense.steps.mixed_pictures import curves_of, wilson
from foresense.steps.mixed_scores import task_of
from foresense.steps.train_mixed import answers, train_mixed
from foresense.steps.window_mixed import GROUP, window_mixed
from foresense.training.mixed import outputs_of

pytestmark = pytest.mark.slow

SMALL = {"patch_length": 4, "patch_stride": 4, "d_model": 16, "n_heads": 2, "n_layers": 1, "dropout": 0.0}
CANDIDATE = {"network": SMALL, "learning_rate": 5e-3, "batch_size": 32, "n_epochs": 20, "patience": 20}


def ward(rule: str) -> MixedConfig:
    """Two classes of simulated recordings with holes."""
    return MixedConfig.model_validate(
        {
            "kind": "mixed",
            "description": "simulated",
            "ingest": {
                "source": "mixed_synthetic",
                "n_recordings": 300,
                "n_steps": 16,
                "n_classes": 2,
                "rule": rule,
                "holes": [{"kind": "random", "share": 0.1}],
                "seed": 5,
            },
            "window": {"target": "class", "bin_names": ["low", "high"], "n_folds": 3, "seed": 1},
            "features": {"family": "summary"},
            "train": {"predicts": "class", "candidates": {"small": CANDIDATE}, "folds": 2},
        }
    )


def made(root: Path, name: str, config: MixedConfig) -> Layout:
    """Everything before the training."""
    (root / "code.json").write_text(
        json.dumps({f"{step}{end}": {"s": "0"} for step in STEPS for end in ("", "_mixed")})
    )
    layout = Layout(root, root)
    ingest_mixed(StepRun("ingest", name, layout), config.ingest)
    window_mixed(StepRun("window", name, layout), config.window)
    features_mixed(StepRun("features", name, layout), config.features)
    return layout


def trained(layout: Layout, name: str, config: MixedConfig) -> TrainReport:
    return train_mixed(StepRun("train", name, layout), config.train)


@pytest.fixture(scope="module", autouse=True)
def few_rounds() -> Any:
    """Boosting on two busy cores takes half a minute for each of the trainings here; its rounds are not the subject."""
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        patched.setattr("foresense.training.mixed_rivals.ROUNDS_OF_FOLDS", 15)
        patched.setattr("foresense.training.mixed_rivals.MAX_ROUNDS", 30)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One project for all pipelines: making its MLflow store takes longer than a training."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def ruled(root: Path) -> tuple[Layout, TrainReport]:
    layout = made(root, "ward", ward("sum"))
    return layout, trained(layout, "ward", ward("sum"))


def test_a_rule_is_learnt_well_over_chance_and_over_the_prevalence(ruled) -> None:
    layout, report = ruled
    assert read_report(layout.of("ward").reports, TrainReport).model_dump(mode="json") == report.model_dump(mode="json")
    network = report.candidates["best network"]
    assert network["test"]["auroc"] > 0.85
    assert network["interval"]["auroc"][0] > 0.75
    assert report.test["auroc"] > 0.85
    assert report.baselines["prevalence"]["brier"] == pytest.approx(0.25, abs=0.001)
    assert report.test["brier"] < 0.2 < report.baselines["prevalence"]["brier"]
    assert set(report.baselines) == {"prevalence", "logistic", "boosting"}
    assert report.windows == {"train": 100, "validation": 100, "test": 100, "judged": 200}


def test_without_a_rule_there_is_chance_and_it_is_said(root: Path) -> None:
    config = ward("none")
    report = trained(made(root, "chance", config), "chance", config)
    for name in ("small", "chosen", "boosting", "logistic"):
        low, high = report.candidates[name]["interval"]["auroc"]
        assert low < 0.5 < high, name
    assert not report.beats_baselines
    assert report.model["is_rival"]
    assert "A RIVAL: on validation no network is surely ahead of it" in report.conclusion
    assert "AHEAD" in report.conclusion
    assert "is AHEAD" not in report.conclusion


def test_validation_alone_chooses_and_the_choice_of_each_turn_is_judged(ruled) -> None:
    _, report = ruled
    everyone = ("small", "prevalence", "logistic", "boosting")
    for turn in range(2):
        values = {name: report.candidates[name]["validation_auroc"][turn] for name in everyone}
        best = max(values, key=lambda name: values[name])
        assert report.groups[GROUP]["choices"][turn] == best
        assert turn in report.candidates[best]["chosen_in"]
        assert report.candidates["chosen"]["validation_auroc"][turn] == values[best]
    assert report.candidates["chosen"]["test"] == report.test
    found = report.groups[GROUP]["best_network_minus_best_rival"]
    best_rival = max(report.baselines, key=lambda name: report.baselines[name]["auroc"])
    assert found["rival"] == best_rival
    network = report.candidates["best network"]["test"]["auroc"]
    assert found["auroc"][0] == pytest.approx(network - report.baselines[best_rival]["auroc"])
    assert report.beats_baselines == (found["auroc"][1] > 0)


def test_what_ships_says_what_was_judged(ruled) -> None:
    layout, report = ruled
    folder = layout.of("ward").models / GROUP
    evaluation = read_json(folder / "evaluation.json")
    assert evaluation["candidate"] == report.groups[GROUP]["choices"][0]
    assert evaluation["model_sha256"] == report.model["model_sha256"]
    assert set(evaluation["test"]) == {"auroc", "auprc", "brier"}
    data = read_mixed(layout.of("ward").windows, layout.of("ward").features, ward("sum").train)
    fold = fold_of(data, 0)
    said = answers(outputs_of(load_shipped(folder), data.items(fold.test, 0, "class")), "binary")
    truth = data.windows.classes[fold.test]
    assert roc_auc_score(truth, said[:, 1]) == pytest.approx(evaluation["test"]["auroc"], abs=1e-6)
    assert np.mean((said[:, 1] - truth) ** 2) == pytest.approx(evaluation["test"]["brier"], abs=1e-6)
    assert MixedSchema.from_json(read_json(folder / "schema.json")) == data.windows.schemas[0]


def test_everything_that_is_promised_is_written(ruled) -> None:
    layout, report = ruled
    reports = layout.of("ward").reports
    names = {"candidates.png", "candidates.csv", "roc-and-precision.png", "calibration.png", "difference.json"}
    assert names <= {path.name for path in (reports / "plots").iterdir()}
    table = pd.read_csv(reports / "plots" / "candidates.csv").set_index("name")
    assert table.loc["small", "auroc"] == pytest.approx(report.candidates["small"]["test"]["auroc"], abs=1e-6)
    assert set(read_json(reports / "metrics.json")) == {
        f"{who}_{name}" for who in ("test", "best_network", "best_rival") for name in ("auroc", "auprc", "brier")
    }
    loss = pd.read_csv(reports / "loss.csv")
    assert set(loss["training"]) == {"small/0", "small/1"}


def test_what_is_held_out_changes_no_weight_and_no_choice(ruled) -> None:
    layout, report = ruled
    config = ward("sum")
    one = MixedConfig.model_validate(config.model_dump() | {"train": config.train.model_dump() | {"folds": 1}})
    paths = layout.of("ward")
    windows = open_mixed_windows(paths.windows / GROUP)
    held_out = np.isin(np.arange(300), windows.owners[windows.of_part("test", 0)])
    rows = np.repeat(held_out, 16)
    other = replace(
        windows,
        numeric=np.where(rows[:, None], 1e3 - windows.numeric, windows.numeric),
        categories=np.where(rows[:, None], 0, windows.categories),
        classes=np.where(held_out[windows.owners], 1 - windows.classes, windows.classes),
    )
    folder = layout.of("changed").windows
    write_mixed_windows(folder / GROUP, other)
    (folder / "manifest.json").write_text((paths.windows / "manifest.json").read_text())
    features_mixed(StepRun("features", "changed", layout), one.features)
    changed = trained(layout, "changed", one)
    for name in ("small", "logistic", "boosting"):
        before, after = report.candidates[name], changed.candidates[name]
        assert after["validation_auroc"][0] == before["validation_auroc"][0]
        assert after.get("best_epochs", [0])[0] == before.get("best_epochs", [0])[0]
        assert after.get("fitted", [0])[0] == before.get("fitted", [0])[0]
    assert changed.groups[GROUP]["choices"][0] == report.groups[GROUP]["choices"][0]
    assert changed.model["model_sha256"] == report.model["model_sha256"]
    assert changed.groups[GROUP]["of_what_ships"] != report.groups[GROUP]["of_what_ships"]


def stations(folder: Path, n_days: int = 150) -> None:
    """Two stations whose air has a daily turn and slow weather, so that the same hour of yesterday tells much."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    times = pd.date_range("2014-01-01", periods=n_days * 24, freq="h")
    for station in ("Dongsi", "Changping"):
        level = np.convolve(rng.standard_normal(len(times) + 71), np.ones(72) / 8.5, "valid")
        frame = pd.DataFrame({part: getattr(times, part) for part in ("year", "month", "day", "hour")})
        for name in ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3", "TEMP", "PRES", "DEWP", "RAIN", "WSPM"):
            turn = 20 * np.sin(2 * np.pi * times.hour.to_numpy() / 24)
            frame[name] = (80 + 25 * level + turn + 3 * rng.standard_normal(len(times))).clip(1).round(1)
        frame = frame.assign(wd=rng.choice(["NNE", "S"], len(times)), station=station)
        frame.loc[400:410, "PM2.5"] = np.nan
        frame.to_csv(folder / f"PRSA_Data_{station}.csv", index=False, na_rep="NA")


def town(**train: Any) -> MixedConfig:
    return MixedConfig.model_validate(
        {
            "kind": "mixed",
            "description": "two stations",
            "ingest": {"source": "air_quality"},
            "window": {
                "target": "PM2.5",
                "length": 168,
                "ahead": 24,
                "stride": 7,
                "stride_evaluation": 7,
                "bins": [60, 100],
                "bin_names": ["low", "middle", "high"],
                "split": {"train_until": "2014-03-15", "validation_until": "2014-04-20"},
            },
            "features": {"family": "lagged"},
            "train": {
                "predicts": "value",
                "calendar": True,
                "block_weeks": 1,
                "candidates": {"small": CANDIDATE | {"network": SMALL | {"patch_length": 24, "patch_stride": 24}}},
            }
            | train,
        }
    )


@pytest.fixture(scope="module")
def forecast(root: Path) -> tuple[Layout, TrainReport, MixedData]:
    stations(root / "data" / "raw" / "beijing_air_quality")
    config = town()
    layout = made(root, "town", config)
    report = trained(layout, "town", config)
    return layout, report, read_mixed(layout.of("town").windows, layout.of("town").features, config.train)


def test_naive_rules_repeat_what_the_files_hold(forecast) -> None:
    layout, report, data = forecast
    values = {
        path.stem.removeprefix("PRSA_Data_"): pd.read_csv(path)["PM2.5"].to_numpy()
        for path in (layout.raw / "beijing_air_quality").glob("*.csv")
    }
    rows = fold_of(data, 0).test
    begin = pd.Timestamp("2014-01-01", tz="Asia/Shanghai").value
    hours = ((data.windows.times_ns[rows] - begin) // (3600 * 10**9)).astype(int)
    truth = [values[station][hour] for station, hour in zip(data.stations[rows], hours, strict=True)]
    day_before = [values[station][hour - 24] for station, hour in zip(data.stations[rows], hours, strict=True)]
    assert report.baselines["last_day"]["mae"] == pytest.approx(mean_absolute_error(truth, day_before), abs=1e-5)
    assert report.baselines["persistence"] == report.baselines["last_day"]  # a day ahead they are the same value
    assert set(report.baselines) == {"persistence", "last_day", "last_week", "ridge", "boosting", "boosting_absolute"}


def test_a_forecast_is_judged_by_season_and_station_in_its_unit(forecast) -> None:
    layout, report, data = forecast
    groups = report.groups[GROUP]["scores"]["chosen"]["groups"]
    assert set(groups["station"]) == {"Changping", "Dongsi"}
    assert set(groups["season"]) == {"spring"}
    n = len(fold_of(data, 0).test)
    assert sum(row["n"] for row in groups["station"].values()) == n == report.windows["judged"]
    assert report.test["rmse"] >= report.test["mae"] > 0
    assert "ug/m3" in report.conclusion
    assert report.test["mae"] < 25  # weather and the daily turn deviate by about 30
    names = {path.name for path in (layout.of("town").reports / "plots").iterdir()}
    assert {"errors-by-group.png", "course.png", "scatter.png", "candidates.png", "groups.csv"} <= names
    evaluation = read_json(layout.of("town").models / GROUP / "evaluation.json")
    assert evaluation["target"] == {"name": "PM2.5", "unit": "ug/m3", "ahead": 24}
    assert evaluation["calendar"] is True


def test_networks_and_rivals_see_the_same_clock(forecast) -> None:
    *_, data = forecast
    rows = fold_of(data, 0).test[:50]
    local = pd.to_datetime(data.windows.times_ns[rows] - 24 * 3600 * 10**9, utc=True).tz_convert("Asia/Shanghai")
    expected = [np.sin(2 * np.pi * local.hour / 24), np.cos(2 * np.pi * local.hour / 24)]
    expected += [np.sin(2 * np.pi * (local.month - 1) / 12), np.cos(2 * np.pi * (local.month - 1) / 12)]
    items = data.items(rows, 0, "value")
    assert items.static_numbers is not None
    np.testing.assert_allclose(items.static_numbers.T, expected, atol=1e-6)
    columns = [data.names[0].index(name) for name in ("hour_sin", "hour_cos", "month_sin", "month_cos")]
    np.testing.assert_allclose(data.features[0][rows][:, columns], np.array(expected).T, atol=1e-12)
    network = network_of(town().train.candidates["small"], data, "value", 0)
    assert (network.n_static_numeric, network.n_steps, network.head, network.n_outputs) == (4, 168, "values", 1)
    assert network.cardinalities == (2,)
    last = data.features[0][rows][:, data.names[0].index("PM2.5__lag_0h")]
    np.testing.assert_array_equal(last, data.value_rows(rows, 0).history[:, -1])


def test_classes_over_time_are_judged_by_blocks_of_weeks(forecast) -> None:
    layout, *_ = forecast
    report = trained(layout, "town", town(predicts="class"))
    assert set(report.baselines) == {"prevalence", "logistic", "boosting"}
    assert report.test["macro_f1"] > report.baselines["prevalence"]["macro_f1"]
    assert set(report.per_class) == {"low", "middle", "high"}
    assert sum(row["support"] for row in report.per_class.values()) == report.windows["judged"]
    plots = layout.of("town").reports / "plots"
    assert {"confusion.png", "f1-by-class.png"} <= {path.name for path in plots.iterdir()}


def test_features_are_reported_with_units_and_holes(forecast) -> None:
    layout, *_ = forecast
    report = read_report(layout.of("town").reports, FeaturesReport)
    found = report.features["PM2.5__lag_0h"]
    assert found["unit"] == "ug/m3"
    table = pd.read_parquet(layout.of("town").features / "features-0.parquet")
    assert found["n_missing"] == table["PM2.5__lag_0h"].isna().sum() > 0
    assert found["mean"] == pytest.approx(table["PM2.5__lag_0h"].mean())
    assert report.n_windows == len(table)
    assert report.data_sha256 == tree_sha256(layout.of("town").windows)


def test_what_cannot_be_trained_is_said(ruled, forecast, tmp_path: Path) -> None:
    layout, *_ = ruled
    paths = layout.of("ward")
    with pytest.raises(SignalError, match="rivals' features are 'summary' and know no clock"):
        read_mixed(paths.windows, paths.features, town().train)
    with pytest.raises(FileNotFoundError, match="run `foresense features town` first"):
        read_mixed(paths.windows, tmp_path / "town", ward("sum").train)
    named = ward("sum").train.model_copy(update={"candidates": {"boosting": ward("sum").train.candidates["small"]}})
    with pytest.raises(ValueError, match=r"train.candidates: boosting is the name of a rival"):
        train_mixed(StepRun("train", "ward", layout), named)
    with pytest.raises(SignalError, match=r"windows without real time: set train\.calendar to false"):
        features_mixed(StepRun("features", "ward", layout), town().features)
    data = forecast[2]
    two = replace(data, windows=replace(data.windows, class_names=("low", "high")))
    with pytest.raises(ValueError, match="two classes of a channel over time"):
        task_of(two, "class")


def test_curves_are_those_of_scikit_learn_and_intervals_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.3
    scores = np.round(rng.random(200) * 0.5 + truth * 0.2, 2)  # with ties
    false, hits, _ = curves_of(truth, scores)
    expected = roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(np.append(0, false), expected[0])
    np.testing.assert_allclose(np.append(0, hits), expected[1])
    low, high = wilson(np.array([3 / 20, 0.0]), np.array([20, 11]))
    for at, (k, n) in enumerate(((3, 20), (0, 11))):
        interval = binomtest(k, n).proportion_ci(method="wilson")
        assert (low[at], high[at]) == pytest.approx((interval.low, interval.high), abs=1e-12)
