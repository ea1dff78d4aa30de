"""The simulator's machine, number for number; only its faults may be others."""

import numpy as np
import pandas as pd
import pytest

from foresense.sources.injected import Injection, severity, simulate_injected
from foresense.sources.simulate import UNITS, simulate_machine

_H = 3600.0
_TIMES = pd.Timestamp("2025-01-01", tz="UTC").value + np.arange(4000) * round(_H * 1e9)
_SHAPE = {"interval_s": _H, "time_zone": "Europe/Berlin", "seed": 3}


def injected(*injections, drawn_until_s=0.0, index=0):
    return simulate_injected(index, _TIMES, **_SHAPE, injections=injections, drawn_until_s=drawn_until_s)


@pytest.mark.parametrize("index", range(4))
def test_with_every_fault_of_its_own_it_is_the_simulator_to_the_bit(index):
    samples, faults = injected(index=index, drawn_until_s=np.inf)
    expected, expected_faults = simulate_machine(index, _TIMES, **_SHAPE)
    np.testing.assert_array_equal(samples, expected)
    assert faults == expected_faults


def test_without_faults_only_stops_are_left_and_sound_hours_are_the_simulators():
    samples, faults = injected()
    expected, all_faults = simulate_machine(0, _TIMES, **_SHAPE)
    assert {fault.kind for fault in faults} == {"planned_stop", "unplanned_stop"}
    others = [fault for fault in all_faults if fault.kind not in ("planned_stop", "unplanned_stop")]
    assert others
    sound = np.ones(len(_TIMES), bool)
    for fault in others:
        sound[int(fault.start_s / _H) : int(fault.end_s / _H) + 49] = False  # and two days to cool
    np.testing.assert_allclose(samples[sound], expected[sound], atol=1e-4)
    assert not np.allclose(samples, expected, equal_nan=True)


def test_its_own_faults_end_where_they_are_told_to():
    until_s = 2000 * _H
    samples, faults = injected(drawn_until_s=until_s)
    expected, _ = simulate_machine(0, _TIMES, **_SHAPE)
    np.testing.assert_array_equal(samples[:2000], expected[:2000])
    kinds = [fault for fault in faults if fault.kind not in ("planned_stop", "unplanned_stop")]
    assert kinds
    assert all(fault.end_s <= until_s for fault in kinds)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("step", [0, 0.8, 0.8, 0.8, 0.8, 0]),
        ("linear", [0, 0, 0.2, 0.4, 0.6, 0]),
        ("exponential", [0, 0, 0.8 * np.expm1(1) / np.expm1(4), 0.8 * np.expm1(2) / np.expm1(4), None, 0]),
        ("sawtooth", [0, 0, 0.6, 0.4, 0.2, 0]),
    ],
)
def test_a_severity_has_its_shape_and_is_nothing_outside(shape, expected):
    fault = Injection("imbalance", 10.0, 50.0, shape=shape, peak=0.8)
    found = severity(fault, np.array([0.0, 10, 20, 30, 40, 50]))
    known = [place for place, value in enumerate(expected) if value is not None]
    np.testing.assert_allclose(found[known], [expected[place] for place in known], atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "channel", "least"),
    [("overheating", "temp_body", 5.0), ("bearing", "temp_shaft", 2.0), ("imbalance", "vibration_magnitude", 0.2)],
)
def test_an_injected_fault_moves_its_channel_while_it_lasts(kind, channel, least):
    begin, end = 1500, 1572
    fault = Injection(kind, begin * _H, end * _H)
    samples, faults = injected(fault)
    sound, _ = injected()
    column = list(UNITS).index(channel)
    difference = samples[:, column] - sound[:, column]
    assert np.nanmedian(difference[begin + 24 : end]) > least
    assert np.nanmax(np.abs(difference[:begin])) == 0
    assert np.nanmax(np.abs(difference[end + 48 :])) < 1e-3
    assert [(one.start_s, one.end_s) for one in faults if one.kind == kind] == [(begin * _H, end * _H)]


def test_a_sensor_that_is_asked_to_be_stuck_repeats_one_value():
    samples, faults = injected(Injection("stuck_sensor", 1000 * _H, 1012 * _H, channel="current"))
    held = samples[1000:1012, list(UNITS).index("current")]
    assert len(set(held[~np.isnan(held)])) == 1
    told = next(fault for fault in faults if fault.kind == "stuck_sensor")
    assert (told.start_s, told.end_s, told.channel) == (1000 * _H, 1012 * _H, "current")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "rust"}, "no fault 'rust' to inject"),
        ({"kind": "stuck_sensor"}, "stuck_sensor: found channel None"),
        ({"kind": "bearing", "channel": "current"}, "bearing: found channel 'current'"),
        ({"kind": "bearing", "end_s": 0.0}, "must end after it starts, found 0 s to 0 s"),
    ],
)
def test_what_cannot_be_injected_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Injection(**{"start_s": 0.0, "end_s": 1.0, **fields})
