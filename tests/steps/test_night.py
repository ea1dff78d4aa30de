"""What a night looks at before anything is trained, and the page that it leaves."""

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from foresense.registry import open_registry
from foresense.signals import Layout, Recording, read_json, write_json, write_recordings
from foresense.steps.night import N_CONSECUTIVE, check_data, forget_trainings, watch
from foresense.steps.night_name import night_of
from foresense.steps.promotion import night_folder
from foresense.steps.versions import build_version

N = 240


def hours(asset: str, samples: np.ndarray, *, start: str = "2026-01-01", zone: str = "UTC") -> Recording:
    return Recording(asset, samples, ("temp", "current"), ("Cel", "A"), 3600.0, pd.Timestamp(start, tz="UTC"), zone)


def moving(n: int = N) -> np.ndarray:
    return np.random.default_rng(0).normal(50, 5, (n, 2))


def test_a_night_is_named_by_the_local_date_of_its_newest_sample(layout: Layout) -> None:
    folder = layout.of("plant").recordings
    write_recordings(folder, [hours("a", moving(24)), hours("b", moving(48))], facts={})
    assert night_of(layout, "plant") == "2026-01-02"
    shutil.rmtree(folder)
    write_recordings(folder, [hours("a", moving(24), zone="Asia/Kolkata")], facts={})  # 23:00 UTC is the next day there
    assert night_of(layout, "plant") == "2026-01-02"


def test_before_ingest_a_night_says_what_to_run(layout: Layout) -> None:
    with pytest.raises(FileNotFoundError, match="run `foresense ingest plant` first"):
        night_of(layout, "plant")


def test_silent_incomplete_and_stuck_machines_are_told_and_a_stopped_one_is_none_of_them() -> None:
    gaps, stuck, stopped, ends_empty = moving(), moving(), moving(), moving()
    gaps[-20:] = np.nan
    gaps[-1] = 1.0
    stuck[-30:, 1] = 7.0
    stopped[-30:] = 3.0
    ends_empty[-8:] = np.nan
    fleet = [
        hours("fine", moving()),
        hours("silent", moving(N - 7)),
        hours("silent too", ends_empty),
        hours("nearly silent", moving(N - 6)),
        hours("gaps", gaps),
        hours("stuck", stuck),
        hours("stopped", stopped),
    ]
    found = {(one.asset, one.kind): one.text for one in check_data(fleet)}
    assert found == {
        ("silent", "silent"): "newest sample 7 h older than the fleet's newest",
        ("silent too", "silent"): "newest sample 8 h older than the fleet's newest",
        ("gaps", "incomplete"): "79% of the newest day is missing",
        ("stuck", "stuck"): "current repeats one value all day",
    }


@pytest.fixture
def promoted(layout: Layout, mlflow_store: Path, nights: ModuleType) -> Layout:
    """A machine with a champion, its recording and params.yaml in place."""
    (layout.project / "params.yaml").write_text(nights.PARAMS)
    nights.night(layout)
    registry = open_registry(layout, nights.PIPELINE)
    version = registry.register(build_version(layout, nights.PIPELINE, nights.ASSET), night="2026-03-01")
    registry.promote(nights.ASSET, version.number, who="test", reason="the first", night="2026-03-01")
    return layout


def live(layout: Layout, nights: ModuleType, n_rows: int, *, warmer: float = 0.0) -> dict[str, object]:
    """The recording as of hour `n_rows`, the newest day warmer; what the night says of it."""
    one = nights.recording(n_rows=n_rows)
    one.samples[-24:, 0] += warmer
    other = Recording(**{**vars(nights.recording(n_rows=n_rows, seed=1)), "asset": "new-one"})
    folder = layout.of(nights.PIPELINE).recordings
    shutil.rmtree(folder, ignore_errors=True)
    write_recordings(folder, [one, other], facts={})
    return watch(layout, nights.PIPELINE)["assets"]


@pytest.mark.slow
def test_a_channel_that_moved_two_nights_in_a_row_is_an_alarm_and_one_night_is_not(
    promoted: Layout, nights: ModuleType
) -> None:
    assert N_CONSECUTIVE == 2
    first = live(promoted, nights, 1608, warmer=60.0)
    assert first[nights.ASSET]["moved"] == ["temp_body"]
    assert first[nights.ASSET]["alarm"] == []
    assert first["new-one"] == {"champion": None, "channels": [], "moved": [], "alarm": [], "error": None}

    second = live(promoted, nights, 1632, warmer=60.0)
    assert second[nights.ASSET]["alarm"] == ["temp_body"]
    written = read_json(night_folder(promoted, nights.PIPELINE, "2026-03-09") / "drift.json")
    assert written["assets"] == json.loads(json.dumps(second))

    after_a_gap = live(promoted, nights, 1680, warmer=60.0)  # a night that did not run breaks no row
    assert after_a_gap[nights.ASSET]["alarm"] == ["temp_body"]

    quiet = live(promoted, nights, 1704)
    assert quiet[nights.ASSET]["moved"] == []
    again = live(promoted, nights, 1728, warmer=60.0)
    assert (again[nights.ASSET]["moved"], again[nights.ASSET]["alarm"]) == (["temp_body"], [])


@pytest.mark.slow
def test_one_machine_with_other_channels_is_told_and_stops_nobody(promoted: Layout, nights: ModuleType) -> None:
    one = nights.recording(n_rows=1608)
    swapped = Recording(**{**vars(one), "channels": one.channels[::-1], "units": one.units[::-1]})
    other = Recording(**{**vars(one), "asset": "new-one"})
    write_recordings(promoted.of(nights.PIPELINE).recordings, [swapped, other], facts={})
    found = watch(promoted, nights.PIPELINE)["assets"]
    assert "channels ['current', 'temp_body'], its champion was trained on ['temp_body', 'current']" in str(
        found[nights.ASSET]["error"]
    )
    assert found["new-one"]["error"] is None


@pytest.mark.slow
def test_a_night_that_runs_again_says_the_same(promoted: Layout, nights: ModuleType) -> None:
    assert live(promoted, nights, 1632) == live(promoted, nights, 1632)


def test_forgetting_removes_what_trainings_keep_and_nothing_else(layout: Layout) -> None:
    kept = layout.cache / "fleet" / "plant" / "records"
    write_json(kept / "a.json", {})
    write_json(layout.cache / "fleet" / "other" / "a.json", {})
    assert forget_trainings(layout, "plant").startswith("plant: what earlier trainings kept is gone")
    assert not kept.exists()
    assert (layout.cache / "fleet" / "other" / "a.json").is_file()
    assert forget_trainings(layout, "plant") == "plant: nothing is kept of earlier trainings"
