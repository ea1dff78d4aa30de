import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.config import IngestConfig
from foresense.sources import Places, SourceError
from foresense.sources.checks import gaps_of
from foresense.sources.simulate import (
    MACHINES,
    UNITS,
    burst_magnitude,
    lagged,
    machine_name,
    simulate_machine,
    simulate_plant,
)

_CHANNELS = tuple({"name": name, "unit": unit} for name, unit in UNITS.items())
_H = 3600.0


def places(folder):
    return Places(raw=folder, project=folder, kept=folder)


def _config(**fields):
    return IngestConfig(**{"source": "simulate", "channels": _CHANNELS, **fields})


def _machine(seed=0, n_rows=2400, interval_s=_H, index=0, start="2025-01-01"):
    times_ns = pd.Timestamp(start, tz="UTC").value + np.arange(n_rows) * round(interval_s * 1e9)
    return simulate_machine(index, times_ns, interval_s=interval_s, time_zone="UTC", seed=seed)


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    return simulate_plant(_config(), places(tmp_path_factory.mktemp("none")))


def test_the_default_plant_has_the_three_machines(plant):
    assert sorted(table.asset for table in plant.tables) == sorted(MACHINES)
    assert {table.values.shape[1] for table in plant.tables} == {4}


def test_running_machines_stay_in_the_stated_ranges(plant):
    # Ranges of the spec (README promise 3, F-21): 55-80 °C, 10-25 A, 0.5-2.5 g.
    for table in plant.tables:
        body, shaft, current, vibration = table.values.T
        running = pd.Series(current).rolling(24, min_periods=24).min().to_numpy() > 5  # warm again after a stop
        assert running.mean() > 0.5
        assert 55 <= np.nanpercentile(body[running], 1) < np.nanpercentile(body[running], 99) <= 80
        assert 55 <= np.nanpercentile(shaft[running], 1) < np.nanpercentile(shaft[running], 99) <= 80
        assert 10 <= np.nanpercentile(current[running], 1) < np.nanpercentile(current[running], 99) <= 25
        assert 0.5 <= np.nanpercentile(vibration[running], 1) < np.nanpercentile(vibration[running], 99) <= 2.5


def test_the_same_seed_gives_the_same_samples_and_another_gives_others():
    first, again, other = (_machine(seed=seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, equal_nan=True)


def test_a_machine_does_not_depend_on_how_many_are_asked_for(tmp_path):
    one = simulate_plant(_config(n_assets=1, n_rows=300), places(tmp_path)).tables[0]
    seven = {table.asset: table for table in simulate_plant(_config(n_assets=7, n_rows=300), places(tmp_path)).tables}
    assert len(seven) == 7
    np.testing.assert_array_equal(seven[one.asset].values, one.values)
    np.testing.assert_array_equal(seven[one.asset].times_ns, one.times_ns)


def test_machines_differ():
    first, second = (_machine(index=index, n_rows=300)[0] for index in (0, 1))
    assert not np.allclose(first, second, equal_nan=True)


def test_any_number_of_machines_has_names_of_their_own():
    assert len({machine_name(index) for index in range(1000)}) == 1000


def test_there_is_a_day_and_a_week_to_learn(plant):
    for table in plant.tables:
        current = pd.Series(table.values[:, 2], index=pd.to_datetime(table.times_ns, utc=True)).asfreq("h")
        assert current.autocorr(24) > 0.4
        assert current.autocorr(168) > 0.75
        assert current.autocorr(168) > current.autocorr(24) > current.autocorr(12)


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("seed", range(10))
def test_windows_of_1440_rows_fit_into_the_training_part(index, seed):
    samples, _ = _machine(seed=seed, index=index)
    long = [gap for gap in gaps_of(samples) if gap.n_samples > 6]
    assert len(long) <= 1
    after = max((gap.row + gap.n_samples for gap in long), default=0)
    assert 1680 - 1440 - after >= 120  # starts of training windows: 70 % of 2400 rows
    for column in samples[after:].T:
        assert max((gap.n_samples for gap in gaps_of(column[:, None])), default=0) <= 6


def test_some_machines_have_an_outage_and_all_miss_a_few_samples():
    gaps = [[gap.n_samples for gap in gaps_of(_machine(seed=seed)[0])] for seed in range(12)]
    assert 0 < sum(max(lengths) > 6 for lengths in gaps) < 12
    assert all(1 <= len([n for n in lengths if n <= 6]) <= 12 for lengths in gaps)


@pytest.mark.parametrize("interval_s", [2.0, 60.0, 3600.0])
def test_any_rate_gives_the_same_kind_of_machine(interval_s):
    samples, _ = _machine(n_rows=3000, interval_s=interval_s, start="2025-01-01T10:00")  # a Wednesday, at work
    body, shaft, current, vibration = np.nanmedian(samples, axis=0)
    assert 55 < body < shaft < 82
    assert 10 < current < 25
    assert 0.5 < vibration < 2.5


@given(tau_s=st.floats(60, 1e5), interval_s=st.sampled_from([2.0, 60.0, 3600.0]))
@settings(deadline=None, max_examples=30)
def test_the_thermal_lag_is_that_of_a_first_order_body(tau_s, interval_s):
    # Step response in closed form: 1 - exp(-t / tau).
    step = np.r_[0.0, np.ones(50)]
    expected = 1 - np.exp(-np.arange(51) * interval_s / tau_s)
    np.testing.assert_allclose(lagged(step, tau_s, interval_s), expected, atol=1e-9)


def test_the_magnitude_is_taken_before_the_mean():
    # Knocks alone: a Maxwell distribution, whose mean is sigma sqrt(8 / pi); the magnitude of the mean of 16 is 1/4.
    knocks = burst_magnitude(np.zeros(20_000), np.full(20_000, 0.3), np.random.default_rng(0))
    assert knocks.mean() == pytest.approx(0.3 * np.sqrt(8 / np.pi), rel=0.01)
    # Rotation alone: the mean over one turn; the magnitude of the mean vector would be near 0.
    turn = np.linspace(0, 2 * np.pi, 10_000, endpoint=False)
    axes = np.stack([np.cos(turn), 0.85 * np.sin(turn), 0.35 * np.cos(turn + 0.6)])
    rotation = burst_magnitude(np.full(20_000, 1.2), np.zeros(20_000), np.random.default_rng(0))
    assert rotation.mean() == pytest.approx(1.2 * np.linalg.norm(axes, axis=0).mean(), rel=0.01)


def test_temperature_follows_the_load_late():
    samples, _ = _machine(seed=1)
    body, current = (pd.Series(samples[:, column]).interpolate() for column in (0, 2))
    lag_h = max(range(13), key=lambda hours: body.corr(current.shift(hours)))
    assert 1 <= lag_h <= 6


def test_faults_leave_their_mark():
    seen = {}
    for seed in range(40):
        samples, faults = _machine(seed=seed)
        for fault in faults:
            seen.setdefault(fault.kind, []).append((samples, fault))
    assert set(seen) == {"planned_stop", "unplanned_stop", "bearing", "overheating", "imbalance", "stuck_sensor"}

    def change(kind, column):
        """Median change of the channel in the second half of the fault, against the two weeks before it."""
        changes = []
        for samples, fault in seen[kind]:
            begin, end = int(fault.start_s / _H), int(fault.end_s / _H)
            before, during = samples[max(begin - 336, 0) : begin], samples[(begin + end) // 2 : end]
            running = [part[part[:, 2] > 5, column] for part in (before, during)]
            if min(len(part) for part in running) > 5:
                changes.append(np.nanmean(running[1]) / np.nanmean(running[0]))
        return np.median(changes)

    assert change("bearing", 3) > 1.1
    assert change("imbalance", 3) > 1.15
    assert change("overheating", 0) > 1.05
    for samples, fault in seen["planned_stop"][:5]:
        current = samples[int(fault.start_s / _H) : int(fault.end_s / _H), 2]
        assert np.nanmax(current, initial=0) < 2
    for samples, fault in seen["stuck_sensor"]:
        held = samples[int(fault.start_s / _H) : int(fault.end_s / _H), list(UNITS).index(fault.channel)]
        assert len(np.unique(held[~np.isnan(held)])) <= 1


def test_the_truth_about_faults_is_told(plant):
    truth = plant.facts["truth"]
    assert sorted(truth) == sorted(MACHINES)
    for events in truth.values():
        assert all(pd.Timestamp(event["start"]) <= pd.Timestamp(event["end"]) for event in events)
        assert sum(event["kind"] == "planned_stop" for event in events) == 14  # Sundays from 1 January to 10 April


def test_the_digest_follows_everything_that_decides_and_nothing_else(tmp_path):
    plain = simulate_plant(_config(n_assets=1, n_rows=50), places(tmp_path)).sha256
    assert simulate_plant(_config(n_assets=1, n_rows=50, min_rows=7), places(tmp_path)).sha256 == plain
    assert simulate_plant(_config(n_assets=1, n_rows=50, seed=1), places(tmp_path)).sha256 != plain


def test_channels_are_given_in_the_asked_order(tmp_path):
    two = _config(n_rows=100, channels=({"name": "amps", "unit": "A", "column": "current"}, _CHANNELS[0]))
    all_four = simulate_plant(_config(n_rows=100), places(tmp_path)).tables[0].values
    np.testing.assert_array_equal(simulate_plant(two, places(tmp_path)).tables[0].values, all_four[:, [2, 0]])


def test_what_the_plant_does_not_have_is_named_together(tmp_path):
    channels = ({"name": "pressure", "unit": "bar"}, {"name": "current", "unit": "mA"})
    with pytest.raises(SourceError) as caught:
        simulate_plant(_config(channels=channels, interval_s=1.0, start="soon"), places(tmp_path))
    message = str(caught.value)
    assert "interval_s: the plant samples every 2 to 3600 s, found 1" in message
    assert "no channel 'pressure' (known: temp_body, temp_shaft, current, vibration_magnitude)" in message
    assert "current is in 'A', found unit 'mA'" in message
    assert "ingest.start: 'soon' is no time in UTC" in message
