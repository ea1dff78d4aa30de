import numpy as np
import pandas as pd
import pytest

from foresense.config import STEPS, FeaturesConfig, WindowConfig
from foresense.features import read_columns, read_features
from foresense.signals import (
    PARTS,
    FeaturesReport,
    Layout,
    Recording,
    SignalError,
    group_folders,
    open_windows,
    read_json,
    read_report,
    tree_sha256,
    write_json,
    write_recordings,
)
from foresense.steps.features import features
from foresense.steps.frame import StepRun
from foresense.steps.window import window


@pytest.fixture
def layout(tmp_path):
    """Windows of two machines, ready for features."""
    write_json(tmp_path / "code.json", {step: {"signals": "0" * 16} for step in STEPS})
    layout = Layout(tmp_path, tmp_path)
    write_recordings(layout.of("plant").recordings, [machine("lathe", 400), machine("robot", 300)], facts={})
    window(StepRun("window", "plant", layout), WindowConfig(context=48, horizon=12))
    return layout


def machine(asset, n_rows, channels=("temp_body", "current")):
    hours = np.arange(n_rows)[:, None]
    samples = [60, 15] + np.sin(2 * np.pi * hours / 24) * [8, 4]
    return Recording(asset, samples, channels, ("Cel", "A"), 3600.0, pd.Timestamp("2025-01-01", tz="UTC"))


def test_every_second_training_window_and_all_others_have_their_features(layout):
    paths = layout.of("plant")
    report = features(StepRun("features", "plant", layout), FeaturesConfig(stride=2))
    table = read_features(paths.features)
    assert report.n_windows == len(table)
    for folder in group_folders(paths.windows):
        windows = open_windows(folder)
        own = table[table["group"] == windows.group]
        for part in PARTS:
            step = 2 if part == "train" else 1
            assert own.loc[own["part"] == part, "start"].tolist() == windows.starts[part][::step].tolist()
    assert list(table.columns) == ["group", "part", "start", *(column.name for column in read_columns(paths.features))]


def test_the_report_describes_every_feature(layout):
    report = features(StepRun("features", "plant", layout), FeaturesConfig())
    table = read_features(layout.of("plant").features)
    assert list(report.features) == list(table.columns[3:])
    level = report.features["temp_body__level"]
    assert (level["unit"], level["family"], level["n_missing"]) == ("Cel", "window_statistics", 0)
    assert level["mean"] == pytest.approx(table["temp_body__level"].mean())
    assert read_report(layout.of("plant").reports, FeaturesReport) == report


def test_manifest_names_its_windows_and_a_second_run_writes_the_same_bytes(layout):
    paths = layout.of("plant")
    features(StepRun("features", "plant", layout), FeaturesConfig())
    first = tree_sha256(paths.features)
    manifest = read_json(paths.features / "manifest.json")
    assert manifest["windows_sha256"] == tree_sha256(paths.windows)
    assert manifest["families"] == {"calendar": 1, "window_statistics": 1}
    features(StepRun("features", "plant", layout), FeaturesConfig())
    assert tree_sha256(paths.features) == first


def test_groups_with_other_channels_are_refused(layout):
    paths = layout.of("plant")
    recordings = [machine("lathe", 400), machine("robot", 400, channels=("temp_shaft", "current"))]
    write_recordings(paths.recordings, recordings, facts={})
    window(StepRun("window", "plant", layout), WindowConfig(context=48, horizon=12))
    with pytest.raises(SignalError, match=r"group 'robot' has channels \['temp_shaft', 'current'\], group 'lathe' has"):
        features(StepRun("features", "plant", layout), FeaturesConfig())


def test_windows_that_are_not_there_say_which_command_makes_them(layout):
    with pytest.raises(FileNotFoundError, match="run `foresense window oil` first"):
        features(StepRun("features", "oil", layout), FeaturesConfig())
