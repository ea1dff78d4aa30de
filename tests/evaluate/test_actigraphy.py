"""All clinical metrics together: real people against the formulas written out with pandas, and people made by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foresense.config.actigraphy import ActigraphyIngestConfig, WearConfig
from foresense.evaluate.actigraphy import METRICS, SERVICE_NAMES, clinical_metrics
from foresense.evaluate.measured import ActigraphyError, Measured, measured
from foresense.signals.actigraphy import Minutes
from foresense.sources import Places
from foresense.sources.actigraphy import load_actigraphy
from foresense.windows.wear import find_wear

ALWAYS = WearConfig(min_wear_h=0, window_min=10**6, stuck_min=10**6)  # every recorded minute counts


@pytest.fixture(scope="module")
def people(real_data: Path) -> Minutes:
    """Two people with depression and two controls; control_1 holds the clock change."""
    config = ActigraphyIngestConfig(source="depresjon", first_people=2)
    return load_actigraphy("depresjon")(config, Places(real_data, real_data, real_data)).minutes()


def series_of(minutes: Minutes, row: int) -> pd.Series:
    """One person's counts by elapsed minute, indexed by the wall clock."""
    known = ~np.isnan(minutes.values[row])
    return pd.Series(minutes.values[row][known], index=pd.to_datetime(minutes.clock[row][known], unit="m"))


def plain_rhythm(counts: pd.Series) -> dict[str, float]:
    """The definitions of pyActigraphy 1.2 (IS, IV without binarisation; L5, M10, RA of the mean day), with pandas.

    Whole days only, because with part days they weigh hours differently; its var(ddof=1) cancels in neither, so the
    sums of the papers are written instead.
    """
    hours = counts.resample("h").mean()
    days = hours.groupby(hours.index.date).transform("count") == 24
    x = hours[days]
    by_hour = x.groupby(x.index.hour).mean()
    total = ((x - x.mean()) ** 2).sum()
    steps = np.diff(x.to_numpy())
    of_day = counts[np.isin(counts.index.date, np.unique(x.index.date))]
    profile = of_day.groupby(of_day.index.hour * 60 + of_day.index.minute).mean().to_numpy()
    twice = pd.Series(np.concatenate([profile, profile[:-1]]))
    l5, m10 = twice.rolling(300).mean().min(), twice.rolling(600).mean().max()
    angle = 2 * np.pi * (of_day.index.hour * 60 + of_day.index.minute).to_numpy() / 1440
    design = np.stack([np.ones(len(angle)), np.cos(angle), np.sin(angle)], axis=1)
    (mesor, cosine, sine), residual = np.linalg.lstsq(design, of_day.to_numpy(), rcond=None)[:2]
    return {
        "interdaily_stability": len(x) * ((by_hour - x.mean()) ** 2).sum() / (24 * total),
        "intradaily_variability": len(x) * (steps**2).sum() / ((len(x) - 1) * total),
        "l5": l5,
        "m10": m10,
        "relative_amplitude": (m10 - l5) / (m10 + l5),
        "mesor": mesor,
        "amplitude": np.hypot(cosine, sine),
        "acrophase": np.arctan2(sine, cosine) * 24 / (2 * np.pi) % 24,
        "cosinor_r_squared": 1 - residual[0] / ((of_day - of_day.mean()) ** 2).sum(),
    }


def whole_days(minutes: Minutes) -> Minutes:
    """Only days of 24 recorded hours, NaN elsewhere."""
    day = minutes.clock // 1440
    values = minutes.values.copy()
    for row in range(len(values)):
        known = ~np.isnan(values[row])
        days, counts = np.unique(day[row][known], return_counts=True)
        values[row][~np.isin(day[row], days[counts == 1440])] = np.nan
    return minutes.with_values(values)


def test_the_rhythm_of_real_people_is_that_of_the_plain_definitions(people: Minutes) -> None:
    given = whole_days(people)
    found = clinical_metrics(given, wear=find_wear(given, ALWAYS))
    for row in range(3):  # control_1, row 2, lost the day of the clock change: one gap between its days
        for name, value in plain_rhythm(series_of(given, row)).items():
            if row == 2 and name == "intradaily_variability":
                continue
            assert found.metrics[name].values[row] == pytest.approx(value, rel=1e-9), (name, row)


def test_the_sleep_of_real_people_is_that_of_the_plain_definitions(people: Minutes) -> None:
    """Cole-Kripke by a rolling dot product with pandas, states compared 24 h apart, nights by their own minutes."""
    found = clinical_metrics(people, wear=find_wear(people, ALWAYS))
    weights = [106, 54, 58, 76, 230, 74, 67]
    raw = clinical_metrics(people, wear=find_wear(people, ALWAYS), variant="minute").scores.states
    for row in range(4):
        n = int((~np.isnan(people.values[row])).sum())
        counts = pd.Series(np.pad(people.values[row][:n], (4, 2)))
        score = 0.001 * counts.rolling(7).apply(lambda part: float(np.dot(part, weights)), raw=True)[6:].to_numpy()
        assert ((score < 1) >= (raw[row][:n] == 1)).all()  # rescoring only takes sleep away
        states = found.scores.states[row][:n]
        same = (states[1440:] == states[:-1440]).mean()
        assert found.metrics["sleep_regularity_index"].values[row] == pytest.approx(200 * same - 100, rel=1e-12)
        nights = found.nights
        tst = [
            (states[begin:end] == 1).sum()
            for begin, end in zip(nights.begins[row], nights.ends[row], strict=True)
            if begin >= 0
        ]
        assert found.metrics["total_sleep_time"].values[row] == pytest.approx(np.mean(tst), rel=1e-12)
        assert 200 < np.mean(tst) < 600
        assert 60 < found.metrics["sleep_efficiency"].values[row] < 100


def test_every_metric_has_a_definition_and_the_order_of_the_table(people: Minutes) -> None:
    found = clinical_metrics(people)
    assert list(found.metrics) == list(METRICS)
    assert found.table().shape == (4, len(METRICS))
    assert set(SERVICE_NAMES.values()) <= set(METRICS)
    listed = list(found.of("control_1"))
    assert [name for name, *_ in listed] == list(METRICS)
    assert all(np.isnan(value) == bool(reason) for _, value, _, reason in listed)
    assert all(one.meaning and one.source for one in METRICS.values())
    assert all(bool(one.range_source) == (one.low is not None or one.high is not None) for one in METRICS.values())


def test_a_person_alone_has_the_metrics_that_the_person_has_among_others(people: Minutes) -> None:
    among = clinical_metrics(people)
    for row in (0, 3):
        n = int((~np.isnan(people.values[row])).sum())
        alone = Minutes(
            people.people[row : row + 1], people.values[row : row + 1, :n], people.clock[row : row + 1, :n], "counts"
        )
        np.testing.assert_allclose(clinical_metrics(alone).table()[0], among.table()[row], rtol=1e-10)


def hand_made(values: np.ndarray) -> Minutes:
    return Minutes(("p",), values[None], 12 * 60 + np.arange(len(values))[None], "counts")


def active_week() -> np.ndarray:
    """From a noon on: awake 16 h, asleep 8 h with a movement now and then, never still for an hour."""
    rng = np.random.default_rng(0)
    minute = np.arange(7 * 1440)
    asleep = (minute % 1440 >= 11 * 60) & (minute % 1440 < 19 * 60)
    return np.where(
        asleep, np.where(minute % 30 == 0, 9.0, rng.poisson(0.2, len(minute))), rng.gamma(1, 300, len(minute))
    )


def test_a_person_who_never_takes_the_watch_off_has_every_metric() -> None:
    found = clinical_metrics(hand_made(active_week()))
    assert [name for name, _, _, reason in found.of("p") if reason] == []
    assert found.metrics["total_sleep_time"].values[0] == pytest.approx(480, abs=60)
    assert found.metrics["sleep_efficiency"].values[0] > 85
    assert found.metrics["sleep_regularity_index"].values[0] > 85
    assert found.metrics["l5_onset"].values[0] == pytest.approx(1, abs=2.1)  # between 23:00 and 02:00
    assert found.metrics["n_nights"].values[0] == 7


def test_two_missing_days_cost_two_nights_and_no_metric() -> None:
    values = active_week()
    values[2 * 1440 : 4 * 1440] = np.nan
    whole, part = clinical_metrics(hand_made(active_week())), clinical_metrics(hand_made(values))
    assert part.metrics["n_nights"].values[0] == 5
    assert [name for name, _, _, reason in part.of("p") if reason] == []
    for name in ("interdaily_stability", "relative_amplitude", "total_sleep_time", "mesor"):
        assert part.metrics[name].values[0] == pytest.approx(whole.metrics[name].values[0], rel=0.1)


def test_a_device_in_a_drawer_has_no_metric_and_says_why() -> None:
    found = clinical_metrics(hand_made(np.zeros(7 * 1440)))
    reasons = {name: reason for name, _, _, reason in found.of("p")}
    assert reasons.pop("n_nights") == ""
    assert set(reasons.values()) == {"0 day(s) with at least 10 h of wear, at least 4 are needed"}
    assert found.metrics["n_nights"].values[0] == 0


def test_other_units_are_refused_or_flagged() -> None:
    given = hand_made(active_week())
    enmo = Minutes(given.people, given.values / 10000, given.clock, "enmo")
    with pytest.raises(ActigraphyError, match="cole_kripke was fitted to activity counts, found activity in 'enmo'"):
        clinical_metrics(enmo)
    flagged = clinical_metrics(enmo, share_asleep=1 / 3)
    assert not flagged.scores.is_published
    assert flagged.metrics["l5"].unit == "enmo"
    same = clinical_metrics(given).metrics["interdaily_stability"].values
    np.testing.assert_allclose(flagged.metrics["interdaily_stability"].values, same, rtol=1e-9)


def test_a_missing_value_needs_a_reason() -> None:
    with pytest.raises(ActigraphyError, match="x: person 1 has the value nan and the reason ''; expected a value or"):
        measured("x", "1", np.array([1.0, np.nan]), [])
    with pytest.raises(ActigraphyError, match=r"person 0 has the value 1\.0 and the reason 'why'"):
        Measured("x", "1", np.array([1.0]), np.array(["why"], dtype=object))
