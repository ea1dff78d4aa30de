"""A reference for each minute of the week: StandardScaler by column, kept in a file, refused where it says nothing."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from foresense.signals import SignalError
from foresense.windows.minute_scaler import fit_minute_scaler, load_minute_scaler, minutes_of_week, scale_by_itself
from foresense.windows.weeks import WeekError

WEEK = 10080
MONDAYS = np.zeros(4, np.int64)
OWNERS = np.array([0, 0, 1, 2])


@pytest.fixture(scope="module")
def weeks() -> np.ndarray:
    return np.random.default_rng(0).gamma(2.0, 50.0, (4, WEEK))


def fitted(weeks: np.ndarray, weekdays: np.ndarray = MONDAYS, pool_min: int = 1):  # type: ignore[no-untyped-def]
    return fit_minute_scaler(weeks, weekdays, OWNERS, unit="counts", device="wrist", pool_min=pool_min)


def test_it_is_the_standard_scaler_of_each_column(weeks: np.ndarray) -> None:
    scaler, peer = fitted(weeks), StandardScaler().fit(weeks)
    np.testing.assert_allclose(scaler.mean, peer.mean_, rtol=1e-13)
    np.testing.assert_allclose(scaler.deviation, peer.scale_, rtol=1e-12)
    scaled = scaler.scale(weeks, MONDAYS, "counts")
    np.testing.assert_allclose(scaled.values, peer.transform(weeks), atol=2e-6)  # float32
    assert (scaled.scaled_by, scaled.values.dtype) == ("reference", np.float32)
    assert (scaler.n_people, scaler.n_weeks) == (3, 4)


def test_a_minute_is_the_same_minute_of_the_week_whenever_the_week_begins(weeks: np.ndarray) -> None:
    weekdays = np.array([0, 2, 5, 6])
    turned = np.stack([np.roll(week, -1440 * day) for week, day in zip(weeks, weekdays, strict=True)])
    whole, other = fitted(weeks), fitted(turned, weekdays)
    np.testing.assert_array_equal(other.mean, whole.mean)
    np.testing.assert_array_equal(other.deviation, whole.deviation)
    scaled = whole.scale(turned, weekdays, "counts").values
    back = np.stack([np.roll(week, 1440 * day) for week, day in zip(scaled, weekdays, strict=True)])
    np.testing.assert_array_equal(back, whole.scale(weeks, MONDAYS, "counts").values)
    assert minutes_of_week(np.array([6]))[0, [0, 1440]].tolist() == [6 * 1440, 0]


def test_pooling_takes_the_minutes_around(weeks: np.ndarray) -> None:
    scaler = fitted(weeks, pool_min=5)
    for minute in (0, 1, 5000, WEEK - 1):
        around = weeks[:, np.arange(minute - 2, minute + 3) % WEEK]
        assert scaler.mean[minute] == pytest.approx(around.mean(), rel=1e-13)
        assert scaler.deviation[minute] == pytest.approx(around.std(), rel=1e-11)


def test_equal_scalers_are_equal_files_and_come_back(weeks: np.ndarray, tmp_path: Path) -> None:
    scaler = fitted(weeks)
    for name in ("a", "b"):
        scaler.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    back = load_minute_scaler(tmp_path / "a")
    np.testing.assert_array_equal(back.mean, scaler.mean)
    np.testing.assert_array_equal(back.deviation, scaler.deviation)
    assert (back.unit, back.device, back.n_people, back.n_weeks) == ("counts", "wrist", 3, 4)


def test_another_file_is_refused(weeks: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "scaler"
    with pytest.raises(FileNotFoundError, match="it is written when a model of weeks is trained"):
        load_minute_scaler(path)
    fitted(weeks).save(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SignalError, match=r"no scaler of minutes \(.*cut off or is another file"):
        load_minute_scaler(path)
    from safetensors.numpy import save

    path.write_bytes(save({"mean": np.zeros(3), "deviation": np.zeros(3)}))
    with pytest.raises(SignalError, match=r"expected a scaler of minutes, version 1, found \{\}"):
        load_minute_scaler(path)
    facts = '{"version": 1, "unit": "counts"}'
    path.write_bytes(save({"mean": np.zeros(3), "deviation": np.zeros(3)}, metadata={"scaler": facts}))
    with pytest.raises(SignalError, match=r"mean \(3,\) and deviation \(3,\) must be \(10080,\), finite"):
        load_minute_scaler(path)


def test_what_was_not_worn_is_refused(weeks: np.ndarray) -> None:
    with pytest.raises(WeekError, match="at least two weeks of training people, found 1"):
        fitted(weeks[:1])
    still = weeks.copy()
    still[:, 1440 + 185] = 0
    with pytest.raises(WeekError, match=r"1 minute\(s\) .* in all 4 weeks, the first on day 1 .* 03:05; .*pool_min"):
        fitted(still)
    assert (fitted(still, pool_min=3).deviation > 0).all()
    off = weeks.copy()
    off[2] = 3
    for act in (fitted, scale_by_itself, lambda found: fitted(weeks).scale(found, MONDAYS, "counts")):
        with pytest.raises(WeekError, match=r"week 2 has the activity 3 throughout \(deviation 0\)"):
            act(off)
    with pytest.raises(WeekError, match=r"weeks in 'mims', the reference was fitted on 'counts' \(wrist\)"):
        fitted(weeks).scale(weeks, MONDAYS, "mims")
    with pytest.raises(WeekError, match=r"expected weeks \(n_weeks, 10080\), found \(4, 100\)"):
        scale_by_itself(weeks[:, :100])
    with pytest.raises(WeekError, match="pool_min is 4; expected an odd number"):
        fitted(weeks, pool_min=4)


def test_a_week_scaled_by_itself_says_so(weeks: np.ndarray) -> None:
    scaled = scale_by_itself(weeks)
    assert scaled.scaled_by == "itself"
    np.testing.assert_allclose(scaled.values.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.values.std(axis=1), 1, atol=1e-6)
