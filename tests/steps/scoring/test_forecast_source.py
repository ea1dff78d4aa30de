"""Which version forecasts: the registry's champion, or the newest training, which every row then names."""

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from foresense.__main__ import app
from foresense.registry import open_registry
from foresense.signals import write_json
from foresense.steps.forecast_source import newest_trainings
from foresense.windows import build_windows, write_windows


def call(*words: str):
    return CliRunner().invoke(app, ["forecast", "plant", *words], catch_exceptions=False)


@pytest.mark.usefixtures("mlflow_store")
def test_the_champion_forecasts_and_an_asset_without_one_says_what_to_do(fleet, small) -> None:
    fleet.write(small.recording("lathe", small.cycle(200)), small.recording("press", small.cycle(200)))
    registry = open_registry(fleet.layout, "plant")
    for number in (1, 2):
        folder = fleet.layout.root / f"built-{number}"
        small.make_version(folder, "lathe", level=0.8 + number / 20)
        registry.register(folder)
    registry.promote("lathe", 2, who="test", reason="widest")
    done = call()
    assert done.exit_code == 0
    assert "1 success, 1 skipped, 0 failed" in done.output
    assert "no champion of 'press'" in " ".join(done.output.split())
    rows = pq.read_table(next(fleet.forecasts.glob("2*.parquet"))).to_pydict()
    assert (set(rows["asset"]), set(rows["version"])) == ({"lathe"}, {"2"})
    assert "NOT PROMOTED" not in done.output


def trained(fleet, small, asset: str) -> None:
    """What `window` and `train` leave of one asset."""
    recording = small.recording(asset, small.cycle(24 * 90))
    fleet.write(recording)
    windows, _ = build_windows(asset, [recording], fleet.config.window)
    paths = fleet.layout.of("plant")
    write_windows(paths.windows / asset, windows)
    write_json(paths.windows / "manifest.json", {"schema_version": 1, "groups": [asset], "recordings_sha256": "0" * 64})
    ref = small.make_version(fleet.layout.root / "made", asset)
    paths.models.mkdir(parents=True)
    (ref.folder / "model").rename(paths.models / asset)
    write_json(paths.models / asset / "evaluation.json", {})


def test_the_newest_training_is_asked_for_and_said_loudly(fleet, small) -> None:
    trained(fleet, small, "lathe")
    done = call("--latest")
    assert done.exit_code == 0, done.output
    assert "NOT PROMOTED: 1 machines were forecast with the newest training (--latest)" in done.output
    (path,) = fleet.forecasts.glob("2*.parquet")
    (label,) = set(pq.read_table(path)["version"].to_pylist())
    assert label.startswith("latest-")
    assert "nobody promoted (--latest)" in (fleet.forecasts / "at_risk.html").read_text()

    first = newest_trainings(fleet.layout, "plant", fleet.config)("lathe")
    assert first.label == label
    built = (first.folder / "manifest.json").stat().st_mtime_ns
    again = newest_trainings(fleet.layout, "plant", fleet.config)("lathe")
    assert (again.folder / "manifest.json").stat().st_mtime_ns == built  # of equal weights and data: not built again
    weights = fleet.layout.of("plant").models / "lathe" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    other = newest_trainings(fleet.layout, "plant", fleet.config)("lathe")
    assert other.label != label
    assert (other.folder / "manifest.json").stat().st_mtime_ns != built


def test_an_asset_that_was_never_trained_is_skipped(fleet, small) -> None:
    trained(fleet, small, "lathe")
    fleet.write(*(small.recording(name, small.cycle(200)) for name in ("lathe", "new")))
    run = fleet.run(versions=newest_trainings(fleet.layout, "plant", fleet.config))
    assert [(one.asset, one.status, one.reason) for one in run.outcomes] == [
        ("lathe", "success", ""),
        ("new", "skipped", "no model of 'new'; run `foresense train plant` first"),
    ]
