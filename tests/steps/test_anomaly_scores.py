"""Scores of several turns judged together: against scikit-learn turn by turn, and what is drawn together."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from foresense.config.anomaly_pipeline import AnomalyTrainConfig
from foresense.evaluate.anomaly import AnomalyScoreError
from foresense.signals.clip_turns import ClipTurns
from foresense.signals.clips import NORMAL, Clips, ConditionSet
from foresense.steps.anomaly_scores import auc_of, compare, judge, judge_conditions, placements, pool, thresholds
from foresense.steps.train_anomaly import choose
from tests.steps.anomalies import SMALL

N = 60


def turns_of(rate_hz: float | None = None) -> ClipTurns:
    """60 modules in three folds, two of which test; or one normal and two anomalous machines by time."""
    labels = np.tile([0, 1, 2], N // 3)
    folds = np.arange(N) // 3 % 3
    names = tuple(f"m{number}" for number in range(N))
    images = rate_hz is None
    found = ConditionSet(
        samples=np.zeros((N, 2, 2), np.uint8) if images else np.zeros(N * 10, np.float32),
        starts=np.arange(N) if images else np.arange(N) * 10,
        names=names,
        assets=names if images else tuple(f"machine {label}" for label in labels),
        labels=labels,
        groups={},
        classes=("normal", "hot", "cold"),
        unit="1",
        rate_hz=rate_hz,
    )
    parts = np.stack([np.select([folds == turn, folds == turn + 1], [2, 1], 0) for turn in (0, 1)])
    clips = Clips(found, found.starts, np.arange(N), parts[0], 1 if images else 10, 1 if images else 10)
    return ClipTurns(clips, ("folds", "folds"), parts)


def said_of(turns: ClipTurns, skill: float, seed: int = 1) -> dict[int, np.ndarray]:
    """Scores of each turn, on scales that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    plain = (turns.clips.labels != NORMAL) * skill + rng.standard_normal(N)
    return {0: plain, 1: 1000 - 500 * np.exp(-plain)}


def test_scales_of_turns_do_not_matter() -> None:
    turns = turns_of()
    pooled, said = pool(turns, [0, 1], "test", 1.0), said_of(turns_of(), 1.5)
    found = judge(pooled, said, thresholds(turns, [0, 1], said, 0.2))
    by_turn = []
    n_anomalous = []
    for turn in (0, 1):
        own = turns.turn(turn).of("test")
        truth = turns.clips.labels[own] != NORMAL
        by_turn.append(roc_auc_score(truth, said[turn][own]))
        n_anomalous.append(truth.sum())
        row = found.groups["turn"][str(turn)]
        assert row.metrics["auc"] == pytest.approx(by_turn[-1], abs=1e-12)
    assert len(set(by_turn)) == 2
    same = judge(pooled, {0: said[0] * 7 + 3, 1: said[1]}, {0: 0.0, 1: 0.0})
    assert same.overall.metrics["auc"] == found.overall.metrics["auc"]
    # with as many normal clips in each turn, what is pooled is the mean over anomalous clips: no number is lost to ties
    assert n_anomalous[0] == n_anomalous[1]
    assert found.overall.metrics["auc"] == pytest.approx(np.mean(by_turn), abs=1e-12)


def test_alarms_follow_the_threshold_of_the_own_turn() -> None:
    turns = turns_of()
    pooled, said = pool(turns, [0, 1], "test", 1.0), said_of(turns, 1.5)
    limits = thresholds(turns, [0, 1], said, 0.2)
    found = judge(pooled, said, limits)
    alarms = np.concatenate([said[turn][turns.turn(turn).of("test")] > limits[turn] for turn in (0, 1)])
    normal = pooled.labels == NORMAL
    assert found.overall.metrics["false_alarm_rate"] == pytest.approx(alarms[normal].mean())
    assert found.overall.metrics["detection_rate"] == pytest.approx(alarms[~normal].mean())
    with pytest.raises(AnomalyScoreError, match="needs 999 normal validation clips"):
        thresholds(turns, [0], said, 0.001)


def test_a_placement_is_the_share_of_normal_clips_below() -> None:
    turns = turns_of()
    pooled = pool(turns, [0], "test", 1.0)
    scores = said_of(turns, 1.0)[0][pooled.numbers].round(0)
    normal = scores[pooled.labels == NORMAL]
    expected = [((normal < one).sum() + (normal == one).sum() / 2) / len(normal) for one in scores]
    np.testing.assert_allclose(placements(pooled, scores), expected, rtol=1e-12)
    assert auc_of(pooled.labels, scores) == pytest.approx(roc_auc_score(pooled.labels != NORMAL, scores), abs=1e-12)


def test_clips_of_one_machine_are_drawn_by_stretches_of_time() -> None:
    pooled = pool(turns_of(rate_hz=10.0), [0, 1], "test", 1.0)
    normal = pooled.labels == NORMAL
    assert all(unit.startswith("machine 0 ") for unit in pooled.units[normal])
    assert set(pooled.units[~normal]) == {"machine 1", "machine 2"}
    images = pool(turns_of(), [0], "test", 1.0)
    assert len(set(images.units)) == len(images.numbers)


def test_conditions_are_told_by_the_most_probable_one() -> None:
    turns = turns_of()
    pooled = pool(turns, [0, 1], "test", 1.0)
    right = np.eye(3)[turns.clips.labels]
    found = judge_conditions(pooled, {0: right, 1: np.roll(right, 1, axis=1)})
    own = np.bincount(pooled.turn_of)
    assert found.metrics["accuracy"] == pytest.approx(own[0] / own.sum())


def test_another_candidate_ships_only_where_it_is_surely_ahead() -> None:
    turns = turns_of()
    choosing = pool(turns, [0, 1], "validation", 1.0)
    config = AnomalyTrainConfig.model_validate(
        {"candidates": {name: {"network": SMALL} for name in ("small", "parity")}, "default": "small"}
    )
    blind, seeing = said_of(turns, 0.0), said_of(turns, 6.0, seed=2)
    assert choose(config, choosing, {"small": blind, "parity": seeing}, {"small": 0.5, "parity": 1.0})[0] == "parity"
    name, why = choose(config, choosing, {"small": seeing, "parity": blind}, {"small": 1.0, "parity": 0.5})
    assert (name, why) == ("small", "the default; no other candidate is surely ahead of it on the clips that choose")
    assert choose(config, choosing, {"small": blind, "parity": blind}, {"small": 0.5, "parity": 0.5})[0] == "small"


def test_a_comparison_is_that_of_both_areas_and_turns_round() -> None:
    turns = turns_of()
    pooled = pool(turns, [0], "test", 1.0)
    first, second = said_of(turns, 2.0), said_of(turns, 0.5, seed=3)
    truth = pooled.labels != NORMAL
    there = compare(pooled, first, second)["auc"]
    expected = roc_auc_score(truth, pooled.of(first)) - roc_auc_score(truth, pooled.of(second))
    assert there.value == pytest.approx(expected, abs=1e-12)
    back = compare(pooled, second, first)["auc"]
    assert back.value == pytest.approx(-there.value)
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
    assert there.interval[0] <= there.value <= there.interval[1]
