"""A night is named by the newest sample; where nothing has a time, by the day of the newest training."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from foresense.signals import Environment, Layout, Recording, TrainReport, write_json, write_recordings, write_report
from foresense.signals.labelled import LabelledRecording, LabelledSet, write_labelled
from foresense.steps.night_name import night_of

#: 23:30 UTC, and half an hour into the next day in Berlin.
LAST = pd.Timestamp("2026-01-01 23:30", tz="UTC")


def trained(layout: Layout, pipeline: str) -> None:
    report = TrainReport(
        pipeline=pipeline, step="train", profile="full", created_utc="2026-05-06T23:59:00+00:00", git_commit="abc",
        git_dirty=False, code_digest="0", data_sha256="0", seed=0, duration_s=1.0, peak_rss_mib=1.0,
        environment=Environment(cpu="x", threads=1, load_1min=0.0, versions={}), model={}, windows={}, test={},
        interval={}, baselines={}, per_channel={}, timing={}, candidates={}, groups={}, beats_baselines=True,
        conclusion="",
    )  # fmt: skip
    write_report(layout.of(pipeline).reports, report)


def recordings(layout: Layout, **facts: Any) -> None:
    start = LAST - pd.Timedelta(hours=47)
    one = Recording("a", np.zeros((48, 1)), ("temp",), ("Cel",), 3600.0, start, time_zone="Europe/Berlin")
    early = Recording("b", np.zeros((5, 1)), ("temp",), ("Cel",), 3600.0, start, time_zone="Europe/Berlin")
    write_recordings(layout.of("p").recordings, [one, early], facts=facts)


def mixed(layout: Layout, *, has_time: bool = True) -> None:
    folder = layout.of("p").recordings
    folder.mkdir(parents=True)
    np.save(folder / "first.npy", np.array([0, 3, 10]))  # 3 and 7 steps of 30 min
    np.save(folder / "start_ns.npy", np.array([0, (LAST - pd.Timedelta(hours=3)).value]))
    write_json(
        folder / "manifest.json",
        {
            "kind": "mixed",
            "recordings": ["a", "b"],
            "interval_s": 1800.0,
            "has_time": has_time,
            "time_zone": "Europe/Berlin",
        },
    )


def labelled(layout: Layout, *, has_time: bool = True) -> None:
    start = (LAST - pd.Timedelta(seconds=5)).value  # the second stretch begins at sample 20 and holds 51 at 10 Hz
    person = LabelledRecording(
        "ann", np.zeros((71, 1), np.float32), np.zeros(71, np.int64), np.array([0, 20]), np.array([0, start])
    )
    found = LabelledSet((person,), ("x",), ("g",), 10.0, ("sit", "walk"), has_time, "Europe/Berlin")
    write_labelled(layout.of("p").recordings, found, facts={})


@pytest.mark.parametrize("made", [recordings, mixed, labelled])
def test_the_newest_sample_names_the_night_by_its_local_date(layout: Layout, made: Any) -> None:
    made(layout)
    assert night_of(layout, "p") == "2026-01-02"


def conditions(layout: Layout) -> None:
    write_json(layout.of("p").recordings / "manifest.json", {"kind": "conditions"})


@pytest.mark.parametrize(
    "made",
    [
        conditions,
        lambda layout: recordings(layout, has_time=False),
        lambda layout: mixed(layout, has_time=False),
        lambda layout: labelled(layout, has_time=False),
    ],
)
def test_without_a_time_the_day_of_the_training_does(layout: Layout, made: Any) -> None:
    made(layout)
    with pytest.raises(FileNotFoundError, match="run `foresense train p` first"):
        night_of(layout, "p")
    trained(layout, "p")
    assert night_of(layout, "p") == "2026-05-06"
