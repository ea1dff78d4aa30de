"""Features in the graph against the numpy functions, which have tests of their own."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foresense.features.mixed_summary import MixedWindows, lagged_features, summary_features
from foresense.models.mixed_features import MixedFeatureConfig, WindowFeatures
from tests.models.rival_worlds import clock_of, config_of, features_of, inputs_of, schema_of, windows_of

SHAPES = [
    {},
    {"n_numeric": 0},
    {"vocabularies": (), "kinds": 0},
    {"vocabularies": (1, 4), "n_static": 0},
    {"n_numeric": 4, "vocabularies": (), "n_static": 0, "kinds": 0},
]


def require_close(found: torch.Tensor, expected: np.ndarray, windows: MixedWindows) -> None:
    """Float32 keeps 24 bits of the largest value of a window; sums of up to 168 of them lose four or five."""
    assert found.dtype == torch.float32
    values = np.where(np.isfinite(windows.numbers), np.abs(windows.numbers), 0.0)
    largest = values.max(axis=(1, 2), initial=1.0)[:, None]
    theirs = np.where(np.isnan(expected), 0.0, expected)
    np.testing.assert_array_equal(np.isnan(found.numpy()), np.isnan(expected))
    errors = np.abs(np.nan_to_num(found.numpy().astype(np.float64)) - theirs)
    assert (errors <= 2e-6 * largest).all(), errors.max()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("family", ["summary", "lagged"])
def test_every_column_is_that_of_the_numpy_function(family: str, shape: dict[str, Any]) -> None:
    windows = windows_of(schema_of(**shape), 40)
    model = WindowFeatures(config_of(windows.schema, family))
    expected = features_of(windows, family)
    found = model(**inputs_of(windows, has_clock=family == "lagged"))
    assert found.shape == expected.values.shape == (40, model.config.n_features)
    require_close(found, expected.values, windows)


@given(data=st.data(), n_steps=st.integers(1, 12), n_numeric=st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_windows_of_any_numbers_and_holes(data: st.DataObject, n_steps: int, n_numeric: int) -> None:
    schema = schema_of(n_numeric, (2,))
    value = st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 0.1, 1013.25])
    numbers = data.draw(hnp.arrays(np.float32, (3, n_numeric, n_steps), elements=value))
    codes = data.draw(hnp.arrays(np.int64, (3, 1, n_steps), elements=st.integers(0, 3)))
    statics = data.draw(hnp.arrays(np.float32, (3, 1), elements=value))
    windows = MixedWindows(schema, numbers, codes, statics, np.array([[0], [1], [3]]))
    summary = WindowFeatures(config_of(schema, "summary", n_steps))
    require_close(summary(**inputs_of(windows, has_clock=False)), summary_features(windows).values, windows)
    lags, means = tuple(range(n_steps)), tuple(sorted({1, n_steps}))
    plan = {"family": "lagged", "has_clock": True, "n_static_numeric": 5, "lags": lags, "means": means}
    lagged = WindowFeatures(summary.config.model_copy(update=plan))
    expected = lagged_features(windows, **clock_of(3), lags_h=lags, means_h=means)
    require_close(lagged(**inputs_of(windows, has_clock=True)), expected.values, windows)


@given(value=st.floats(-1e6, 1e6, width=32), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_what_never_changes_has_no_deviation_and_its_own_mean(value: float, seed: int) -> None:
    windows = windows_of(schema_of(1, (), 0, 0), 8, 30, seed=seed)
    numbers = torch.where(torch.from_numpy(windows.numbers).isfinite(), torch.tensor(value), float("nan"))
    found = WindowFeatures(config_of(windows.schema, "summary", 30))(numbers)
    some = numbers.isfinite().any(dim=(1, 2))
    names = ("first", "last", "since", "mean", "deviation", "min", "max", "slope")
    statistics = dict(zip(names, found[some].T, strict=False))
    assert (statistics["deviation"] == 0).all()
    assert ((statistics["slope"] == 0) | statistics["slope"].isnan()).all()
    for name in ("first", "last", "mean", "min", "max"):
        assert (statistics[name] == torch.tensor(value)).all(), name


def test_codes_that_no_channel_has_are_out_of_vocabulary_as_in_the_network() -> None:
    windows = windows_of(schema_of(), 4)
    model, inputs = WindowFeatures(config_of(windows.schema, "summary")), inputs_of(windows, has_clock=False)
    unseen, strange = (
        {
            **inputs,
            "categories": torch.full_like(inputs["categories"], code),
            "static_categories": torch.tensor([[kind]] * 4),
        }
        for code, kind in ((1, 1), (77, -3))
    )
    torch.testing.assert_close(model(**strange), model(**unseen), rtol=0, atol=0, equal_nan=True)


def test_what_float32_cannot_hold_counts_as_not_measured() -> None:
    config = MixedFeatureConfig(family="summary", n_numeric=1, n_steps=2)
    first, last, *_, mean, deviation = WindowFeatures(config)(torch.tensor([[[-3e38, 3e38]]]))[0, [0, 1, 3, 4]]
    assert (float(first), float(last)) == (np.float32(-3e38), np.float32(3e38))
    assert mean.isnan()
    assert deviation.isnan()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numbers": None}, r"numbers are missing: expected \(n, 2, 168\); give full windows"),
        ({"numbers": torch.zeros(4, 2, 167)}, r"numbers: expected \(n, 2, 168\), found \(4, 2, 167\)"),
        ({"static_categories": torch.zeros(4, 0)}, r"static_categories: expected \(n, 1\), found \(4, 0\)"),
        ({"static_numbers": torch.zeros(3, 5)}, r"as many windows in all of them, found \[3, 4\]"),
    ],
)
def test_other_inputs_are_refused(changes: dict[str, Any], message: str) -> None:
    windows = windows_of(schema_of(), 4)
    model = WindowFeatures(config_of(windows.schema, "lagged"))
    with pytest.raises(ValueError, match=message):
        model(**{**inputs_of(windows, has_clock=True), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"has_clock": True, "n_static_numeric": 3}, "n_static_numeric 3: the clock alone is 4"),
        ({"family": "lagged"}, "family lagged looks at the clock: set has_clock"),
        ({"lags": (3, 9)}, r"lags \(3, 9\) and means \(\) look beyond windows of 9 steps"),
        ({"means": (10,)}, r"means \(10,\) look beyond windows of 9 steps"),
        ({"n_numeric": 0}, "no channel that changes in time; give n_numeric or cardinalities"),
    ],
)
def test_features_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixedFeatureConfig.model_validate({"family": "summary", "n_numeric": 1, "n_steps": 9, **changes})
