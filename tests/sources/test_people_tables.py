"""One's own people in rows of a table."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foresense.config.activity import ActivityIngestConfig
from foresense.signals.labelled import UNLABELLED
from foresense.sources import Places, SourceError
from foresense.sources.people import FoundPeople, load_people

ASKED: dict[str, Any] = {
    "source": "csv",
    "raw": "set",
    "rate_hz": 50,
    "found_unit": "m/s2",
    "asset_column": "Person",
    "columns": ["acc x", "acc y", "acc z"],
    "label_column": "Tätigkeit",
}
HEADER = "Person,Tätigkeit,acc x,acc y,acc z"


def read(folder: Path, **asked: Any) -> FoundPeople:
    config = ActivityIngestConfig.model_validate(ASKED | asked)
    return load_people(config.source)(config, Places(folder, folder, folder))


def write(folder: Path, *rows: str, header: str = HEADER) -> None:
    (folder / "set").mkdir(exist_ok=True)
    (folder / "set" / "w.csv").write_text("\n".join([header, *rows]) + "\n")


def test_rows_become_people_in_g_with_labels(tmp_path: Path) -> None:
    write(tmp_path, "b,Gehen,9.80665,0,0", "a,Sitzen,0,0,4.903325", "b,,0,x,0", "b,Sitzen,0,0,9.80665", "b,,0,0,0")
    found = read(tmp_path)
    labelled = found.labelled
    assert [one.person for one in labelled.people] == ["a", "b"]
    assert (labelled.classes, labelled.has_time, labelled.rate_hz) == (("Gehen", "Sitzen"), False, 50)
    np.testing.assert_allclose(labelled.people[0].samples, [[0, 0, 0.5]], rtol=1e-7)  # standard gravity, exactly
    np.testing.assert_allclose(labelled.people[1].samples, [[1, 0, 0], [0, 0, 1], [0, 0, 0]], rtol=1e-7)
    assert labelled.people[1].labels.tolist() == [0, 1, UNLABELLED]
    assert labelled.people[1].stretches.tolist() == [0, 1]
    assert [(one.kind, one.where) for one in found.findings] == [("refused", "w.csv:4 ('x')"), ("missing", "w.csv:4")]
    chosen = read(tmp_path, classes=["Sitzen"]).labelled
    assert chosen.people[1].labels.tolist() == [UNLABELLED, 0, UNLABELLED]


def test_a_clock_begins_stretches_and_must_agree_with_the_rate(tmp_path: Path) -> None:
    local = pd.date_range("2025-10-26 02:59:59.9", periods=12, freq="20ms").delete([5])
    rows = [f"a,Gehen,0,0,{n},{at.isoformat()}" for n, at in enumerate(local)]
    write(tmp_path, *rows, "a,Gehen,0,0,1,soon", header=f"{HEADER},Zeit")
    found = read(tmp_path, time_column="Zeit", time_zone="Europe/Berlin")
    (one,) = found.labelled.people
    assert one.stretches.tolist() == [0, 5]
    # no step back: the first passage, in summer time, two hours ahead of UTC; 03:00 is winter time, an hour later
    assert one.start_ns.tolist() == [
        pd.Timestamp(at).value for at in ("2025-10-26T00:59:59.9", "2025-10-26T02:00:00.02")
    ]
    assert [one.reason for one in found.refusals] == ["not an ISO 8601 time"]
    with pytest.raises(SourceError, match=r"a: ingest.rate_hz is 25, but timestamps give 50 Hz .*, from w\.csv:2\)"):
        read(tmp_path, time_column="Zeit", rate_hz=25)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"raw": None}, "ingest.raw: the source 'csv' reads files; name their folder below data/raw/"),
        ({"columns": ["x", "acc y", "acc z"]}, r"no column 'x' \(ingest.columns\)"),
        ({"label_column": "Taetigkeit"}, r"no column 'Taetigkeit' \(ingest.label_column\); did you mean 'Tätigkeit'\?"),
        ({"source": "cvs"}, "no source 'cvs' of people; did you mean 'csv'"),
    ],
)
def test_a_section_that_does_not_fit_says_what_to_set(tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    write(tmp_path, "a,Gehen,0,0,1")
    with pytest.raises(SourceError, match=message):
        read(tmp_path, **asked)
