import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foresense.config import STEPS, SplitConfig, WindowConfig
from foresense.signals import (
    PARTS,
    Layout,
    Recording,
    SignalError,
    WindowReport,
    group_folders,
    open_windows,
    read_json,
    read_report,
    tree_sha256,
    write_json,
    write_recordings,
)
from foresense.steps.frame import StepRun
from foresense.steps.window import window

SMALL = WindowConfig(context=48, horizon=12)


@pytest.fixture
def run(tmp_path):
    write_json(tmp_path / "code.json", {step: {"signals": "0" * 16} for step in STEPS})
    return StepRun("window", "plant", Layout(tmp_path, tmp_path))


def machine(asset, n_rows, *, seed=0):
    hours = np.arange(n_rows)
    noise = np.random.default_rng(seed).normal(0, 0.5, (n_rows, 2))
    samples = [60, 15] + np.sin(2 * np.pi * hours / 24)[:, None] * [8, 4] + noise
    return Recording(
        asset, samples, ("temp_body", "current"), ("Cel", "A"), 3600.0, pd.Timestamp("2025-01-01", tz="UTC")
    )


def test_each_asset_becomes_a_group_and_the_report_counts_its_windows(run):
    write_recordings(run.paths.recordings, [machine("robot-02", 500), machine("lathe 1", 400)], facts={})
    report = window(run, SMALL)
    folders = group_folders(run.paths.windows)
    assert [folder.name for folder in folders] == ["lathe-1", "robot-02"]
    assert list(report.groups) == ["lathe 1", "robot-02"]
    for folder in folders:
        found = open_windows(folder)
        assert report.groups[found.group]["windows"] == {part: len(found.starts[part]) for part in PARTS}
    assert report.groups["lathe 1"]["rows"] == {"train": 280, "validation": 60, "test": 60}
    assert read_report(run.paths.reports, WindowReport) == report


def test_report_and_manifest_hold_the_digest_of_the_recordings(run):
    write_recordings(run.paths.recordings, [machine("lathe", 400)], facts={})
    report = window(run, SMALL)
    digest = tree_sha256(run.paths.recordings)
    assert report.data_sha256 == digest
    assert read_json(run.paths.windows / "manifest.json")["recordings_sha256"] == digest


def test_a_second_run_writes_the_same_bytes(run):
    write_recordings(run.paths.recordings, [machine("lathe", 400), machine("robot", 400)], facts={})
    config = SMALL.model_copy(update={"group": "all"})
    window(run, config)
    first = tree_sha256(run.paths.windows)
    window(run, config)
    assert tree_sha256(run.paths.windows) == first
    assert [folder.name for folder in group_folders(run.paths.windows)] == ["all"]


def test_a_failed_run_names_every_asset_and_leaves_the_earlier_windows(run):
    write_recordings(run.paths.recordings, [machine("lathe", 400)], facts={})
    window(run, SMALL)
    before = tree_sha256(run.paths.windows)
    write_recordings(run.paths.recordings, [machine("lathe", 80), machine("robot", 70)], facts={})
    with pytest.raises(
        SignalError, match=r"(?s)asset 'lathe': 80 rows, but 84 are .*asset 'robot': 70 rows, but 84 are"
    ):
        window(run, SMALL)
    assert tree_sha256(run.paths.windows) == before


def test_assets_that_would_share_a_folder_are_refused(run):
    write_recordings(run.paths.recordings, [machine("a/b", 400), machine("a b", 400)], facts={})
    with pytest.raises(SignalError, match=r"assets 'a b' and 'a/b' would share the folder 'a-b'"):
        window(run, SMALL)


def test_recordings_that_are_not_there_say_which_command_makes_them(run):
    with pytest.raises(FileNotFoundError, match="run `foresense ingest plant` first"):
        window(run, SMALL)


def test_etth1_has_its_published_windows(run):
    path = Path(os.environ.get("FORESENSE_DATA", "absent")) / "ett" / "ETTh1.csv"
    if not path.is_file():
        pytest.skip("needs ett/ETTh1.csv below $FORESENSE_DATA")
    table = pd.read_csv(path).iloc[:14400]
    names = tuple(table.columns[1:])
    start = pd.Timestamp(table["date"][0], tz="UTC")
    recording = Recording("ETTh1", table[list(names)].to_numpy(float), names, ("1",) * 7, 3600.0, start)
    write_recordings(run.paths.recordings, [recording], facts={})
    split = SplitConfig(unit="rows", train=8640, validation=2880, test=2880)
    for context, n_train in ((336, 8209), (512, 8033)):  # 8640 - (context + 96) + 1
        report = window(run, WindowConfig(context=context, horizon=96, split=split, scaler="standard"))
        assert report.groups["ETTh1"]["windows"] == {"train": n_train, "validation": 2785, "test": 2785}
    # the paper's loader: StandardScaler over the first 8640 rows
    found = open_windows(group_folders(run.paths.windows)[0])
    train = table[list(names)].to_numpy()[:8640]
    np.testing.assert_allclose(found.scaler.shift, train.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.scaler.scale, train.std(axis=0), rtol=1e-9)


def test_an_asset_without_windows_is_left_out_with_its_reason_and_the_others_go_on(run, caplog):
    recordings = [machine("lathe", 500), machine("press", 60)]
    write_recordings(run.paths.recordings, recordings, facts={"left_out": {"mill": "mill: too little data"}})
    report = window(run, SMALL)
    assert [folder.name for folder in group_folders(run.paths.windows)] == ["lathe"]
    left_out = read_json(run.paths.windows / "manifest.json")["left_out"]
    assert left_out["mill"] == "mill: too little data"
    assert left_out["press"].startswith("asset 'press': 60 rows, but 84 are needed")
    assert report.groups["press"] == {"left_out": left_out["press"]}
    assert "press: left out: asset 'press': 60 rows" in caplog.text


def test_nothing_is_said_of_left_out_assets_where_there_are_none(run):
    write_recordings(run.paths.recordings, [machine("lathe", 500)], facts={})
    window(run, SMALL)
    assert "left_out" not in read_json(run.paths.windows / "manifest.json")
