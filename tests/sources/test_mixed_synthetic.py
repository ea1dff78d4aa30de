"""Simulated mixed recordings: sizes, holes, and a rule that can be learnt when it is on, and only then."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from foresense.config.mixed import (
    AirQualityIngestConfig,
    MixedIngestConfig,
    MixedSchemaConfig,
    MixedSyntheticIngestConfig,
)
from foresense.signals.mixed import MixedSet
from foresense.sources import Places, SourceError
from foresense.sources.mixed import FoundMixed, load_mixed
from foresense.sources.mixed_synthetic import course_of, status_of

HERE = Path()


def simulate(**asked: object) -> FoundMixed:
    config = MixedSyntheticIngestConfig.model_validate({"source": "mixed_synthetic", **asked})
    return load_mixed("mixed_synthetic")(config, Places(HERE, HERE, HERE))


def stacked(found: MixedSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers (n, n_steps, n_numeric), values (n, n_steps, n_categorical) and outcomes (n,)."""
    numbers = np.stack([one.numeric for one in found.recordings])
    values = np.stack([one.categories for one in found.recordings]) - 2
    return numbers, values, np.array([one.outcomes[0] for one in found.recordings])


def test_the_sizes_are_those_that_were_asked_for() -> None:
    whole = simulate().recordings
    numbers, values, outcomes = stacked(whole)
    assert (numbers.shape, values.shape) == ((1000, 64, 4), (1000, 64, 2))
    assert (values.min(), values.max()) == (0, 4)
    assert whole.categorical[0].values == ("0", "1", "2", "3", "4")
    assert np.bincount(outcomes.astype(int)).tolist() == [334, 333, 333]
    assert np.isfinite(numbers).all()


def test_a_simulation_is_a_function_of_its_settings() -> None:
    one, same, other = simulate(), simulate(), simulate(seed=1)
    assert one.sha256 == same.sha256 != other.sha256
    for mine, theirs, another in zip(*(stacked(found.recordings) for found in (one, same, other)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
        assert not np.array_equal(mine, another)


def accuracy(statistics: np.ndarray, outcomes: np.ndarray) -> float:
    return float(cross_val_score(KNeighborsClassifier(25), statistics, outcomes, cv=5).mean())


@pytest.mark.parametrize(("rule", "n_classes", "alone"), [("sum", 3, 0.65), ("product", 2, 0.56)])
def test_the_rule_needs_the_course_and_the_category(rule: str, n_classes: int, alone: float) -> None:
    numbers, values, outcomes = stacked(simulate(rule=rule, n_classes=n_classes).recordings)
    statistics = np.stack([course_of(numbers), status_of(values)], axis=1)
    assert accuracy(statistics, outcomes) > 0.85
    assert accuracy(statistics[:, :1], outcomes) < alone
    assert accuracy(statistics[:, 1:], outcomes) < alone


def test_without_a_rule_nothing_beats_chance() -> None:
    numbers, values, outcomes = stacked(simulate(rule="none").recordings)
    statistics = np.stack([course_of(numbers), status_of(values)], axis=1)
    assert sorted(outcomes) == sorted(stacked(simulate().recordings)[2])
    # one third, and a deviation of 0.015 of 1000 draws
    assert accuracy(statistics, outcomes) == pytest.approx(1 / 3, abs=0.06)
    plain = np.concatenate([numbers.mean(axis=1), numbers.std(axis=1), values.mean(axis=1)], axis=1)
    boosted = cross_val_score(HistGradientBoostingClassifier(max_iter=20), plain, outcomes, cv=3).mean()
    assert boosted == pytest.approx(1 / 3, abs=0.06)


def test_the_statistic_explains_a_target() -> None:
    whole = simulate(task="regression", noise=0.5).recordings
    assert whole.outcomes[0].name == "target"
    numbers, values, outcomes = stacked(whole)
    statistics = np.stack([course_of(numbers), status_of(values)], axis=1)
    explained = LinearRegression().fit(statistics, outcomes).score(statistics, outcomes)
    assert explained == pytest.approx(1 / 1.25, abs=0.04)  # score has variance 1, noise 0.25
    slopes = np.polyfit(np.arange(64), numbers[:, :, 0].T.astype(float), 1)[0]
    np.testing.assert_allclose(course_of(numbers), (slopes - slopes.mean()) / slopes.std(), atol=1e-5)


def test_holes_take_the_asked_share_and_leave_the_outcome() -> None:
    holes = [{"kind": "random", "share": 0.1}, {"kind": "block", "share": 0.2}, {"kind": "channel", "share": 0.25}]
    full, _, labels = stacked(simulate().recordings)
    numbers, _, outcomes = stacked(simulate(holes=holes).recordings)
    np.testing.assert_array_equal(outcomes, labels)
    there = ~np.isnan(numbers)
    np.testing.assert_array_equal(numbers[there], full[there])
    whole_channels = ~there.any(axis=1)
    assert whole_channels.sum() == 1000
    n_left = 1000 * 4 * 64 * 0.9 * 0.8  # exact before whole channels go; those are drawn from courses of equal means
    assert there.sum() == pytest.approx(0.75 * n_left, rel=0.01)
    alone, *_ = stacked(simulate(holes=holes[:2]).recordings)
    assert (~np.isnan(alone)).sum() == round(n_left)


def test_some_recordings_have_no_outcome() -> None:
    *_, outcomes = stacked(simulate(unlabelled=0.25).recordings)
    *_, labels = stacked(simulate().recordings)
    assert np.isnan(outcomes).sum() == 250
    np.testing.assert_array_equal(outcomes[~np.isnan(outcomes)], labels[~np.isnan(outcomes)])


@pytest.mark.parametrize("absent", ["n_numeric", "n_categorical"])
def test_one_kind_of_channels_is_enough_for_a_sum(absent: str) -> None:
    numbers, values, outcomes = stacked(simulate(n_recordings=300, noise=0, **{absent: 0}).recordings)
    statistic = course_of(numbers) + status_of(values)
    assert (np.diff(outcomes[np.argsort(statistic)]) >= 0).all()
    with pytest.raises(ValidationError, match="'product' needs both kinds"):
        simulate(rule="product", **{absent: 0})
    with pytest.raises(ValidationError, match="rule 'sum' with 0 numeric and 0 categorical channels"):
        simulate(n_numeric=0, n_categorical=0)


def test_a_section_is_told_apart_by_its_source() -> None:
    adapter = TypeAdapter(MixedIngestConfig)
    assert isinstance(adapter.validate_python({"source": "air_quality"}), AirQualityIngestConfig)
    with pytest.raises(ValidationError, match="Input tag 'air' found using 'source' does not match any"):
        adapter.validate_python({"source": "air"})
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        adapter.validate_python({"source": "air_quality", "n_steps": 3})
    assert MixedSchemaConfig().numeric is None


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(SourceError, match="no source 'air_qualty' of mixed recordings; did you mean 'air_quality'"):
        load_mixed("air_qualty")
