import hashlib

import numpy as np
import pandas as pd
import pytest

from foresense.config import IngestConfig
from foresense.sources import SOURCES, Places, SourceError, load_source
from foresense.sources.tabular import read_csv_files, read_parquet_files

_CHANNELS = ({"name": "temp_body", "unit": "Cel"}, {"name": "current", "unit": "A", "column": "amps"})


def places(folder):
    return Places(raw=folder, project=folder, kept=folder)


def _config(**fields):
    return IngestConfig(**{"source": "csv", "raw": "hall", "time_column": "time", "channels": _CHANNELS, **fields})


def _write(raw, text, name="mill.csv"):
    path = raw / "hall" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_is_read_exactly_as_python_reads_its_numbers(tmp_path):
    path = _write(tmp_path, "time,temp_body,amps\n2024-01-01 00:00,0.1,5.827000141143799\n2024-01-01 01:00,,1e-3\n")
    found = read_csv_files(_config(), places(tmp_path))
    (table,) = found.tables
    assert table.asset == "mill"
    np.testing.assert_array_equal(table.values, [[0.1, 5.827000141143799], [np.nan, 1e-3]])
    assert table.times_ns[0] == pd.Timestamp("2024-01-01", tz="UTC").value
    assert table.place(1) == "mill.csv:3"
    line = f"{hashlib.sha256(path.read_bytes()).hexdigest()}  mill.csv\n"
    assert found.sha256 == hashlib.sha256(line.encode()).hexdigest()
    assert found.findings == found.refusals == ()


def test_cells_that_are_no_numbers_are_refused_named_and_missing(tmp_path):
    rows = ["2024-01-01 00:00,61.123456789012345,12", "2024-01-01 01:00,hot,inf", "2024-01-01 02:00,n/a,-inf"]
    _write(tmp_path, "\n".join(["time,temp_body,amps", *rows, ""]))
    found = read_csv_files(_config(), places(tmp_path))
    np.testing.assert_array_equal(found.tables[0].values, [[61.123456789012345, 12], [np.nan, np.nan], [np.nan] * 2])
    assert [(r.row, r.column, r.value, r.reason) for r in found.refusals] == [
        (3, "temp_body", "hot", "not a number"),
        (3, "amps", "inf", "infinite"),
        (4, "amps", "-inf", "infinite"),
    ]
    assert [(f.kind, f.n, f.where) for f in found.findings] == [
        ("refused", 2, "mill.csv:3 ('inf'), mill.csv:4 ('-inf')"),
        ("refused", 1, "mill.csv:3 ('hot')"),
    ]


def test_rows_without_a_usable_time_are_refused(tmp_path):
    _write(tmp_path, "time,temp_body,amps\n2024-01-01 00:00,60,12\nsoon,61,12\n,62,12\n\n")
    found = read_csv_files(_config(), places(tmp_path))
    assert found.tables[0].values[:, 0].tolist() == [60]
    assert [(r.row, r.value, r.reason) for r in found.refusals] == [
        (3, "soon", "not an ISO 8601 time"),
        (4, "<NA>", "no time"),
    ]
    assert "the row is left out" in found.findings[0].message


def test_clock_changes_are_handled_and_reported(tmp_path):
    times = ["2024-03-31 02:30", "2024-10-27 02:00", "2024-10-27 02:00"]
    _write(tmp_path, "time,temp_body,amps\n" + "".join(f"{t},60,1{i}\n" for i, t in enumerate(times)))
    found = read_csv_files(_config(time_zone="Europe/Paris"), places(tmp_path))
    assert np.diff(found.tables[0].times_ns).tolist() == [3600 * 10**9]
    kinds = {finding.kind: finding for finding in found.findings}
    assert kinds["clock_change"].n == 2
    assert "1 rows taken as the first passage, 1 as the second" in kinds["clock_change"].message
    assert "never happened in Europe/Paris" in kinds["refused"].message


def test_missing_columns_are_named_together_with_the_nearest(tmp_path):
    _write(tmp_path, "tme,temp_bdy,amps,note\n")
    with pytest.raises(SourceError) as caught:
        read_csv_files(_config(), places(tmp_path))
    assert str(caught.value) == (
        "mill.csv: no column 'time' (ingest.time_column); did you mean 'tme'?; "
        "no column 'temp_body' (channel 'temp_body'); did you mean 'temp_bdy'? (columns: tme, temp_bdy, amps, note)."
    )


def test_other_separators_are_recognised(tmp_path):
    _write(tmp_path, "time;temp_body;amps\n2024-01-01;1;2\n")
    with pytest.raises(SourceError, match=r"columns: time;temp_body;amps\)\. Cells must be separated by commas"):
        read_csv_files(_config(), places(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a CSV file with a header line"),
        (b"time,temp_body,amps\n1,2,3\n1,2,3,4,5\n", "not a CSV file with a header line: .*line 3"),
        (b"time,temp_body,amps\n2024-01-01,2,3,4\n", "rows have more cells than the header's 3"),
        ("time,temp_body,amps,°\n".encode("latin-1"), "not UTF-8 text"),
    ],
)
def test_broken_files_are_named(tmp_path, content, message):
    _write(tmp_path, content)
    with pytest.raises(SourceError, match=f"mill.csv: {message}"):
        read_csv_files(_config(), places(tmp_path))


def test_columns_that_nobody_asked_for_are_reported(tmp_path):
    _write(tmp_path, "\ufefftime,temp_body,amps,note\n2024-01-01,1,2,x\n")
    (finding,) = read_csv_files(_config(), places(tmp_path)).findings
    assert (finding.kind, finding.where) == ("unused_columns", "mill.csv: note")


def test_assets_of_a_column_and_of_several_files(tmp_path):
    _write(tmp_path, "time,who,temp_body,amps\n2024-01-01 00:00,b,1,1\n2024-01-01 00:00,a,2,2\n", "1.csv")
    _write(tmp_path, "time,who,temp_body,amps\n2024-01-01 01:00,b,3,3\n2024-01-01 01:00,,9,9\n", "2.csv")
    found = read_csv_files(_config(asset_column="who"), places(tmp_path))
    assert {table.asset: table.values[:, 0].tolist() for table in found.tables} == {"a": [2], "b": [1, 3]}
    assert [table.place(len(table.rows) - 1) for table in found.tables] == ["1.csv:3", "2.csv:2"]
    assert [(r.file, r.row, r.reason) for r in found.refusals] == [("2.csv", 3, "no asset")]


def test_one_asset_in_many_files(tmp_path):
    for hour in range(3):
        _write(tmp_path, f"time,temp_body,amps\n2024-01-01 0{hour}:00,{hour},1\n", f"part-{hour}.csv")
    (table,) = read_csv_files(_config(asset="mill", files="part-*.csv"), places(tmp_path)).tables
    assert table.values[:, 0].tolist() == [0, 1, 2]
    assert [t.asset for t in read_csv_files(_config(), places(tmp_path)).tables] == ["part-0", "part-1", "part-2"]


def test_parquet_gives_what_csv_gives(tmp_path):
    times = pd.date_range("2024-01-01", periods=4, freq="h")
    frame = pd.DataFrame({"time": times, "temp_body": [60.5, 61.25, np.nan, np.inf], "amps": [12, 13, 14, 15]})
    (tmp_path / "hall").mkdir()
    frame.to_csv(tmp_path / "hall" / "mill.csv", index=False)
    frame.set_index("time").to_parquet(tmp_path / "hall" / "mill.parquet")
    from_csv = read_csv_files(_config(), places(tmp_path))
    from_parquet = read_parquet_files(_config(), places(tmp_path))
    np.testing.assert_array_equal(from_csv.tables[0].values, from_parquet.tables[0].values)
    np.testing.assert_array_equal(from_csv.tables[0].times_ns, from_parquet.tables[0].times_ns)
    assert from_parquet.refusals[0].row == from_csv.refusals[0].row - 1 == 4  # a header line is a line


def test_what_is_no_parquet_is_named(tmp_path):
    _write(tmp_path, "time,temp_body\n", "mill.parquet")
    with pytest.raises(SourceError, match=r"mill.parquet: not a Parquet file"):
        read_parquet_files(_config(), places(tmp_path))


def test_no_file_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"hall: no file matches '\*.csv'; run `foresense fetch"):
        read_csv_files(_config(), places(tmp_path))
    with pytest.raises(SourceError, match=r"ingest.raw: the source 'csv' reads files"):
        read_csv_files(_config(raw=None), places(tmp_path))
    with pytest.raises(SourceError, match=r"'\.\./\*' must stay below data/raw/hall/"):
        read_csv_files(_config(files="../*"), places(tmp_path))


def test_the_catalog_loads_every_source_and_names_the_nearest():
    assert all(callable(load_source(name)) for name in SOURCES)
    with pytest.raises(SourceError, match=r"no source 'parket'; did you mean 'parquet'\? \(known: csv, ett, parquet"):
        load_source("parket")
