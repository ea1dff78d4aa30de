"""`foresense migrate` as a person calls it."""

import re
import uuid
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from store_old_rows import expected_new, full, new, of, rows, same
from typer.testing import CliRunner

from foresense.__main__ import app
from foresense.config import IngestConfig
from foresense.sources.store import read_means
from foresense.stores import Batch
from foresense.stores.embedded import EmbeddedStore
from foresense.stores.influx import InfluxSettings, InfluxStore


def call(folder: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["--project", str(folder), "migrate", *words], env={"FORESENSE_PROJECT": ""})
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "csv"], "--from: no format 'csv'; known: old-format"),
        (
            ["--from", "old-format", "--option", "drop"],
            "--option: no option 'drop'; known: delete, new-bucket, transform",
        ),
        (
            ["--from", "old-format", "--apply"],
            "--apply: needs --option, which says what to do: delete, new-bucket, transform",
        ),
        (
            ["--from", "old-format", "--option", "new-bucket"],
            "--option new-bucket: needs --to influx:<bucket> or --to embedded:<folder>, where to write",
        ),
        (
            ["--from", "old-format", "--option", "delete", "--to", "influx:b"],
            "--to influx:b: only --option new-bucket writes elsewhere, found --option delete",
        ),
        (
            ["--from", "old-format", "--to", "influx:b"],
            "--to influx:b: only --option new-bucket writes elsewhere, found --option (none)",
        ),
        (
            ["--from", "old-format", "--option", "new-bucket", "--to", "csv"],
            "no store 'csv'; known: embedded:<folder>, influx (address in FORESENSE_INFLUX_URL), influx:<bucket>",
        ),
    ],
)
def test_wrong_words_are_refused_with_what_is_right(tmp_path, words, message) -> None:
    code, text = call(tmp_path, *words, "--store", "embedded:store")
    assert code == 1
    assert text == message
    assert list(tmp_path.iterdir()) == []


def test_the_store_itself_is_no_other_bucket(tmp_path) -> None:
    words = ("--from", "old-format", "--option", "new-bucket", "--store", "embedded:a", "--to", "embedded:b/../a")
    code, text = call(tmp_path, *words)
    assert code == 1
    assert text.startswith(f"--to: embedded:b/../a is the store that is read (embedded:{tmp_path}/a); name another")


def test_the_command_counts_transforms_and_deletes(tmp_path) -> None:
    store = EmbeddedStore(tmp_path / "store")
    store.write(full(8))
    store.close()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    start = ("--from", "old-format", "--store", "embedded:store")
    for words in (
        (),
        ("--option", "transform"),
        ("--option", "delete"),
        ("--option", "new-bucket", "--to", "embedded:n"),
    ):
        code, text = call(tmp_path, *start, *words)
        assert code == 0
        assert f"embedded:{tmp_path}/store: 8 samples of the old format\n" in text
        assert "  lathe: 8, 2025-01-01T00:00:00Z to 2025-01-01T00:01:10Z\n" in text
        assert "nothing was changed; --apply does it" in text or not words
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    code, text = call(tmp_path, *start, "--option", "transform", "--apply")
    assert (code, "written beside the old ones: 24 values; there already 0, in conflict 0" in text) == (0, True)
    assert "the old fields are still there; --option delete removes them, after a backup" in text
    code, text = call(tmp_path, *start, "--option", "delete", "--apply")
    assert (code, "deleted the old fields of 8 samples" in text) == (0, True)
    (backup,) = (tmp_path / "migration").glob("*-old-format.parquet")
    assert f"backup {backup}: 8 samples, read back and equal, SHA-256 " in text
    code, text = call(tmp_path, *start)
    assert text == f"embedded:{tmp_path}/store: no samples of the old format\n"
    same(rows(EmbeddedStore(tmp_path / "store")), expected_new(full(8)))


@pytest.mark.parametrize("option", ["transform", "delete"])
def test_what_ingest_kept_of_the_store_goes_when_it_is_changed(tmp_path, option) -> None:
    store = EmbeddedStore(tmp_path / "store")
    store.write(full(48 * 360))  # two days
    store.close()
    kept = tmp_path / ".foresense" / "kept"
    channels = ({"name": "accX", "unit": "g"}, {"name": "temp_body", "unit": "Cel"})
    config = IngestConfig(source="store", channels=channels, late_h=2)

    def means():
        with closing(EmbeddedStore(tmp_path / "store")) as store:
            now_ns = store.assets()["lathe"][1] + 10**12
            return read_means(store, "s", config, kept / "live", now_ns).tables[0].values

    store = EmbeddedStore(tmp_path / "store")
    store.write(Batch.of_asset("lathe", full(1).times_ns - 1, ("temp_body",), np.zeros((1, 1))))
    store.close()
    before = means()
    start = ("--from", "old-format", "--store", "embedded:store", "--option", option)
    assert call(tmp_path, *start)[0] == 0
    assert kept.exists()
    code, text = call(tmp_path, *start, "--apply")
    assert (code, f"removed: {kept} (what ingest read of the store before; " in text) == (0, True)
    if option == "transform":
        assert np.isnan(before[1:, 1]).all()
        assert not np.isnan(means()[:, 1]).any()
    else:
        assert not np.isnan(before[1:, 0]).any()
        assert np.isnan(means()[:, 0]).all()


def test_the_documented_lines_put_back_what_several_deletions_removed(tmp_path, monkeypatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    words = ("--from", "old-format", "--store", "embedded:store", "--option", "delete", "--apply")
    for first in (0, 8):
        with closing(EmbeddedStore(tmp_path / "store")) as store:
            store.write(full(8, first=first))
        assert call(tmp_path, *words)[0] == 0
    assert len(list((tmp_path / "migration").glob("*-old-format.parquet"))) == 2
    assert rows(EmbeddedStore(tmp_path / "store")) == {}
    monkeypatch.chdir(tmp_path)
    exec(lines, {})
    same(rows(EmbeddedStore(tmp_path / "store")), of(full(8)) | of(full(8, first=8)))


def test_a_store_folder_that_is_not_there_or_a_file_is_named(tmp_path) -> None:
    code, text = call(tmp_path, "--from", "old-format", "--store", "embedded:typo")
    assert (code, text.startswith("--store: embedded:typo is not there, expected the folder of an embedded")) == (
        1,
        True,
    )
    assert f" at {tmp_path}/typo; name the one that the bridge writes to with --store or FORESENSE_STORE" in text
    (tmp_path / "typo").write_text("a file")
    code, text = call(tmp_path, "--from", "old-format", "--store", "embedded:typo")
    assert (code, text.startswith("--store: embedded:typo is a file, expected the folder")) == (1, True)


def test_a_conflict_is_exit_code_1_with_the_file_that_tells_it(tmp_path) -> None:
    store = EmbeddedStore(tmp_path / "store")
    store.write(full(2))
    store.write(new(1))
    store.close()
    code, text = call(tmp_path, "--from", "old-format", "--option", "transform", "--apply")
    assert code == 1
    (left,) = (tmp_path / "migration").glob("*-left.jsonl")
    assert f"1 samples of which something was left: see {left}" in text


def test_the_command_reads_influxdb_and_writes_another_bucket(influxd, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FORESENSE_INFLUX_URL", influxd.url)
    source, target = f"b_{uuid.uuid4().hex}", f"b_{uuid.uuid4().hex}"
    with InfluxStore(InfluxSettings(url=influxd.url, bucket=source)) as store:
        store.prepare()
        store.write(full(8))
        start = ("--from", "old-format", "--store", f"influx:{source}", "--option", "new-bucket")
        code, text = call(tmp_path, *start, "--to", f"influx:{target}", "--apply")
        assert (code, f"written to influx:{target} at {influxd.url}, measurement sensor_data: 32 values" in text) == (
            0,
            True,
        )
        assert "  lathe (sensor_type machine): 8, 2025" in text
        code, text = call(tmp_path, *start, "--to", "embedded:new", "--apply")
        assert code == 0
        assert rows(store) == of(full(8))
    with InfluxStore(InfluxSettings(url=influxd.url, bucket=target)) as store:
        same(rows(store), expected_new(full(8)))
    same(rows(EmbeddedStore(tmp_path / "new")), expected_new(full(8)))
