import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

from foresense.config.actigraphy_service import WeekPreparationConfig
from foresense.evaluate.actigraphy import METRICS
from foresense.service import ActigraphyParts, ActigraphyService, KnownAnswer
from foresense.service.weeks import prepare_week, week_preparation
from foresense.signals import Recording, SignalError
from foresense.windows.minute_scaler import MinuteScaler, fit_minute_scaler

MONDAY = "2004-05-03T00:00:00"


def wave(start: str = MONDAY, zone: str = "Europe/Oslo", unit: str = "counts", noise: float = 0.0) -> Recording:
    """A cosine of 24 h with its minimum at local midnight of the first day, at the middle of each minute."""
    samples = 200 * (1 - np.cos(2 * np.pi * (np.arange(10_080) + 0.5) / 1440))
    samples = samples + noise * np.random.default_rng(5).random(10_080)
    return Recording(
        asset="ada",
        samples=samples[:, None],
        channels=("activity",),
        units=(unit,),
        interval_s=60.0,
        start=pd.Timestamp(start, tz=zone),
        time_zone=zone,
    )


@pytest.fixture(scope="module")
def training_weeks() -> np.ndarray:
    return np.random.default_rng(0).gamma(2.0, 100.0, (6, 10_080))


@pytest.fixture(scope="module")
def scaler(training_weeks: np.ndarray) -> MinuteScaler:
    owners = np.arange(6)
    return fit_minute_scaler(training_weeks, np.zeros(6, np.int64), owners, unit="counts", device="a counter")


def prepared(recording: Recording, scaler: MinuteScaler | None = None, **settings: Any) -> Any:
    return prepare_week(recording, scaler=scaler, config=WeekPreparationConfig.model_validate(settings))


def test_metrics_of_a_cosine_are_its_closed_form() -> None:
    metrics = prepared(wave()).metrics
    assert metrics["circadian_rhythm_strength"].value == pytest.approx(1.0, abs=1e-12)
    # n = 168 hourly means; the difference over midnight, which the first and last hour do not have, is 0
    expected = 2 * (1 - np.cos(2 * np.pi / 24)) * 168 / 167
    assert metrics["activity_fragmentation"].value == pytest.approx(expected, abs=1e-12)
    assert metrics["acrophase"].value == pytest.approx(12.0, abs=0.01)
    assert 0 < metrics["sleep_efficiency"].value <= 100
    assert set(metrics) == {
        *METRICS,
        "circadian_rhythm_strength",
        "activity_fragmentation",
        "rest_activity_ratio",
    }


@pytest.mark.parametrize(("start", "turned"), [(MONDAY, 0), ("2004-05-06T00:00:00", 3)])
def test_the_reference_is_that_of_the_minute_of_the_week(
    training_weeks: np.ndarray, scaler: MinuteScaler, start: str, turned: int
) -> None:
    week = prepared(wave(start), scaler)
    monday_first = np.roll(wave(start).samples[:, 0], turned * 1440)
    independent = StandardScaler().fit(training_weeks).transform(monday_first[None])[0]
    assert week.is_referenced
    assert week.n_filled == 0
    # float32 of values up to 30
    np.testing.assert_allclose(np.roll(week.values, turned * 1440), independent, atol=2e-6)


@pytest.mark.parametrize("unit", ["mims", "enmo", "unknown"])
def test_a_reference_of_another_unit_is_not_used(scaler: MinuteScaler, unit: str) -> None:
    week = prepared(wave(unit=unit), scaler, share_asleep=0.3)
    assert not week.is_referenced
    assert week.values.mean() == pytest.approx(0.0, abs=1e-6)
    assert week.values.std() == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(SignalError, match=r"recording 'ada': .*counts"):
        prepared(wave(unit=unit), scaler)


def test_a_few_missing_minutes_are_filled_from_the_other_days_and_told() -> None:
    holed = wave()
    holed.samples[1440 + 600 : 1440 + 640] = np.nan
    week, whole = prepared(holed), prepared(wave())
    assert week.n_filled == 40
    np.testing.assert_allclose(week.values, whole.values, atol=1e-6)  # every day of the wave is the same


@pytest.mark.parametrize("start", ["2004-03-22T00:00:00", "2004-10-25T00:00:00"])
def test_a_week_with_a_clock_change_is_seven_days_of_the_clock(start: str) -> None:
    """Sunday 28 March 2004 had 23 hours, Sunday 31 October 25."""
    week = prepared(wave(start))
    assert week.n_filled == 60
    assert week.values.shape == (10_080,)


def refused(change: Callable[[Recording], Recording]) -> str:
    with pytest.raises(SignalError) as caught:
        prepared(change(wave()))
    return str(caught.value)


def with_samples(change: Callable[[np.ndarray], Any]) -> Callable[[Recording], Recording]:
    def changed(recording: Recording) -> Recording:
        samples = recording.samples.copy()
        found = change(samples)
        return replace(recording, samples=samples if found is None else found)

    return changed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (with_samples(lambda samples: samples[:-1]), "expected 10080 numbers, one for each minute of a week, found"),
        (
            with_samples(lambda samples: samples.__setitem__(9, -1.0)),
            "1 value(s) are below zero, the first at minute 9",
        ),
        (with_samples(lambda samples: samples.fill(3.0)), "activity is 3 throughout"),
        (with_samples(lambda samples: samples[: 5 * 1440].fill(0.0)), "worn on 2 day(s) for at least 10 h"),
        (with_samples(lambda samples: samples[3000:3061].fill(np.nan)), "61 minutes are missing, at most 60 can be"),
        (with_samples(lambda samples: samples[:61].fill(np.nan)), "more than 60 minutes of day 1 are missing"),
        (lambda recording: replace(recording, interval_s=30.0), "epochs are 30 s long, expected 60 s"),
        (
            lambda recording: replace(recording, units=("g",)),
            "unit is 'g', expected one of counts, mims, enmo, unknown",
        ),
        (lambda recording: replace(recording, time_zone="Oslo"), "'Oslo' is no time zone"),
        (
            lambda recording: replace(recording, start=recording.start + pd.Timedelta(minutes=30)),
            "the week begins at 00:30:00 local time (Europe/Oslo), expected midnight",
        ),
    ],
)
def test_a_recording_that_is_not_a_week_is_refused_with_the_reason(
    change: Callable[[Recording], Recording], told: str
) -> None:
    message = refused(change)
    assert message.startswith("recording 'ada': this week cannot be used: ")
    assert told in message


def test_two_channels_are_no_week() -> None:
    recording = wave()
    two = replace(
        recording, samples=np.repeat(recording.samples, 2, axis=1), channels=("x", "y"), units=("counts", "counts")
    )
    assert "found shape (10080, 2)" in refused(lambda _: two)


def test_a_service_answers_with_it(tmp_path: Path, scaler: MinuteScaler, run: Callable[..., Any]) -> None:
    scaler.save(tmp_path / "scaler.safetensors")
    prepare = week_preparation(tmp_path / "scaler.safetensors", {"wear": {"min_valid_days": 7}})
    known = prepare(wave())

    def encode(weeks: np.ndarray) -> np.ndarray:
        return weeks[:, :96]

    parts = ActigraphyParts(encode, prepare, KnownAnswer(wave(), known.values[:96], tolerance=0.0))
    recordings = [replace(wave(noise=noise), asset=f"person {noise:g}") for noise in (1.0, 2.0, 3.0)]
    lazy = with_samples(lambda samples: samples[:1440].fill(0.0))(wave())

    async def ask() -> list[Any]:
        async with ActigraphyService(lambda: parts, rss_mib=lambda: 0.0) as service:
            asked = (service.analyse(one) for one in (*recordings, lazy))
            return await asyncio.gather(*asked, return_exceptions=True)

    *answers, wrong = run(ask())
    for recording, answer in zip(recordings, answers, strict=True):
        alone = prepare(recording)
        assert answer.features["raw_features"] == alone.values[:96].tolist()
        assert answer.features["activity_fragmentation"] == alone.metrics["intradaily_variability"].value
        assert answer.week.is_referenced
    assert isinstance(wrong, SignalError)
    assert "worn on 6 day(s)" in str(wrong)
