"""Two classes are ranked within a turn: what a turn's network calls likely is not on the scale of another one's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from foresense.evaluate.binary import judge_binary
from foresense.steps.mixed_scores import Judge, MixedScores, Said, metrics_of, ranks_in_turns


class Recordings:
    """As much of `MixedData` as a judge of two classes looks at."""

    is_over_time = False

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes

    def truth(self, rows: np.ndarray, predicts: str) -> np.ndarray:
        return self.classes[rows]


def turns(seed: int, n_turns: int) -> tuple[np.ndarray, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Classes, rows of each turn, and probabilities of both classes."""
    rng = np.random.default_rng(seed)
    classes = np.tile([0, 0, 0, 1], 10 * n_turns)
    rows = tuple(np.split(np.arange(len(classes)), n_turns))
    scores = [np.clip(0.4 * classes[one] + rng.random(len(one)) * 0.6, 0, 1) for one in rows]
    return classes, rows, tuple(np.stack([1 - one, one], axis=1) for one in scores)


def judged(classes: np.ndarray, rows: tuple[np.ndarray, ...], test: tuple[np.ndarray, ...]) -> MixedScores:
    judge = Judge("binary", Recordings(classes), rows, block_weeks=1)  # type: ignore[arg-type]
    return judge.scores(Said((), test, (), (0.5,) * len(rows)), by_group=False)


@given(seed=st.integers(0, 1000), n_turns=st.integers(1, 4), data=st.data())
@settings(max_examples=25, deadline=None)
def test_another_scale_in_each_turn_changes_no_ranking_and_no_interval_of_it(seed: int, n_turns: int, data) -> None:
    classes, rows, test = turns(seed, n_turns)
    powers = data.draw(st.lists(st.sampled_from([0.25, 1.0, 3.0]), min_size=n_turns, max_size=n_turns))
    bent = tuple(
        np.stack([1 - one[:, 1] ** power, one[:, 1] ** power], axis=1) for one, power in zip(test, powers, strict=True)
    )
    first, second = judged(classes, rows, test), judged(classes, rows, bent)
    for name in ("auroc", "auprc"):
        assert second.metrics[name] == pytest.approx(first.metrics[name], abs=1e-12)
        assert second.intervals[name] == pytest.approx(first.intervals[name], abs=1e-12)


def test_one_turn_has_the_auroc_of_scikit_learn_and_its_probabilities_stay_probabilities() -> None:
    classes, rows, test = turns(3, 1)
    found = judged(classes, rows, test)
    assert found.metrics["auroc"] == pytest.approx(roc_auc_score(classes, test[0][:, 1]), abs=1e-12)
    plain = judge_binary(classes, test[0][:, 1], threshold=0.5, rng=np.random.default_rng(0)).metrics
    for name in ("brier", "log_loss", "sensitivity", "specificity", "f1"):
        assert found.metrics[name] == plain[name]
    assert metrics_of("binary", classes, test[0])["auroc"] == found.metrics["auroc"]


def test_a_score_that_is_constant_within_each_turn_has_no_skill() -> None:
    classes, rows, _ = turns(3, 3)
    test = tuple(np.tile([1 - share, share], (len(one), 1)) for one, share in zip(rows, (0.2, 0.3, 0.1), strict=True))
    assert judged(classes, rows, test).metrics["auroc"] == 0.5
    assert len(np.unique(ranks_in_turns(test))) == 1
