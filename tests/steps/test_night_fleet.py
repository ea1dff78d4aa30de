"""The night's first look: machines whose data are wrong, and drift against the champions, by the moves of the fleet."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from foresense.evaluate.drift import DriftRule, fit_reference, fleet_of, measure_drift, moves_of
from foresense.signals import Layout, Recording, read_json, write_recordings
from foresense.steps import night
from foresense.steps.night import watch

START = pd.Timestamp("2026-01-05", tz="UTC")
N_TRAIN, N_ROWS = 60 * 24, 61 * 24


def recording(asset: str, *, n_rows: int = N_ROWS, shift: float = 0.0, seed: int = 0) -> Recording:
    """Two channels of noise around a day's wave; the second is shifted after the training rows."""
    samples = np.random.default_rng(seed).normal(0, 1, (n_rows, 2))
    samples += 5 * np.sin(2 * np.pi * np.arange(n_rows) / 24)[:, None]
    samples[N_TRAIN:, 1] += shift
    return Recording(asset, samples, ("temp_body", "current"), ("Cel", "A"), 3600.0, START)


def reference_of(one: Recording):
    rows = slice(0, N_TRAIN)
    times_s = one.times().as_unit("s").asi8[rows]
    return fit_reference(one.samples[rows], times_s, channels=one.channels, time_zone="UTC", interval_s=3600.0)


class Champions:
    """A registry of which only champions are asked."""

    def __init__(self, root: Path, numbers: dict[str, int]) -> None:
        self.root, self.numbers = root, numbers

    def champion(self, asset: str) -> SimpleNamespace | None:
        return SimpleNamespace(number=self.numbers[asset]) if asset in self.numbers else None

    def fetch(self, asset: str, which: int) -> Path:
        assert which == self.numbers[asset]
        return self.root / asset


def ingest(layout: Layout, machines: list[Recording]) -> None:
    write_recordings(layout.of("plant").recordings, machines, facts={})


@pytest.fixture
def plant(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nights: ModuleType) -> list[Recording]:
    """Four machines, the first shifted on the last day, the last without a champion."""
    (layout.project / "params.yaml").write_text(nights.PARAMS)
    machines = [recording(f"m-{number}", shift=3.0 * (number == 0), seed=number) for number in range(4)]
    for one in machines[:3]:
        reference_of(one).write(tmp_path / "versions" / one.asset / "reference.json")
    champions = Champions(tmp_path / "versions", {f"m-{number}": number + 1 for number in range(3)})
    monkeypatch.setattr(night, "open_registry", lambda *_: champions)
    ingest(layout, machines)
    return machines


def test_a_shift_is_an_alarm_on_the_second_night(layout: Layout, plant: list[Recording]) -> None:
    first = watch(layout, "plant")
    assert first["night"] == "2026-03-06"
    assert first["problems"] == []
    found = first["assets"]
    assert {asset: one["champion"] for asset, one in found.items()} == {"m-0": 1, "m-1": 2, "m-2": 3, "m-3": None}
    assert {asset: one["moved"] for asset, one in found.items()} == {
        "m-0": ["current"],
        "m-1": [],
        "m-2": [],
        "m-3": [],
    }
    assert not any(one["alarm"] for one in found.values())
    assert first == read_json(layout.root / "nights" / "plant" / "2026-03-06" / "drift.json")

    ingest(layout, [recording("m-0", n_rows=N_ROWS + 24, shift=3.0), *plant[1:]])
    second = watch(layout, "plant")
    assert second["night"] == "2026-03-07"
    assert second["assets"]["m-0"]["alarm"] == ["current"]


def test_a_machine_is_judged_by_the_moves_of_every_champion(layout: Layout, plant: list[Recording]) -> None:
    references = [reference_of(one) for one in plant[:3]]
    times_s = plant[0].times().as_unit("s").asi8
    expected = measure_drift(references[0], plant[0].samples, times_s, DriftRule(), fleet=fleet_of(references))
    channels = watch(layout, "plant")["assets"]["m-0"]["channels"]
    assert [one["shift"] for one in channels] == pytest.approx([one.shift for one in expected], rel=1e-3)
    alone = measure_drift(references[0], plant[0].samples, times_s)
    own, fleet = (found["current"].shift for found in (moves_of(references[0]), fleet_of(references).channels))
    assert abs(own / fleet - 1) > 0.02
    assert channels[1]["shift"] != pytest.approx(alone[1].shift, rel=0.01)


def test_a_day_of_too_little_is_null_and_no_drift(layout: Layout, plant: list[Recording]) -> None:
    plant[0].samples[-20:, 1] = np.nan
    ingest(layout, plant)
    found = watch(layout, "plant")["assets"]["m-0"]
    assert found["channels"][1]["verdict"] == "unknown"
    assert found["channels"][1]["shift"] is None
    assert found["moved"] == []
