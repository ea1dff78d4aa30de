"""How the studies of drift and risk count, and that their committed results stay within their bars."""

import itertools
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks import risk
from benchmarks.drift import JUDGED_SHIFTS, TUNING_SHIFTS, Case, Shift, is_called, shifted_case
from benchmarks.drift import machine as simulated
from benchmarks.harness import RESULTS
from benchmarks.risk import Study, count
from benchmarks.risk_machines import N_TEST, N_TRAIN, N_VALIDATION, Watched, load_watched, save_watched, tuning_faults
from foresense.evaluate.conformal import Conformal
from foresense.evaluate.drift import DriftRule, fleet_of, moves_of
from foresense.evaluate.moves import FLEET_WEIGHT
from foresense.signals import read_json
from foresense.sources.faults import Fault

HOUR = 3600.0
N_ROWS = 3200


def machine(*faults: Fault) -> Study:
    empty = np.empty((0, 24, 4))
    rows = np.zeros((N_ROWS, 4))
    none = np.empty(0, np.int64)
    watched = Watched("m", rows, rows == 0, none, empty, none, empty, faults, 0.5)
    return Study(watched, Conformal(0.9, np.ones((24, 4)), 9, ("a", "b", "c", "d")), np.ones(4), rows, rows)


def flags(*alarms: tuple[int, int, int]):
    def rule(_: Study) -> np.ndarray:
        found = np.zeros((N_ROWS, 4), bool)
        for first, end, column in alarms:
            found[first:end, column] = True
        return found

    return rule


def test_every_alarm_is_one_thing_and_every_fault_has_its_delay_and_lead() -> None:
    faults = (
        Fault("bearing", 2600 * HOUR, 2700 * HOUR),
        Fault("unplanned_stop", 2900 * HOUR, 2904 * HOUR),
        Fault("stuck_sensor", 3000 * HOUR, 3010 * HOUR, "current"),
        Fault("imbalance", 3100 * HOUR, 3120 * HOUR),
    )
    alarms = (
        (2640, 2660, 0),  # in the bearing's time
        (2650, 2750, 1),  # the same fault, another channel
        (2702, 2705, 0),  # an echo
        (2800, 2810, 3),  # false
        (2925, 2930, 2),  # within a day of the stop
        (3004, 3006, 2),  # the sensor that is stuck
        (3005, 3008, 0),  # another sensor: false
        (2000, 2500, 3),  # before anything is judged
    )
    tally = count([machine(*faults)], flags(*alarms))
    assert (tally.hits, tally.echoes, tally.stops, tally.false) == (3, 1, 1, 2)
    assert tally.hours == N_ROWS - (N_TRAIN + N_VALIDATION + 24)
    assert tally.delays_h["bearing"] == [41]
    assert tally.leads_h["bearing"] == [59]
    assert tally.delays_h["stuck_sensor"] == [5]
    assert tally.delays_h["imbalance"] == [None]
    assert tally.leads_h["imbalance"] == []


def test_tuning_faults_are_two_of_each_kind_one_at_a_time_in_the_test_part() -> None:
    found = tuning_faults(np.random.default_rng(0))
    assert sorted(fault.kind for fault in found) == sorted(2 * ["bearing", "imbalance", "overheating", "stuck_sensor"])
    assert found[0].start_s > (N_TRAIN + N_VALIDATION) * HOUR
    assert all(earlier.end_s < later.start_s for earlier, later in itertools.pairwise(found))
    assert found[-1].end_s < (N_TRAIN + N_VALIDATION + N_TEST) * HOUR
    assert not any(fault.shape == "exponential" for fault in found)
    assert not any(fault.shape == "step" for fault in found if fault.kind != "stuck_sensor")


def test_a_machine_that_is_kept_is_read_back(tmp_path) -> None:
    watched = machine(Fault("stuck_sensor", 1.0, 2.0, "current")).watched
    save_watched(tmp_path / "m.npz", watched)
    again = load_watched(tmp_path / "m.npz")
    assert (again.asset, again.faults, again.naive_ratio) == (watched.asset, watched.faults, watched.naive_ratio)
    np.testing.assert_array_equal(again.scaled, watched.scaled)


def test_a_shift_is_what_it_says() -> None:
    samples, level = np.array([1.0, 4.0]), np.array([2.0, 2.0])
    np.testing.assert_allclose(Shift("x", 0, offset=3.0).apply(samples, level), [4, 7])
    np.testing.assert_allclose(Shift("x", 0, gain=1.1).apply(samples, level), [1.1, 4.4])
    np.testing.assert_allclose(Shift("x", 0, spread=0.5).apply(samples, level), [1.5, 3])


def test_the_size_of_a_shift_is_counted_in_moves_of_its_channel() -> None:
    one = simulated(0, seed=5)
    fleet = fleet_of([one.reference])
    moves = moves_of(one.reference)
    level = shifted_case(one, fleet, Shift("x", 0, offset=6.0), 2016 + 60)
    assert level.deviations == pytest.approx(6 / one.reference.deviation[0])
    assert level.size == pytest.approx(level.deviations / moves["temp_body"].shift)
    assert len(level.nights) == 4
    spread = shifted_case(one, fleet, Shift("x", 3, spread=0.5), 2016 + 60)
    assert spread.size == pytest.approx(np.log(2) / moves["vibration_magnitude"].spread)


def test_no_judged_shift_was_tuned_on() -> None:
    tuned = {(one.column, one.offset, one.gain, one.spread) for one in TUNING_SHIFTS}
    assert not tuned & {(one.column, one.offset, one.gain, one.spread) for one in JUDGED_SHIFTS}


def test_drift_is_called_by_two_nights_of_one_channel() -> None:
    def says(night: object) -> bool:
        return bool(night)

    assert is_called(Case("healthy", None, [[0, 1], [0, 1]]), says)  # type: ignore[arg-type]
    assert not is_called(Case("healthy", None, [[1, 0], [0, 1]]), says)  # type: ignore[arg-type]
    assert not is_called(Case("x", 0, [[0, 1], [0, 1]]), says)  # type: ignore[arg-type]


def test_committed_drift_is_called_where_it_should_be_and_seldom_elsewhere() -> None:
    settings, *found = read_json(RESULTS / "drift.json")["rows"]
    assert settings["rule"] == asdict(DriftRule())
    assert settings["fleet_weight"] == FLEET_WEIGHT
    assert settings["seeds"]["judged"] not in settings["seeds"]["tuning"]
    rows = {row["case"]: row for row in found}
    assert (rows["healthy"]["n_machines"], rows["all four shifts"]["n_machines"]) == (200, 160)
    assert rows["healthy"]["ours"] == rows["healthy"]["n_called"] / 200 <= rows["healthy"]["at_most"] == 0.05
    shifts = rows["all four shifts"]
    assert shifts["ours"] == pytest.approx(shifts["n_called"] / 160, abs=1e-4)
    assert shifts["ours"] >= shifts["at_least"] == 0.9
    assert rows["healthy"]["ours"] <= rows["healthy"]["alone"]


def test_committed_risk_finds_more_faults_of_every_kind_than_the_plain_rule() -> None:
    rows = {row["case"]: row for row in read_json(RESULTS / "risk.json")["rows"]}
    for kind in risk.KINDS:
        assert rows[kind]["n_faults"] >= 10
        assert rows[kind]["ours"] > rows[kind]["peer_value"]
    assert rows["MSE over that of last week's values, faulty machines"]["ours"] == pytest.approx(0.8, abs=0.2)
