"""Forecasts of a fleet against closed forms, and every way in which an asset cannot be forecast."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from foresense.config import WindowConfig
from foresense.signals import read_recordings, write_recordings
from foresense.steps.forecast_context import SkippedForecastError, by_asset, newest_context
from foresense.steps.forecast_table import AssetForecast, forecast_files, read_forecasts, write_forecasts
from foresense.windows import build_windows


def test_a_forecast_is_that_of_the_model_in_physical_units_with_its_interval(fleet, small) -> None:
    samples = small.cycle(200)
    samples[180] += [40.0, -30.0]  # far outside of what the scaler saw; it must reach the model as it is
    fleet.write(small.recording("lathe", samples))
    run = fleet.run()
    assert run.made_at_s == small.seconds(199)
    rows = pq.read_table(run.path).to_pandas()
    assert list(rows.columns) == [
        "made_at", "asset", "channel", "step", "time", "predicted", "lower", "upper", "unit", "version",
    ]  # fmt: skip
    assert len(rows) == 2 * small.HORIZON
    widths = json.loads((fleet.layout.root / "versions/lathe/conformal.json").read_text())["half_width"]
    for number, (channel, unit) in enumerate(zip(small.CHANNELS, small.UNITS, strict=True)):
        found = rows[rows["channel"] == channel]
        np.testing.assert_allclose(found["predicted"], small.expected(samples, 199)[:, number], rtol=1e-5)
        half = np.array(widths)[:, number] * [20.0, 10.0][number]
        np.testing.assert_allclose((found["upper"] - found["lower"]) / 2, half, rtol=1e-6)
        assert found["step"].tolist() == list(range(1, small.HORIZON + 1))
        assert (found["time"].astype("int64") // 10**3 == [small.seconds(199 + n) for n in found["step"]]).all()
        assert set(zip(found["asset"], found["unit"], found["version"], strict=True)) == {("lathe", unit, "1")}
    np.testing.assert_array_equal(rows["made_at"].astype("int64") // 10**3, run.made_at_s)


def test_a_context_is_filled_and_scaled_bit_for_bit_as_in_training(small) -> None:
    samples = small.cycle(600)
    rng = np.random.default_rng(3)
    for row in rng.integers(5, 595, 40):
        samples[row : row + rng.integers(1, 6), rng.integers(0, 2)] = np.nan  # some longer than max_gap
    config = WindowConfig(context=small.CONTEXT, horizon=12, max_gap=small.MAX_GAP)
    recording = small.recording("lathe", samples)
    windows, _ = build_windows("lathe", [recording], config)
    measured = by_asset([recording])["lathe"]
    cuts = [0, 420, 510]  # where training treats a gap in another way
    starts = [start for part in ("train", "validation", "test") for start in windows.starts[part]]
    compared = 0
    for start in starts:
        end = start + small.CONTEXT
        near_cut = any(np.isnan(samples[cut - 5 : cut + 5]).any() and start - 5 < cut < end + 5 for cut in cuts[1:])
        if near_cut:
            continue
        now_s = small.seconds(int(end) - 1)
        found = newest_context(
            measured.until(now_s), n_rows=small.CONTEXT, max_gap=small.MAX_GAP, scaler=windows.scaler,
            now_s=now_s, max_age_s=0,
        )  # fmt: skip
        np.testing.assert_array_equal(found.scaled, windows.samples[start:end])
        compared += 1
    assert compared > 100


def broken(samples: np.ndarray, what: str) -> np.ndarray:
    """The same samples with something wrong."""
    changed = samples.copy()
    if what == "gap":
        changed[170:175, 1] = np.nan
    if what == "dead":
        changed[150:, 0] = np.nan
    if what == "never":
        changed[:, 0] = np.nan
    if what == "silent":
        changed[190:] = np.nan
    return changed


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("gap", r"a gap in current until 2025-01-13T06:00:00Z is longer than 3 rows .*newest 48; 25 rows since then"),
        ("dead", r"2025-01-12T05:00:00Z is 50 h old, at most 3 h asked; others go on, but temp_body has no value"),
        ("never", r"^no value of temp_body in any of its 200 rows$"),
        ("silent", r"^newest complete sample 2025-01-13T21:00:00Z is 10 h old, at most 3 h asked$"),
        ("short", r"^30 of 48 rows$"),
        ("break", r"^40 of 48 rows since the break before 2025-01-12T16:00:00Z$"),
    ],
)
def test_an_asset_that_cannot_be_forecast_is_skipped_with_the_reason_and_the_others_go_on(
    fleet, small, what, reason
) -> None:
    samples = small.cycle(200)
    if what == "short":
        bad = [small.recording("bad", samples[170:], first_row=170)]
    elif what == "break":
        bad = [small.recording("bad", samples[:100]), small.recording("bad", samples[160:], first_row=160)]
    else:
        bad = [small.recording("bad", broken(samples, what))]
    fleet.write(*bad, small.recording("good", samples))
    run = fleet.run()
    outcome = {one.asset: one for one in run.outcomes}
    assert outcome["good"].status == "success"
    assert outcome["bad"].status == "skipped"
    assert re.search(reason, outcome["bad"].reason), outcome["bad"].reason
    assert set(read_forecasts(run.path)) == {"good"}


def test_the_context_ends_in_the_newest_row_with_every_channel(fleet, small) -> None:
    samples = small.cycle(200)
    samples[198:, 1] = np.nan
    fleet.write(small.recording("lathe", samples))
    run = fleet.run()
    assert run.outcomes[0].origin == "2025-01-14T05:00:00Z"  # row 197; current is missing after it
    np.testing.assert_allclose(run.forecasts[0].predicted, small.expected(samples, 197), rtol=1e-5)
    assert fleet.run(max_age_s=small.HOUR).outcomes[0].status == "skipped"


def test_no_sample_after_now_is_looked_at(fleet, small) -> None:
    samples = small.cycle(300)
    fleet.write(small.recording("lathe", samples))
    early = fleet.run(now_s=small.seconds(220))
    samples[221:] += 100.0
    fleet.write(small.recording("lathe", samples))
    again = fleet.run(now_s=small.seconds(220))
    np.testing.assert_array_equal(early.forecasts[0].predicted, again.forecasts[0].predicted)
    assert {key: early.report[key] for key in ("channels", "alarms")} == {
        key: again.report[key] for key in ("channels", "alarms")
    }


@pytest.mark.parametrize("name", ["model/model.safetensors", "scaler.json", "conformal.json", "windowing.json"])
def test_an_altered_version_is_refused_before_it_is_loaded_and_stops_no_other(fleet, small, name, monkeypatch) -> None:
    fleet.write(small.recording("a", small.cycle(200)), small.recording("b", small.cycle(200, seed=1)))
    path = fleet.version("a").folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    loaded = []
    monkeypatch.setattr("foresense.models.load_model", lambda folder: loaded.append(folder))
    run = fleet.run(assets=["a"])
    assert loaded == []
    assert run.outcomes[0].status == "failed"
    assert re.match(rf"VersionError: .*{re.escape(name)} is altered", run.outcomes[0].reason)
    monkeypatch.undo()
    assert [one.status for one in fleet.run().outcomes] == ["failed", "success"]


def test_samples_of_another_layout_are_refused(fleet, small) -> None:
    recording = small.recording("lathe", small.cycle(200))
    turned = type(recording)(
        "lathe", recording.samples[:, ::-1], small.CHANNELS[::-1], small.UNITS[::-1], 3600.0, small.START
    )
    fleet.write(turned)
    reason = fleet.run().outcomes[0].reason
    assert "trained on channels ['temp_body', 'current'], found ['current', 'temp_body']" in reason


def test_an_error_of_any_kind_is_the_outcome_of_its_asset(fleet, small) -> None:
    fleet.write(small.recording("a", small.cycle(200)), small.recording("b", small.cycle(200)))

    def versions(asset: str):
        if asset == "a":
            raise KeyError("anything at all")
        return fleet.version(asset)

    run = fleet.run(versions=versions)
    assert [(one.status, one.reason) for one in run.outcomes] == [
        ("failed", "KeyError: 'anything at all'"),
        ("success", ""),
    ]


def test_an_unknown_asset_names_the_nearest(fleet, small) -> None:
    fleet.write(small.recording("lathe-1", small.cycle(200)), small.recording("press-2", small.cycle(200)))
    message = r"--asset: plant has no recording of 'lathe1', did you mean 'lathe-1'\? \(2 assets have one\)"
    with pytest.raises(ValueError, match=message):
        fleet.run(assets=["lathe1"])
    with pytest.raises(ValueError, match=r"no recording of 'zzz' \(2 assets"):
        fleet.run(assets=["zzz"])


def test_a_repeat_changes_no_byte_and_some_assets_alone_leave_the_others(fleet, small) -> None:
    fleet.write(*(small.recording(name, small.cycle(200, seed=n)) for n, name in enumerate(("a", "b"))))
    first = fleet.run()
    files = [first.path, fleet.forecasts / "anomalies.parquet", fleet.forecasts / "at_risk.html"]
    before = [path.read_bytes() for path in files]
    fleet.run()
    assert [path.read_bytes() for path in files] == before
    later = small.make_version(fleet.layout.root / "other", "b", label="2")
    fleet.run(assets=["b"], versions=lambda _: later)
    assert {asset: one.version for asset, one in read_forecasts(first.path).items()} == {"a": "1", "b": "2"}
    assert files[2].read_bytes() == before[2]  # the page of the fleet stays that of the fleet
    assert list(forecast_files(fleet.forecasts)) == [first.made_at_s]


def test_forecasts_read_back_as_written(tmp_path) -> None:
    rng = np.random.default_rng(0)
    times_s = np.arange(1, 6) * 60 + 10
    written = [
        AssetForecast("z", "3", ("b", "a"), ("1", "A"), times_s, *rng.normal(size=(3, 5, 2))),
        AssetForecast("a b/ü", "latest-12", ("x",), ("Cel",), times_s + 7, *rng.normal(size=(3, 5, 1))),
    ]
    path = write_forecasts(tmp_path, 1_700_000_000, written)
    assert path.name == "2023-11-14T22-13-20Z.parquet"
    assert forecast_files(tmp_path) == {1_700_000_000: path}
    found = read_forecasts(path)
    for one in written:
        for name in AssetForecast.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(found[one.asset], name), getattr(one, name), strict=False)


@pytest.mark.parametrize(("content", "message"), [(b"no parquet", "no forecasts can be read"), (None, "columns")])
def test_a_damaged_file_of_forecasts_says_so(tmp_path, content, message) -> None:
    path = tmp_path / "2025-01-01T00-00-00Z.parquet"
    if content is None:
        pq.write_table(__import__("pyarrow").table({"x": [1]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_forecasts(path)


def test_nothing_measured_is_an_error_that_says_where_to_look(fleet, small) -> None:
    fleet.write(small.recording("lathe", np.full((200, 2), np.nan)))
    with pytest.raises(ValueError, match=r"no recording holds a measured sample; look at reports/plant/ingest\.json"):
        fleet.run()


def test_a_skipped_asset_says_what_is_missing_of_its_rows(small) -> None:
    samples = small.cycle(10)
    samples[::2, 0], samples[1::2, 1] = np.nan, np.nan
    measured = by_asset([small.recording("lathe", samples)])["lathe"]
    with pytest.raises(SkippedForecastError, match=r"^no row with every channel in any of its 10 rows$"):
        newest_context(measured, n_rows=5, max_gap=1, scaler=None, now_s=0, max_age_s=0)


def test_recordings_are_read_as_ingest_left_them(fleet, small) -> None:
    recording = small.recording("lathe", small.cycle(50))
    write_recordings(fleet.layout.of("plant").recordings, [recording], facts={})
    measured = by_asset(read_recordings(fleet.layout.of("plant").recordings))["lathe"]
    np.testing.assert_array_equal(measured.at(np.array([small.seconds(7), small.seconds(7) + 1])),
                                  [recording.samples[7], [np.nan, np.nan]])  # fmt: skip
    assert measured.until(small.seconds(9)).newest_s == small.seconds(9)
