"""What an artefact of a pipeline of people computes by itself, against the code that trained."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresense.export import label
from foresense.features.contexts import Contexts
from foresense.features.wrist import time_of_day
from tests.forged import plant_compiled

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")


@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=20), st.sampled_from(ZONES))
def test_times_are_those_of_the_features(begun_s: list[int], zone: str) -> None:
    seconds = np.array(begun_s)
    n = len(seconds)
    contexts = Contexts(
        samples=np.zeros((n, 1, 3)),
        imputed=np.zeros((n, 1, 3), bool),
        issued_s=seconds,
        channels=("x", "y", "z"),
        units=("g", "g", "g"),
        interval_s=1.0,
        time_zone=zone,
    )
    np.testing.assert_array_equal(label.times_of(seconds, zone), time_of_day(contexts).values.astype(np.float32))


def test_a_module_of_an_artefact_is_its_text_and_no_compiled_file_beside_it(tmp_path: Path) -> None:
    module = tmp_path / "statistical.py"
    module.write_text("SAID = 'as listed'\n")
    assert label.sibling(tmp_path, "statistical").SAID == "as listed"
    assert list(tmp_path.iterdir()) == [module]
    plant_compiled(module, "SAID = 'planted'\n")
    by_python = importlib.util.spec_from_file_location("planted", module)
    assert by_python is not None
    assert by_python.loader is not None
    found = importlib.util.module_from_spec(by_python)
    by_python.loader.exec_module(found)
    assert found.SAID == "planted"
    assert label.sibling(tmp_path, "statistical").SAID == "as listed"


def artefact(folder: Path) -> Path:
    manifest = {
        "channels": ["x", "y", "z"],
        "length": 2,
        "rate_hz": 1.0,
        "time_zone": "Europe/Berlin",
        "inputs": ["windows", "times"],
        "variants": {"onnx-float32": {"file": "model.onnx"}},
        "classes": ["a", "b"],
        "files": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def network(_: Path) -> object:
    """Says the first class before six in the morning, by the local clock."""
    return lambda inputs: np.where(inputs["times"][:, :1] < 0.25, [[1.0, 0.0]], [[0.0, 1.0]])


def rows(first: str) -> str:
    second = pd.Timestamp(first) + pd.Timedelta(seconds=1)
    return f"time,x,y,z\n{first},0,0,1\n{second.isoformat()},0,0,1\n"


@pytest.mark.parametrize(
    ("first", "expected"),
    [("2024-07-01T05:59:58", "a"), ("2024-07-01T06:00:00", "b"), ("2024-07-01T04:00:00+00:00", "b")],
)
def test_a_time_without_a_zone_is_local(first: str, expected: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(label, "open_network", network)
    (tmp_path / "r.csv").write_text(rows(first))
    label.main([str(tmp_path / "r.csv")], artefact(tmp_path))
    assert capsys.readouterr().out.splitlines()[1].split(",")[:2] == ["0", expected]


def test_a_time_that_is_none_is_said(tmp_path, monkeypatch) -> None:
    (tmp_path / "r.csv").write_text("time,x,y,z\nnoon,0,0,1\nnoon,0,0,1\n")
    monkeypatch.setattr(sys, "argv", ["label.py"])
    with pytest.raises(SystemExit, match="column time: Invalid isoformat string: 'noon'; expected ISO 8601, such as"):
        label.main([str(tmp_path / "r.csv")], artefact(tmp_path))
