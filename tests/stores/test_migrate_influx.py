"""What only InfluxDB has in a migration: several series, whole points, types, servers that cannot delete."""

import json
import uuid

import numpy as np
import pytest
from store_old_rows import STEP, T0, expected_new, full, new, of, rows, same

from foresense.stores import influx_erase, migrate
from foresense.stores.batch import Batch, StoreError
from foresense.stores.influx import InfluxSettings, InfluxStore
from foresense.stores.influx_erase import KEPT
from foresense.stores.old_format import FIELDS, MARKERS, NEW_MARKERS


@pytest.fixture
def influx(influxd):
    with InfluxStore(InfluxSettings(url=influxd.url, measurement=f"m_{uuid.uuid4().hex}")) as store:
        yield store


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3, 4, 5, 6, 8, 10])
def test_killed_at_any_step_of_a_deletion_new_values_can_be_read_and_it_goes_on(
    influx, tmp_path, monkeypatch, fails_at
) -> None:
    influx.write(full())
    influx.write(new(10, first=5))
    must_stay = of(new(10, first=5))
    n_steps = iter(range(100))
    write, delete = InfluxStore.write, InfluxStore.delete

    def write_unless_killed(self, batch):
        if next(n_steps) == fails_at:
            raise KeyboardInterrupt
        return write(self, batch)

    def delete_unless_killed(self, *arguments):
        if next(n_steps) == fails_at:
            raise KeyboardInterrupt
        return delete(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(InfluxStore, "write", write_unless_killed)
        patch.setattr(InfluxStore, "delete", delete_unless_killed)
        with pytest.raises(KeyboardInterrupt):
            migrate.delete(influx, backup_path=tmp_path / "first.parquet", apply=True)
    now = rows(influx)
    assert {key: now[key] for key in must_stay} == must_stay
    assert (migrate.delete(influx, backup_path=tmp_path / "dry", apply=False).n_put_back > 0) == (fails_at % 6 > 0)
    assert rows(influx) == now
    migrate.delete(influx, backup_path=tmp_path / "second.parquet", apply=True)
    assert rows(influx) == must_stay
    assert rows(influx.view("machine")) == must_stay
    assert rows(influx.view("machine" + KEPT)) == {}


def test_what_was_put_back_does_not_overwrite_what_came_meanwhile(influx) -> None:
    influx.view("machine" + KEPT).write(new(3))
    newer = Batch.of_asset("lathe", new(3).times_ns[1:2], ("current",), np.array([[3.0]]))
    influx.write(newer)
    assert influx.mend() == 3
    assert rows(influx) == of(new(3)) | of(newer)
    assert influx.mend() == 0


def test_series_keep_their_sensor_type_and_are_not_averaged(influx, influxd, tmp_path) -> None:
    sent = {"machine": full(5), "vibration": full(5, first=3), "": full(5, first=20)}
    for sensor_type, batch in sent.items():
        influx.view(sensor_type).write(batch)
    assert influx.sensor_types() == ("", "machine", "vibration")
    assert [(one.sensor_type, one.n_samples) for one in migrate.find(influx)] == [
        ("", 5),
        ("machine", 5),
        ("vibration", 5),
    ]
    target = InfluxStore(influx.settings.model_copy(update={"bucket": f"b_{uuid.uuid4().hex}"}))
    assert not target.exists()
    planned = migrate.transform(influx, target, path=tmp_path / "left.jsonl", apply=False)
    assert (planned.n_values_written, target.exists()) == (60, False)
    done = migrate.transform(influx, target, path=tmp_path / "left.jsonl", apply=True)
    assert (done.n_values_written, done.n_conflicts) == (
        52,
        8,
    )  # two series, one time, other values: the first holds
    same(rows(target.view("machine")), expected_new(sent["machine"]))
    same(rows(target.view("")), expected_new(sent[""]))
    same(rows(target.view("vibration")), expected_new(sent["vibration"].rows(slice(2, 5))))
    target.close()


def test_old_and_new_in_two_series_lose_nothing_but_the_old(influx, tmp_path) -> None:
    influx.view("vibration").write(full(10))
    influx.write(new(5, first=3))
    migrate.delete(influx, backup_path=tmp_path / "backup.parquet", apply=True)
    assert rows(influx.view("machine")) == of(new(5, first=3))
    still = full(10).rows(slice(3, 8))
    assert rows(influx.view("vibration")) == of(still, ["current"])  # today's asset has a current at these times


@pytest.mark.parametrize(
    ("field", "kind"), [('state="on"', "string"), ("is_on=true", "boolean"), ("n_starts=4i", "integer")]
)
def test_what_cannot_be_written_back_is_refused_before_a_deletion(influx, tmp_path, field, kind) -> None:
    influx.write(full())
    line = f"{influx.settings.measurement},workspace_id=lathe,sensor_type=machine {field} {T0 + STEP}\n"
    assert influx._session.post_lines("/write", {"db": influx.settings.bucket}, line.encode()).is_ok
    with pytest.raises(
        StoreError,
        match=rf"field '{field.partition('=')[0]}' of asset 'lathe' holds {kind}, and InfluxDB would delete it "
        r"together with the old fields beside it; write the samples to another bucket instead \(--option new-b",
    ):
        migrate.delete(influx, backup_path=tmp_path / "backup.parquet", apply=True)
    assert rows(influx) == of(full())


def test_one_sample_that_would_stay_alone_is_refused(influx, tmp_path) -> None:
    """influxd 1.6.7 answers nothing for a series that was emptied and written again, until it is restarted."""
    influx.write(full(3))
    influx.write(new(1, first=1))
    before = rows(influx)
    with pytest.raises(StoreError, match="asset 'lathe': one sample alone would stay in the series of sensor_type"):
        influx.erase("lathe", full(3).times_ns, (*MARKERS, "current", *NEW_MARKERS[1:]))
    assert rows(influx) == before


def test_further_tags_are_refused(influx) -> None:
    line = f"{influx.settings.measurement},workspace_id=lathe,line=3,sensor_type=machine tempA=4 1\n"
    influx._session.post_lines("/write", {"db": influx.settings.bucket}, line.encode())
    with pytest.raises(StoreError, match=r"has the tag\(s\) line besides workspace_id and sensor_type"):
        migrate.find(influx)


def test_a_server_that_cannot_delete_is_refused_before_anything_is_written(influx, tmp_path) -> None:
    influx.write(full())
    influx.write(new())
    before = rows(influx)
    v3 = InfluxStore(influx.settings.model_copy(update={"flavour": "v3"}))
    with v3, pytest.raises(StoreError, match=r"cannot delete samples; .* another bucket instead"):
        influx_erase.erase(v3, "lathe", full().times_ns, MARKERS)
    assert rows(influx) == before


def test_a_stretch_that_something_else_writes_to_is_noticed_after_its_deletion(influx, monkeypatch) -> None:
    influx.write(full())
    delete = InfluxStore.delete

    def and_write(self, *arguments):
        delete(self, *arguments)
        self.write(new(1))

    monkeypatch.setattr(InfluxStore, "delete", and_write)
    with pytest.raises(StoreError, match="after a deletion the store holds other values than those that were to stay"):
        influx.erase("lathe", full().times_ns, FIELDS)


def test_rows_that_the_server_refuses_are_counted_and_told(influx, tmp_path) -> None:
    influx.write(full(3))
    target = InfluxStore(influx.settings.model_copy(update={"bucket": f"b_{uuid.uuid4().hex}"}))
    target.prepare()
    line = f"{influx.settings.measurement},workspace_id=x temp_body=4i {T0 + STEP}\n"
    target._session.post_lines("/write", {"db": target.settings.bucket}, line.encode())
    with target:
        done = migrate.transform(influx, target, path=tmp_path / "left.jsonl", apply=True)
        assert (done.n_values_written, done.n_values_refused, done.n_rows_left) == (0, 12, 3)
    (reason,) = json.loads((tmp_path / "left.jsonl").read_text().splitlines()[0])["reasons"]
    assert reason.startswith('refused by the store: partial write: field type conflict: input field "temp_body"')
