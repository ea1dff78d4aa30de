"""What is fitted does not hang on the last bit of a feature, and features are described as numpy computes them."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from foresense.models.mixed_rivals import FittedLinear, FittedTrees
from foresense.training.mixed_fitted import NOISE, REACH, _into_gaps, centre_thresholds, feature_config, steady
from foresense.training.mixed_rivals import rival_predictions
from foresense.training.mixed_rows import ClassRows
from tests.models.rival_worlds import features_of, schema_of, windows_of

ONE_UP = float(np.nextafter(np.float32(1), np.float32(2)))


def test_a_column_that_only_noise_moves_has_one_value_and_others_stay() -> None:
    nan = np.nan
    features = np.array([[1, nan, 5, 0, 2e6], [ONE_UP, nan, 6, 0, 2e6 + 8], [nan, nan, 5, 0, 2e6]])
    expected = features.copy()
    expected[0, 0] = ONE_UP
    np.testing.assert_array_equal(steady(features), expected)


def test_rivals_learn_nothing_from_the_last_bit() -> None:
    """A slope of "hours since" is 1; here its last bit says the class, and nothing else does."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 80).astype(np.float64)
    features = np.column_stack([np.where(target == 1, ONE_UP, 1.0), rng.normal(size=80)])
    train = ClassRows(features, target, 2)
    told = dataclasses.replace(
        train, features=np.column_stack([100 * (features[:, 0] - 1) / (ONE_UP - 1), features[:, 1]])
    )
    for name in ("logistic", "boosting"):
        right = [
            (rival_predictions(name, rows, [rows], seed=0).predictions[0].argmax(axis=1) == target).mean()
            for rows in (train, told)
        ]
        assert right[0] < 0.9 < right[1] == 1, name
    fitted: Any = rival_predictions("logistic", train, [], seed=0).fitted
    assert isinstance(fitted, FittedLinear)
    assert (fitted.weights[:, 0] == 0).all()
    trees: Any = rival_predictions("boosting", train, [], seed=0).fitted
    assert isinstance(trees, FittedTrees)
    assert (trees.feature[trees.left != np.arange(len(trees.left))] == 1).all()


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (1.0, 1.5),  # on a value: behind it
        (1.7, 1.5),  # in a gap: its middle
        (2.0, 2.5),
        (3.0, 2.5),  # within values that noise parts: the nearest gap
        (3.0 + 3e-6, 3.5 + 2e-6),
        (1e300, 1e300),  # measured on one side, missing on the other
        (4.0, 4.0),
        (0.5, 0.5),
    ],
)
def test_a_threshold_goes_into_the_nearest_gap(threshold: float, expected: float) -> None:
    known = np.array([1.0, 2.0, 3.0, 3.0 + 1e-6, 3.0 + 2e-6, 3.0 + 4e-6, 4.0])
    assert np.diff(known)[2:5].max() < NOISE * (3 + known.std())
    assert _into_gaps(np.array([threshold]), known)[0] == pytest.approx(expected, abs=3e-6)


def test_a_threshold_moves_no_further_than_it_may_where_noise_parts_everything() -> None:
    known = 1 + np.arange(100) * 1e-9
    moved = _into_gaps(known[[0, 50]], known)
    np.testing.assert_allclose(moved, [known[:2].mean(), known[50:52].mean()], rtol=1e-12)
    far = np.concatenate([known, [2.0]])
    assert _into_gaps(far[[50]], far)[0] == pytest.approx(far[50:52].mean(), rel=1e-12)
    assert _into_gaps(far[[99 - REACH]], far)[0] == pytest.approx(1.5)


def test_centred_trees_do_not_change_with_the_last_bits_of_their_features() -> None:
    """800 values of 100 levels, each a little above or below: without the move, rows change their leaf."""
    rng = np.random.default_rng(1)
    levels = rng.integers(0, 100, (800, 1)).astype(np.float64) + 50
    features, again = (levels * (1 + rng.uniform(-2e-7, 2e-7, levels.shape)) for _ in range(2))
    model = HistGradientBoostingRegressor(max_iter=5).fit(features, levels[:, 0] % 7)
    assert (model.predict(features) != model.predict(again)).any()
    centre_thresholds(model, features)
    np.testing.assert_array_equal(model.predict(features), model.predict(again))


@pytest.mark.parametrize("family", ["summary", "lagged"])
def test_features_are_counted_as_numpy_computes_them(family: str) -> None:
    windows = windows_of(schema_of(3, (1, 5), 2, 3), 2)
    config = feature_config(windows.schema, family=family, n_steps=168, has_clock=True)
    assert config.n_features == features_of(windows, family).values.shape[1]
    assert config.n_static_numeric == 6


def test_windows_that_the_lags_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="look beyond windows of 100 steps"):
        feature_config(schema_of(), family="lagged", n_steps=100, has_clock=True)
    daily = dataclasses.replace(schema_of(), interval_s=7200.0)
    with pytest.raises(ValueError, match="lags"):
        feature_config(daily, family="lagged", n_steps=168, has_clock=True)
