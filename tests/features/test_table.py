from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from foresense.config import WindowConfig
from foresense.features import catalog, compute_features, read_columns, read_contexts, read_features
from foresense.signals import PARTS, Recording, SignalError
from foresense.windows import build_windows


@pytest.fixture
def machine():
    """Samples in physical units, hourly: body temperature with a daily cycle, and current; one short gap."""
    hours = np.arange(400)
    rng = np.random.default_rng(0)
    samples = np.stack([60 + 8 * np.sin(2 * np.pi * hours / 24), 15 + rng.normal(0, 2, 400)], axis=1)
    samples[100:102, 1] = np.nan
    return samples


@pytest.fixture
def windows(machine):
    start = pd.Timestamp("2025-01-01", tz="UTC")
    recording = Recording("lathe", machine, ("temp_body", "current"), ("Cel", "A"), 3600.0, start, "Europe/Berlin")
    return build_windows("lathe", [recording], WindowConfig(context=48, horizon=6))[0]


def test_features_are_in_physical_units_and_of_the_context_alone(machine, windows):
    table, columns = compute_features(windows, windows.starts, ("window_statistics",))
    assert len(table) == sum(len(windows.starts[part]) for part in PARTS)
    for _, row in table.iloc[::37].iterrows():
        context = machine[row["start"] : row["start"] + 48, 0]
        assert row["temp_body__level"] == pytest.approx(context.mean(), rel=1e-6)
        assert row["temp_body__last"] == pytest.approx(context[-1], rel=1e-6)
    assert {column.name: column.unit for column in columns}["temp_body__slope"] == "Cel/h"


def test_share_missing_comes_from_the_filled_rows(windows):
    table, _ = compute_features(windows, windows.starts, ("window_statistics",))
    train = table[table["part"] == "train"].set_index("start")
    assert train.loc[60, "current__share_missing"] == pytest.approx(2 / 48)
    assert train.loc[60, "temp_body__share_missing"] == 0
    assert train.loc[103, "current__share_missing"] == 0


def test_chunks_do_not_change_the_numbers(windows):
    starts = windows.starts["train"]
    whole = np.concatenate([one.samples for one in read_contexts(windows, starts)])
    pieces = list(read_contexts(windows, starts, chunk_values=5 * windows.length * 2))
    assert max(len(one.samples) for one in pieces) == 5
    np.testing.assert_array_equal(np.concatenate([one.samples for one in pieces]), whole)
    issued = np.concatenate([one.issued_s for one in pieces])
    np.testing.assert_array_equal(issued, windows.row_times_s[starts + 47])


def test_windows_without_a_record_of_filled_rows_count_none_as_missing(windows):
    table, _ = compute_features(replace(windows, imputed=None), windows.starts, ("window_statistics",))
    assert (table["current__share_missing"] == 0).all()


def test_a_family_given_twice_is_refused(windows):
    with pytest.raises(ValueError, match="every family once"):
        compute_features(windows, windows.starts, ("calendar", "calendar"))


def test_two_families_with_one_name_are_refused(windows, monkeypatch):
    monkeypatch.setitem(catalog.FEATURES, "again", catalog.FEATURES["calendar"])
    with pytest.raises(SignalError, match=r"features \['day_of_year_cos', .* are given twice"):
        compute_features(windows, windows.starts, ("calendar", "again"))


def test_a_value_that_is_not_finite_is_refused_with_its_place(windows):
    samples = windows.samples.copy()
    samples[60] = np.nan
    starts = {part: np.array([0, 20]) if part == "train" else np.array([], int) for part in PARTS}
    with pytest.raises(
        SignalError, match=r"feature 'temp_body__level' of family 'window_statistics' is nan for .* row 20"
    ):
        compute_features(replace(windows, samples=samples), starts, ("window_statistics",))


def test_features_that_are_not_there_say_which_command_makes_them(tmp_path):
    for read in (read_features, read_columns):
        with pytest.raises(FileNotFoundError, match=r"manifest\.json: not there; run `foresense features oil` first"):
            read(tmp_path / "oil")
