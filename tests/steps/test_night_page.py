"""The page of a night: the loud things first, every name escaped."""

import re

import numpy as np
import pandas as pd
import pytest

from foresense.signals import Environment, Layout, Recording, TrainReport, write_json, write_recordings, write_report
from foresense.steps.night_page import write_page
from foresense.steps.promotion import night_folder

NIGHT = "2026-01-02"
ODD = "<b>mill & co</b>"


def decision(asset: str, status: str, reason: str, champion: int | None = 1) -> dict[str, object]:
    return {"asset": asset, "status": status, "reason": reason, "challenger": 2, "champion": champion, "evidence": None}


@pytest.fixture
def lived(layout: Layout) -> Layout:
    start = pd.Timestamp("2026-01-01", tz="UTC")
    recording = Recording("a", np.zeros((48, 1)), ("temp",), ("Cel",), 3600.0, start)
    write_recordings(layout.of("plant").recordings, [recording], facts={})
    report = TrainReport(
        pipeline="plant", step="train", profile="full", created_utc="2026-01-02T00:00:00+00:00", git_commit="abc",
        git_dirty=False, code_digest="0", data_sha256="0", seed=0, duration_s=1.0, peak_rss_mib=1.0,
        environment=Environment(cpu="x", threads=1, load_1min=0.0, versions={}), model={}, windows={}, test={},
        interval={}, baselines={}, per_channel={}, timing={}, candidates={}, groups={}, beats_baselines=True,
        conclusion="plant: 2 machines with a model of their own",
        outcomes={"a": {"status": "success"}, "press": {"status": "failed", "model": "shared", "reason": "died"}},
    )  # fmt: skip
    write_report(layout.of("plant").reports, report)
    quiet = {"champion": 1, "channels": [], "moved": [], "alarm": [], "error": None}
    loud = {"champion": 3, "channels": [{"verdict": "unknown"}], "moved": ["temp"], "alarm": ["temp"], "error": None}
    drift = {"n_consecutive": 2, "problems": [{"asset": "c", "kind": "silent", "text": "9 h behind"}]}
    folder = night_folder(layout, "plant", NIGHT)
    write_json(folder / "drift.json", drift | {"assets": {"a": quiet, ODD: loud}})
    judged = decision("a", "unchanged", "nothing new") | {"evidence": "nights/plant/2026-01-02/evidence/the a"}
    decisions = [judged, decision(ODD, "promoted", "better", None)]
    write_json(folder / "decisions.json", {"assets": [*decisions, decision("c", "failed", "no file")]})
    return layout


def test_the_page_tells_what_a_person_has_to_look_at_first(lived: Layout) -> None:
    path = write_page(lived, "plant")
    assert path == night_folder(lived, "plant", NIGHT) / "index.html"
    text = path.read_text()
    assert "1 machine has moved away from what their champion was trained on, 2 nights in a row" in text
    assert "1 channels had too little data for a verdict" in text
    assert "Challengers: 1 failed, 1 promoted, 1 unchanged" in text
    rows = re.findall(r"<tr><td>(.*?)<td><span class=\"\w*\">(\w+)</span><td>(.*?)<td>(.*?)</tr>", text)
    assert [(status, versions) for _, status, versions, _ in rows] == [
        ("failed", "2 against 1"), ("promoted", "2 against none"), ("unchanged", "2 against 1"),
    ]  # fmt: skip
    assert rows[2][0] == '<a href="evidence/the%20a/evidence.html">a</a>'
    assert "press<td>failed<td>shared<td>died" in text
    assert "9 h behind" in text
    assert ODD not in text
    assert "&lt;b&gt;mill &amp; co&lt;/b&gt;" in text


def test_a_night_that_has_decided_nothing_yet_has_no_page(lived: Layout) -> None:
    (night_folder(lived, "plant", NIGHT) / "decisions.json").unlink()
    with pytest.raises(FileNotFoundError):
        write_page(lived, "plant")
