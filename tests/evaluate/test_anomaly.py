"""Scores of detectors against scikit-learn, closed forms, and the coverage that a threshold promises."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from foresense.evaluate import anomaly
from foresense.evaluate.anomaly import (
    AnomalyScoreError,
    AnomalyScores,
    compare_anomalies,
    judge_anomalies,
    threshold_of,
)

CLASSES = ("normal", "ball", "race")


def judged(labels: np.ndarray, scores: np.ndarray, **asked: object) -> AnomalyScores:
    given_ = {
        "classes": CLASSES,
        "units": np.arange(len(labels)),
        "threshold": 0.5,
        "hop_s": None,
        "rng": np.random.default_rng(0),
        "n_resamples": 200,
        **asked,
    }
    return judge_anomalies(labels, scores, **given_)  # type: ignore[arg-type]


@given(
    scores=st.lists(st.integers(-3, 3), min_size=6, max_size=40),
    seed=st.integers(0, 2**16),
)
def test_areas_are_those_of_scikit_learn_ties_and_all(scores: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, len(scores))
    labels[:2] = (0, 1)
    values = np.array(scores, float)
    found = judged(labels, values, n_resamples=2).overall.metrics
    assert found["auc"] == pytest.approx(roc_auc_score(labels > 0, values), abs=1e-12)
    assert found["partial_auc"] == pytest.approx(roc_auc_score(labels > 0, values, max_fpr=0.1), abs=1e-12)


def test_perfect_and_reversed_scores_have_the_areas_of_the_textbook() -> None:
    labels = np.repeat([0, 1], 50)
    perfect = judged(labels, labels.astype(float)).overall.metrics
    assert perfect == {"auc": 1, "partial_auc": 1, "detection_rate": 1, "false_alarm_rate": 0}
    reversed_ = judged(labels, -labels.astype(float)).overall.metrics
    assert reversed_["auc"] == 0
    assert reversed_["partial_auc"] == pytest.approx((1 - 0.005 / 0.095) / 2)


def test_alarms_per_hour_are_false_alarms_by_the_clips_of_an_hour() -> None:
    labels, scores = np.array([0, 0, 0, 0, 1]), np.array([0.1, 0.2, 0.9, 0.5, 0.9])
    assert judged(labels, scores, hop_s=2.0).alarms_per_hour == 0.25 * 1800  # 0.5 is not above the threshold
    assert judged(labels, scores).alarms_per_hour is None


def test_each_clip_can_have_the_threshold_of_its_fold() -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 10.0, 0.5, 30.0])
    found = judged(labels, scores, threshold=np.array([0.2, 20.0, 0.2, 20.0]))
    assert found.threshold is None
    assert (found.overall.metrics["detection_rate"], found.overall.metrics["false_alarm_rate"]) == (1, 0)
    assert judged(labels, scores, threshold=0.2).overall.metrics["false_alarm_rate"] == 0.5


def test_conditions_and_groups_are_judged_by_themselves() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2, 0, 1])
    scores = np.array([0.2, 0.4, 0.9, 0.8, 0.3, 0.1, 0.6, 0.5])
    machines = np.array(["a"] * 6 + ["b"] * 2)
    found = judged(labels, scores, groups={"machine": machines})
    for label, name in enumerate(CLASSES):
        if label:
            chosen = (labels == 0) | (labels == label)
            expected = roc_auc_score(labels[chosen] > 0, scores[chosen])
            assert found.conditions[name].metrics["auc"] == pytest.approx(expected)
    assert set(found.conditions) == {"ball", "race"}
    assert found.groups["machine"]["b"].metrics["auc"] == 0
    assert found.groups["machine"]["b"].intervals == {}  # one unit of each kind: nothing to draw
    assert json.loads(json.dumps(found.to_json()))["overall"]["n_normal"] == 3


def test_a_machine_is_judged_against_all_normal_clips() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    scores = np.array([0.2, 0.6, 0.9, 0.4, 0.3, 0.1])
    found = judged(labels, scores, machines=np.array(["a", "b", "b", "c", "c", "c"])).machines
    assert set(found) == {"b", "c"}
    assert (found["c"].n_normal, found["c"].n_anomalous) == (2, 3)
    assert found["c"].metrics["auc"] == pytest.approx(roc_auc_score([0, 0, 1, 1, 1], scores[[0, 1, 3, 4, 5]]))


@pytest.mark.parametrize(("n_units", "has_interval"), [(4, False), (5, True)])
def test_too_few_units_have_no_interval(n_units: int, has_interval: bool) -> None:
    labels, units = np.repeat([0, 1], 40), np.concatenate([np.arange(40), np.arange(40) % n_units])
    row = judged(labels, np.random.default_rng(0).standard_normal(80), units=units).overall
    assert row.n_units == (40, n_units)
    assert bool(row.intervals) == has_interval
    perfect, reversed_ = labels.astype(float), -labels.astype(float)
    found = compare_anomalies(labels, perfect, reversed_, units=units, rng=np.random.default_rng(0), n_resamples=50)
    assert found["auc"].value == 1
    assert found["auc"].interval == ((1, 1) if has_interval else (-1, 1))  # of too few units nothing is sure


def test_a_group_of_one_kind_has_counts_and_no_metrics() -> None:
    labels = np.array([0, 0, 1])
    found = judged(labels, np.array([0.1, 0.2, 0.9]), groups={"machine": np.array(["a", "b", "b"])})
    only = found.groups["machine"]["a"]
    assert (only.n_normal, only.n_anomalous, only.n_units, only.metrics) == (1, 0, (1, 0), {})


def test_intervals_hold_the_area_of_the_world_and_are_wider_by_asset() -> None:
    """Scores N(0,1) and N(1,1): the area is Φ(1/√2) = 0.760; machines that differ make fewer independent clips."""
    rng = np.random.default_rng(1)
    labels, machines = np.repeat([0, 1], 200), np.repeat(np.arange(40), 10)
    scores = labels + rng.standard_normal(400)
    by_clip = judged(labels, scores, n_resamples=1000).overall.intervals["auc"]
    assert by_clip[0] < 0.7602 < by_clip[1]
    alike = labels + rng.standard_normal(40)[machines]
    by_machine = judged(labels, alike, units=machines, n_resamples=1000).overall
    by_clip = judged(labels, alike, n_resamples=1000).overall.intervals["auc"]
    wide = by_machine.intervals["auc"]
    assert by_machine.n_units == (20, 20)
    assert wide[1] - wide[0] > 2 * (by_clip[1] - by_clip[0])


def test_a_resample_of_units_is_the_area_of_the_clips_that_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units a kind have nine resamples; their areas by scikit-learn bound the interval, and are its quantiles."""
    monkeypatch.setattr(anomaly, "LEAST_UNITS", 2)
    labels, units = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 3, 3])
    scores = np.array([0.1, 0.7, 0.4, 0.3, 0.6, 0.8])
    areas = []
    for normal in ((0, 0), (0, 1), (1, 1)):
        for other in ((2, 2), (2, 3), (3, 3)):
            rows = np.concatenate([np.flatnonzero(units == unit) for unit in (*normal, *other)])
            areas.append(roc_auc_score(labels[rows], scores[rows]))
    low, high = judged(labels, scores, units=units, level=0.999, n_resamples=3000).overall.intervals["auc"]
    assert (low, high) == (pytest.approx(min(areas)), pytest.approx(max(areas)))


def test_the_threshold_is_the_split_conformal_quantile() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 99 scores
    assert threshold_of(scores, false_alarm_rate=0.01) == 99
    assert threshold_of(scores, false_alarm_rate=0.1) == 90
    assert threshold_of(scores[:9], false_alarm_rate=0.1) == scores[:9].max()
    with pytest.raises(AnomalyScoreError, match=r"rate of 0\.01 needs 99 normal validation clips, found 98"):
        threshold_of(scores[:98], false_alarm_rate=0.01)


def test_new_normal_clips_exceed_the_threshold_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(0)
    thresholds = np.array([threshold_of(rng.gamma(2, size=19), false_alarm_rate=0.1) for _ in range(2000)])
    exceed = (rng.gamma(2, size=2000) > thresholds).mean()
    assert exceed == pytest.approx(0.1, abs=0.02)  # exactly 2 of 20 in expectation; 3 standard errors of 2000


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0], [0.1, 0.2], "2 normal and 0 anomalous clips; nothing can be ranked"),
        ([1, 2], [0.1, 0.2], "0 normal and 2 anomalous clips"),
        ([0, -1], [0.1, 0.2], "labels: clips whose condition nobody knows cannot be judged; leave them out"),
        ([0, 1], [0.1, np.nan], r"scores: 1 of 2 are not finite \(the first: number 1\)"),
        ([0, 1, 1], [0.1, 0.2], r"expected one value a clip in every column, found labels \(3,\)"),
    ],
)
def test_scores_that_cannot_be_judged_are_refused(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(AnomalyScoreError, match=message):
        judged(np.array(labels), np.array(scores))


def test_a_threshold_is_a_number_and_its_rate_a_share() -> None:
    for threshold in (np.nan, np.zeros(3)):
        with pytest.raises(AnomalyScoreError, match=r"threshold: expected a finite number, or one for each of 2 clips"):
            judged(np.array([0, 1]), np.array([0.1, 0.2]), threshold=threshold)
    with pytest.raises(AnomalyScoreError, match="false_alarm_rate: expected between 0 and 1, found 1"):
        threshold_of(np.arange(5.0), false_alarm_rate=1.0)
    with pytest.raises(AnomalyScoreError, match="1 of 2 are not finite"):
        threshold_of(np.array([0.0, np.inf]), false_alarm_rate=0.5)
