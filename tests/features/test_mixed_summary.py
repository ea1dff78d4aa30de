"""Summaries and lagged values of mixed windows against closed forms, pandas and laws."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.features import mixed_summary
from foresense.features.mixed_summary import MixedFeatures, MixedWindows, lagged_features, summary_features
from foresense.signals import SignalError
from foresense.signals.mixed import CategoricalChannel, NumericChannel
from foresense.signals.mixed_schema import MixedSchema

SCHEMA = MixedSchema(
    numeric=(NumericChannel("HR", "1/min"), NumericChannel("Temp", "Cel")),
    categorical=(CategoricalChannel("wd", ("E", "N", "W")),),
    static_numeric=(NumericChannel("Age", "a"),),
    static_categorical=(CategoricalChannel("unit", ("A", "B")),),
    means=(0.0, 0.0),
    deviations=(1.0, 1.0),
    static_means=(0.0,),
    static_deviations=(1.0,),
    constant=(),
    unmeasured=(),
    interval_s=3600.0,
)


def world(n: int = 12, n_steps: int = 9, *, seed: int = 0, lengths: bool = True) -> MixedWindows:
    rng = np.random.default_rng(seed)
    numbers = rng.normal(80, 20, (n, 2, n_steps)).astype(np.float32)
    numbers[rng.random(numbers.shape) < 0.5] = np.nan
    return MixedWindows(
        schema=SCHEMA,
        numbers=numbers,
        categories=rng.integers(0, 5, (n, 1, n_steps)),
        static_numbers=np.where(rng.random((n, 1)) < 0.3, np.nan, 60.0),
        static_categories=rng.integers(0, 4, (n, 1)),
        lengths=rng.integers(1, n_steps + 1, n) if lengths else None,
    )


def clock(n: int) -> dict[str, np.ndarray]:
    return {"hour": np.arange(n) % 24, "month": np.arange(n) % 12 + 1}


def column(found: MixedFeatures, name: str) -> np.ndarray:
    return found.values[:, found.names.index(name)]


def lagged(windows: MixedWindows) -> MixedFeatures:
    return lagged_features(windows, **clock(len(windows.numbers)), lags_h=(0, 2), means_h=(3, 5))


def one(values: list[float], codes: list[int]) -> MixedWindows:
    return MixedWindows(
        SCHEMA,
        np.array([[values, [np.nan] * len(values)]]),
        np.array([[codes]]),
        np.array([[61.0]]),
        np.array([[3]]),
    )


def test_a_line_with_holes_has_its_closed_form() -> None:
    found = summary_features(one([np.nan, 5.0, np.inf, 9.0, 11.0, np.nan], [0, 2, 1, 2, 0, 0]))
    row = dict(zip(found.names, found.values[0], strict=True))
    units = dict(zip(found.names, found.units, strict=True))
    expected = {"first": 5, "last": 11, "hours_since_last": 1, "mean": 25 / 3, "min": 5, "max": 11, "slope": 2}
    expected |= {"deviation": np.sqrt(56 / 9), "count": 3, "share_missing": 0.5}
    for name, value in expected.items():
        assert row[f"HR__{name}"] == pytest.approx(value), name
        nothing = {"count": 0, "share_missing": 1}.get(name, np.nan)
        np.testing.assert_equal(row[f"Temp__{name}"], nothing)
    assert (units["HR__slope"], units["HR__last"], units["HR__hours_since_last"]) == ("1/min/h", "1/min", "h")
    shares = {"<missing>": 3 / 6, "<unseen>": 1 / 6, "E": 2 / 6, "N": 0, "W": 0}
    for value, share in shares.items():
        assert row[f"wd={value}__share"] == pytest.approx(share)
        assert row[f"wd={value}__last"] == (value == "E")
    assert row["Age"] == 61
    assert units["Age"] == "a"
    assert [row[f"unit={value}"] for value in ("<missing>", "<unseen>", "A", "B")] == [0, 0, 0, 1]
    assert len(found.names) == len(found.units) == found.values.shape[1] == 2 * 10 + 5 + 5 + 1 + 4


def test_one_measured_step_has_no_slope_and_an_unmeasured_category_is_missing() -> None:
    found = summary_features(one([np.nan, 5.0], [0, 0]))
    assert np.isnan(column(found, "HR__slope")).all()
    assert column(found, "HR__deviation") == 0
    assert column(found, "wd=<missing>__last") == 1


def test_summaries_are_those_of_pandas_and_numpy() -> None:
    windows = world(30)
    found = summary_features(windows)
    for at, name in enumerate(("HR", "Temp")):
        for row, length in enumerate(windows.lengths):
            course = pd.Series(windows.numbers[row, at, :length].astype(np.float64))
            known = course.dropna()
            expected = {
                "mean": course.mean(),
                "deviation": course.std(ddof=0),
                "min": course.min(),
                "max": course.max(),
                "first": known.iloc[0] if len(known) else np.nan,
                "last": known.iloc[-1] if len(known) else np.nan,
                "hours_since_last": length - 1 - known.index[-1] if len(known) else np.nan,
                "slope": np.polyfit(known.index, known, 1)[0] if len(known) > 1 else np.nan,
                "count": course.count(),
                "share_missing": course.isna().mean(),
            }
            for statistic, value in expected.items():
                np.testing.assert_allclose(column(found, f"{name}__{statistic}")[row], value, rtol=1e-7, atol=1e-9)
    for row, length in enumerate(windows.lengths):
        counts = pd.Series(windows.categories[row, 0, :length]).value_counts(normalize=True)
        shares = [column(found, f"wd={value}__share")[row] for value in ("<missing>", "<unseen>", "E", "N", "W")]
        np.testing.assert_allclose(shares, counts.reindex(range(5), fill_value=0))


def test_lags_and_means_are_pandas_shift_and_rolling() -> None:
    windows = world(20, lengths=False)
    found = lagged(windows)
    for at, name in enumerate(("HR", "Temp")):
        for row in range(20):
            course = pd.Series(windows.numbers[row, at].astype(np.float64))
            for lag in (0, 2):
                np.testing.assert_equal(column(found, f"{name}__lag_{lag}h")[row], course.shift(lag).iloc[-1])
            for span in (3, 5):
                expected = course.rolling(span, min_periods=1).mean().iloc[-1]
                np.testing.assert_allclose(column(found, f"{name}__mean_{span}h")[row], expected, rtol=1e-9)


def test_the_clock_turns_once_a_day_and_once_a_year() -> None:
    windows = world(4, lengths=False)
    hour, month = np.array([0, 6, 12, 18]), np.array([1, 4, 7, 10])
    found = lagged_features(windows, hour=hour, month=month, channels=("Temp",), lags_h=(1,), means_h=())
    for name in ("hour", "month"):
        np.testing.assert_allclose(column(found, f"{name}_sin"), [0, 1, 0, -1], atol=1e-12)
        np.testing.assert_allclose(column(found, f"{name}_cos"), [1, 0, -1, 0], atol=1e-12)
    assert found.names[:1] == ("Temp__lag_1h",)
    assert not any(name.startswith("HR") for name in found.names)


def test_the_default_lags_fit_a_week() -> None:
    windows = world(3, 168, lengths=False)
    found = lagged_features(windows, **clock(3))
    np.testing.assert_equal(column(found, "HR__lag_167h"), windows.numbers[:, 0, 0].astype(np.float64))
    np.testing.assert_allclose(column(found, "Temp__mean_168h"), np.nanmean(windows.numbers[:, 1], axis=1), rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), n_steps=st.integers(5, 9))
def test_permuting_windows_permutes_rows_and_chunks_do_not_matter(seed: int, n: int, n_steps: int) -> None:
    order = np.random.default_rng(seed).permutation(n)
    for features, has_lengths in ((summary_features, True), (lagged, False)):
        windows = world(n, n_steps, seed=seed, lengths=has_lengths)
        turned = MixedWindows(
            SCHEMA,
            windows.numbers[order],
            windows.categories[order],
            windows.static_numbers[order],
            windows.static_categories[order],
            windows.lengths[order] if has_lengths else None,
        )
        mine, theirs = features(windows), features(turned)
        is_clock = np.array([name.startswith(("hour", "month")) for name in mine.names])
        np.testing.assert_array_equal(mine.values[order][:, ~is_clock], theirs.values[:, ~is_clock])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mixed_summary, "_CHUNK_VALUES", 2 * 2 * n_steps)  # two windows at a time
            np.testing.assert_array_equal(features(windows).values, mine.values)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), junk=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_not_measured_does_not_matter(seed: int, junk: float) -> None:
    """NaN or infinite is the same; padding may hold anything."""
    windows = world(seed=seed)
    padding = np.arange(9) >= windows.lengths[:, None]
    numbers = np.where(np.isnan(windows.numbers), junk, windows.numbers)
    numbers = np.where(padding[:, None], 1e6, numbers)
    changed = dataclasses.replace(
        windows, numbers=numbers, categories=np.where(padding[:, None], 3, windows.categories)
    )
    np.testing.assert_array_equal(summary_features(windows).values, summary_features(changed).values)
    full = dataclasses.replace(windows, lengths=None)
    holes = dataclasses.replace(full, numbers=np.where(np.isnan(full.numbers), junk, full.numbers))
    np.testing.assert_array_equal(lagged(full).values, lagged(holes).values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numbers": np.zeros((12, 3, 9))}, r"'numbers': \(12, 3, 9\).*expected"),
        ({"static_numbers": np.zeros((12, 0))}, r"'static_numbers': \(12, 0\)"),
        ({"categories": np.full((12, 1, 9), 5)}, r"'wd' has codes 5 to 5, expected 0 to 4 \(3 values\)"),
        ({"static_categories": np.full((12, 1), -1)}, "'unit' has codes -1 to -1"),
        ({"lengths": np.zeros(12, int)}, r"lengths: expected \(12,\) of 1\.\.9"),
    ],
)
def test_windows_that_do_not_fit_the_schema_are_refused(changes, message) -> None:
    with pytest.raises(SignalError, match=message):
        dataclasses.replace(world(), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lags_h": (9,)}, "lag 9 h is 9 steps of 1 h; expected a whole number of 0 to 8"),
        ({"lags_h": (0.5,)}, r"lag 0\.5 h is 0\.5 steps"),
        ({"means_h": (10,)}, "mean over 10 h is 10 steps"),
        ({"means_h": (0,)}, "a mean over no step"),
        ({"channels": ("SpO2",)}, r"no channel 'SpO2'; known: \['HR', 'Temp'\]"),
        ({"hour": np.full(12, 24)}, "local hours 0 to below 24"),
        ({"month": np.full(12, np.nan)}, "months 1..12; found others, or NaN"),
        ({"month": np.ones(3)}, r"one a window, found \(12,\) and \(3,\)"),
    ],
)
def test_lags_that_cannot_be_are_refused(changes, message) -> None:
    arguments = clock(12) | {"lags_h": (0,), "means_h": (1,)} | changes
    with pytest.raises(SignalError, match=message):
        lagged_features(world(lengths=False), **arguments)


def test_padding_has_no_newest_step() -> None:
    with pytest.raises(SignalError, match="windows have padding; expected windows of one length"):
        lagged(world())
