"""Errors and classes by group against scikit-learn, pandas and exact bootstrap laws."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from foresense.evaluate.classification import verdict_of
from foresense.evaluate.grouped import (
    COMPARED,
    ERROR_METRICS,
    GroupedError,
    TooFewBlocksError,
    UnusableForecastError,
    blocks_drawn,
    compare_errors,
    crossed,
    judge_errors,
    seasons_of,
    weeks_of,
)
from foresense.evaluate.grouped_classes import UNKNOWN, compare_grouped_classes, judge_grouped_classes

N_WEEKS = 30


def world(*, seed: int = 0) -> dict[str, np.ndarray]:
    """Three stations of one city over weeks of ten rows: errors of a week are much the same in all of them."""
    rng = np.random.default_rng(seed)
    periods = np.tile(np.repeat(np.arange(N_WEEKS), 10), 3)
    truth = rng.gamma(2.0, 40.0, len(periods))
    predicted = truth + rng.normal(0, 20, N_WEEKS)[periods] + rng.normal(0, 5, len(periods))
    truth[rng.random(len(truth)) < 0.1] = np.nan
    stations = np.repeat(["Aoti", "Dingling", "Wanliu"], N_WEEKS * 10)
    seasons = np.where(periods < 15, "summer", "winter")
    return {"truth": truth, "predicted": predicted, "periods": periods, "stations": stations, "seasons": seasons}


def groups(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    both = crossed(data["stations"], data["seasons"])
    return {"station": data["stations"], "season": data["seasons"], "station x season": both}


def judged(data: dict[str, np.ndarray], **kwargs: object):
    arguments = {"groups": groups(data), "block": 2, "rng": np.random.default_rng(1), **kwargs}
    return judge_errors(data["truth"], data["predicted"], periods=data["periods"], **arguments)


def test_every_metric_of_every_group_is_scikit_learns() -> None:
    data = world()
    found = judged(data, n_resamples=20)
    frame = pd.DataFrame({**data, "station x season": groups(data)["station x season"]})
    rows = [(found.overall, frame)]
    for column, grouping in (("stations", "station"), ("seasons", "season"), ("station x season", "station x season")):
        parts = dict(list(frame.groupby(column)))
        assert set(found.groups[grouping]) == set(parts)
        rows += [(found.groups[grouping][label], part) for label, part in parts.items()]
    assert len(rows) == 1 + 3 + 2 + 6
    for row, part in rows:
        known = part.dropna()
        expected = {
            "mae": sk.mean_absolute_error(known.truth, known.predicted),
            "rmse": sk.root_mean_squared_error(known.truth, known.predicted),
            "bias": (known.predicted - known.truth).mean(),
            "r2": sk.r2_score(known.truth, known.predicted),
        }
        for name in ERROR_METRICS:
            np.testing.assert_allclose(row.metrics[name], expected[name], rtol=1e-9)
        assert (row.n, row.n_without_truth) == (len(known), len(part) - len(known))
        assert row.n_periods == known.periods.nunique()


def test_a_resample_is_the_same_rows_repeated() -> None:
    """R² and RMSE are no means: the interval of few resamples is that of the rows copied as often as drawn."""
    data = world()
    found = judged(data, n_resamples=25, rng=np.random.default_rng(5))
    weights = blocks_drawn(N_WEEKS, 2, np.random.default_rng(5), 25)
    known = ~np.isnan(data["truth"])
    winter = known & (data["seasons"] == "winter")
    for row, rows in ((found.overall, known), (found.groups["season"]["winter"], winter)):
        for name, metric in (("r2", sk.r2_score), ("rmse", sk.root_mean_squared_error)):
            drawn = []
            for one in weights.astype(int):
                copied = np.repeat(np.flatnonzero(rows), one[data["periods"][rows]])
                drawn.append(metric(data["truth"][copied], data["predicted"][copied]))
            np.testing.assert_allclose(row.intervals[name], np.quantile(drawn, [0.025, 0.975]), rtol=1e-9)


def test_blocks_are_runs_around_the_end_and_a_series_is_as_long_as_the_first() -> None:
    drawn = blocks_drawn(7, 3, np.random.default_rng(0), 4000)
    assert drawn.shape == (4000, 7)
    assert (drawn.sum(axis=1) == 7).all()
    np.testing.assert_allclose(drawn.mean(axis=0), 1.0, atol=0.06)  # every period alike, the ends too
    whole = blocks_drawn(6, 6, np.random.default_rng(0), 50)
    assert (whole == 1).all()
    long = blocks_drawn(300, 3, np.random.default_rng(0), 400)
    neighbours = np.corrcoef(long.ravel(), np.roll(long, 1, axis=1).ravel())[0, 1]
    assert neighbours == pytest.approx(2 / 3, abs=0.03)  # runs of three share two of their periods
    single = blocks_drawn(7, 1, np.random.default_rng(0), 4000)
    np.testing.assert_allclose(single.var(), 6 / 7, atol=0.03)  # Binomial(7, 1/7)


def test_the_interval_is_binomial_when_weeks_are_right_or_wrong_as_a_whole_in_all_stations() -> None:
    """6 of 20 weeks miss by 1: a resample has Binomial(20, 0.3) such weeks, however many stations there are."""
    periods = np.tile(np.repeat(np.arange(20), 8), 5)
    truth = np.tile(np.arange(8.0), 100)
    predicted = truth + (periods < 6)
    nothing: dict[str, np.ndarray] = {}
    found = judge_errors(
        truth, predicted, periods=periods, groups=nothing, block=1, rng=np.random.default_rng(0), n_resamples=40_000
    )
    np.testing.assert_allclose(
        found.overall.intervals["mae"], stats.binom.ppf([0.025, 0.975], 20, 0.3) / 20, atol=1e-12
    )


def test_longer_blocks_give_wider_intervals_where_neighbouring_weeks_are_alike() -> None:
    """Runs of six bad weeks: single weeks would claim to know more than there is to know."""
    periods = np.repeat(np.arange(60), 4)
    truth = np.tile(np.arange(4.0), 60)
    predicted = truth + (periods // 6 % 2)
    width = []
    for block in (1, 6):
        low, high = judge_errors(
            truth, predicted, periods=periods, groups={}, block=block, rng=np.random.default_rng(0)
        ).overall.intervals["mae"]
        width.append(high - low)
    assert width[1] > 1.5 * width[0]


def test_an_interval_is_as_good_as_its_level_says() -> None:
    """Over 100 worlds the mean absolute error of normal errors, sigma sqrt(2 / pi), lies in about 95 %."""
    inside, expected = 0, np.sqrt(20**2 + 5**2) * np.sqrt(2 / np.pi)
    for seed in range(100):
        low, high = judged(world(seed=seed), groups={}, block=1, n_resamples=200).overall.intervals["mae"]
        inside += low <= expected <= high
    assert 0.86 <= inside / 100 <= 0.99


def test_a_paired_difference_is_sure_where_the_same_weeks_are_better_by_the_same() -> None:
    data = world()
    known = np.nan_to_num(data["truth"])
    better = known + 0.9 * (data["predicted"] - known)
    arguments = {"periods": data["periods"], "groups": groups(data), "block": 2}
    found = compare_errors(data["truth"], better, data["predicted"], rng=np.random.default_rng(0), **arguments)
    one, other = judged({**data, "predicted": better}), judged(data)
    rows = [(found.overall, one.overall, other.overall)]
    for grouping, labels in found.groups.items():
        rows += [(row, one.groups[grouping][at], other.groups[grouping][at]) for at, row in labels.items()]
    for row, mine, theirs in rows:
        assert set(row) == set(COMPARED)
        for name in COMPARED:
            assert row[name].value == pytest.approx(mine.metrics[name] - theirs.metrics[name])
        assert row["mae"].value == pytest.approx(-0.1 * theirs.metrics["mae"])
        assert verdict_of("mae", row["mae"].interval) == "ahead"
        assert verdict_of("rmse", row["rmse"].interval) == "ahead"
        assert mine.intervals["mae"][1] > theirs.intervals["mae"][0]  # unpaired, they overlap
    same = compare_errors(data["truth"], better, better, rng=np.random.default_rng(0), **arguments)
    assert all(one.value == 0 and one.interval == (0, 0) for one in same.overall.values())
    json.dumps(found.to_json())


def test_a_group_that_nobody_can_judge_is_counted_and_has_no_value() -> None:
    data = world()
    data["truth"][data["stations"] == "Wanliu"] = np.nan
    data["truth"][data["stations"] == "Aoti"] = 7.0
    data["truth"][(data["stations"] == "Dingling") & (data["periods"] > 2)] = np.nan
    found = judged(data, n_resamples=20).groups["station"]
    nobody = dict.fromkeys(ERROR_METRICS)
    assert (found["Wanliu"].n, found["Wanliu"].n_without_truth) == (0, 300)
    assert found["Wanliu"].metrics == found["Wanliu"].intervals == nobody
    assert found["Aoti"].metrics["r2"] is None
    assert found["Aoti"].intervals["r2"] is None
    assert found["Aoti"].intervals["mae"] is not None
    assert found["Dingling"].n_periods == 3
    assert found["Dingling"].metrics["mae"] > 0
    assert found["Dingling"].intervals == nobody  # three weeks are less than two blocks of two
    assert json.loads(json.dumps(judged(data, n_resamples=5).to_json()))["groups"]["station"]["Wanliu"]["n"] == 0
    compared = compare_errors(
        data["truth"],
        data["predicted"],
        data["predicted"] + 1,
        periods=data["periods"],
        groups=groups(data),
        block=2,
        rng=np.random.default_rng(0),
    )
    assert compared.groups["station"]["Wanliu"] == compared.groups["station"]["Dingling"] == dict.fromkeys(COMPARED)


def test_a_high_level_does_not_drown_r2() -> None:
    """Truth near 1e7 with a spread of 1: squares of the raw values would cancel."""
    rng = np.random.default_rng(0)
    truth, periods = rng.normal(1e7, 1, 400), np.repeat(np.arange(20), 20)
    predicted = truth + rng.normal(0, 0.5, 400)
    found = judge_errors(truth, predicted, periods=periods, groups={}, block=1, rng=rng, n_resamples=2)
    np.testing.assert_allclose(found.overall.metrics["r2"], sk.r2_score(truth, predicted), rtol=1e-6)


def test_weeks_seasons_and_crossed_labels() -> None:
    hours = pd.date_range("2016-12-30", "2017-02-20", freq="h", tz="UTC")
    weeks = weeks_of(hours.as_unit("s").asi8)
    np.testing.assert_array_equal(weeks, (hours - hours[0]).days // 7)
    months = np.arange(1, 13)
    expected = ["winter"] * 2 + ["spring"] * 3 + ["summer"] * 3 + ["autumn"] * 3 + ["winter"]
    assert seasons_of(months).tolist() == expected
    assert crossed(np.array(["A", "B"]), np.array([1, 2])).tolist() == ["A x 1", "B x 2"]
    with pytest.raises(GroupedError, match=r"months: expected 1\.\.12, found 0 to 3"):
        seasons_of(np.array([0, 3]))


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"predicted": np.full(900, np.nan)}, UnusableForecastError, r"900 of 900 are not finite \(row 0: nan\)"),
        ({"truth": np.full(900, np.inf)}, GroupedError, "truth: infinite"),
        ({"truth": np.full(900, np.nan)}, TooFewBlocksError, r"0 rows with a truth lie in 0 period\(s\)"),
        ({"truth": np.zeros(5)}, GroupedError, r"columns of one length.*'truth': \(5,\)"),
        ({"periods": np.zeros(900)}, GroupedError, "periods: expected whole numbers.*float64"),
        ({"block": 16}, TooFewBlocksError, "30 period.*two blocks of 16"),
        ({"block": 0}, GroupedError, "block and n_resamples: expected at least 1, found 0"),
    ],
)
def test_what_cannot_be_judged_is_refused(changes, kind, message) -> None:
    data = world() | {name: value for name, value in changes.items() if name != "block"}
    with pytest.raises(kind, match=message):
        judge_errors(
            data["truth"],
            data["predicted"],
            periods=data["periods"],
            groups={},
            block=changes.get("block", 2),
            rng=np.random.default_rng(0),
        )


def classes() -> dict[str, np.ndarray]:
    data = world()
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 900)
    right = rng.random(N_WEEKS)[data["periods"]] < 0.7
    predicted = np.where(right, truth, (truth + 1) % 3)
    truth[::17] = UNKNOWN
    return data | {"truth": truth, "predicted": predicted}


def test_classes_of_every_group_are_scikit_learns_and_intervals_are_those_of_weeks() -> None:
    data = classes()
    found = judge_grouped_classes(
        data["truth"],
        data["predicted"],
        classes=("good", "fair", "bad"),
        periods=data["periods"],
        groups=groups(data),
        block=1,
        rng=np.random.default_rng(0),
    )
    known = data["truth"] != UNKNOWN
    for grouping, labels in groups(data).items():
        for label in np.unique(labels):
            mine, row = known & (labels == label), found.groups[grouping][label]
            f1 = sk.f1_score(data["truth"][mine], data["predicted"][mine], average="macro")
            assert row.metrics["macro_f1"] == pytest.approx(f1)
            assert row.metrics["accuracy"] == pytest.approx((data["truth"] == data["predicted"])[mine].mean())
            assert (row.n, row.n_without_truth) == (mine.sum(), ((labels == label) & ~known).sum())
            np.testing.assert_array_equal(
                row.confusion, sk.confusion_matrix(data["truth"][mine], data["predicted"][mine], labels=[0, 1, 2])
            )
    share = (data["truth"] == data["predicted"])[known & (data["periods"] > -1)]
    by_week = pd.Series(share).groupby(data["periods"][known]).mean()  # 0 or 1: weeks are right as a whole
    assert set(by_week) == {0.0, 1.0}
    low, high = found.overall.intervals["accuracy"]
    expected = stats.binom.ppf([0.025, 0.975], N_WEEKS, by_week.mean()) / N_WEEKS
    np.testing.assert_allclose((low, high), expected, atol=0.02)  # weeks have 28 or 29 known rows
    assert found.overall.n_blocks == N_WEEKS
    assert found.f1["bad"] == pytest.approx(
        sk.f1_score(data["truth"][known], data["predicted"][known], average=None)[2]
    )
    assert json.loads(json.dumps(found.to_json()))["overall"]["n"] == known.sum()


def test_classes_without_a_known_row_or_with_one_block_have_no_interval() -> None:
    data = classes()
    data["truth"][data["stations"] == "Aoti"] = UNKNOWN
    data["truth"][(data["stations"] == "Wanliu") & (data["periods"] > 3)] = UNKNOWN
    arguments = {"periods": data["periods"], "block": 4, "rng": np.random.default_rng(0)}
    rows = judge_grouped_classes(
        data["truth"], data["predicted"], classes=("a", "b", "c"), groups={"station": data["stations"]}, **arguments
    ).groups["station"]
    assert (rows["Aoti"].n, rows["Aoti"].n_without_truth, rows["Aoti"].metrics) == (0, 300, {})
    assert rows["Wanliu"].n_blocks == 1
    assert rows["Wanliu"].metrics["accuracy"] >= 0
    assert rows["Wanliu"].intervals == {}
    assert rows["Dingling"].n_blocks == 8
    found = compare_grouped_classes(data["truth"], data["truth"] % 3, data["predicted"], n_classes=3, **arguments)
    known = data["truth"] != UNKNOWN
    missed = (data["truth"] != data["predicted"])[known].mean()
    assert found["accuracy"].value == pytest.approx(missed)
    assert verdict_of("accuracy", found["accuracy"].interval) == "ahead"
    data["truth"][data["periods"] > 3] = UNKNOWN
    with pytest.raises(TooFewBlocksError, match=r"lie in 1 block\(s\) of 4 period"):
        compare_grouped_classes(data["truth"], data["predicted"], data["predicted"], n_classes=3, **arguments)
    with pytest.raises(GroupedError, match="blocks of at least 1"):
        compare_grouped_classes(
            data["truth"], data["predicted"], data["predicted"], n_classes=3, **arguments | {"block": 0}
        )
