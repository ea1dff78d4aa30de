import numpy as np
import pytest

from foresense.config import IngestConfig
from foresense.sources.ett import read_ett
from foresense.sources.tables import Places

_CHANNELS = tuple({"name": name, "unit": "1"} for name in ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"))


def places(folder):
    return Places(raw=folder, project=folder, kept=folder)


def test_the_real_recording_is_whole(real_data):
    found = read_ett(IngestConfig(source="ett", raw="ett", channels=_CHANNELS), places(real_data))
    (table,) = found.tables
    # README of the data set: 17,420 hourly rows, no gaps, no missing values.
    assert table.asset == "ETTh1"
    assert table.values.shape == (17_420, 7)
    assert set(np.diff(table.times_ns).tolist()) == {3600 * 10**9}
    expected = np.loadtxt(real_data / "ett" / "ETTh1.csv", delimiter=",", skiprows=1, usecols=range(1, 8))
    np.testing.assert_array_equal(table.values, expected)
    assert found.findings == ()
    assert "CC BY-ND 4.0" in str(found.facts["licence"])


def test_a_set_that_is_not_there_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `foresense fetch <pipeline>`"):
        read_ett(IngestConfig(source="ett", channels=_CHANNELS), places(tmp_path))
