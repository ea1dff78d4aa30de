"""What README.md tells a user to paste for recordings of one's own works as it stands there."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from foresense.config import STEPS
from foresense.steps.run import steps_of
from tools.check_graph import _params_problems

ROOT = Path(__file__).resolve().parents[1]


def pasted(params: dict[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    """The file with the block in it: names are added to each mapping that is there already."""
    for step, names in block["stages"].items():
        params["stages"][step] |= names
    params["pipelines"] |= block["pipelines"]
    return params


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout after the user did what the README says; the press ran 60 days of June and July."""
    text = (ROOT / "README.md").read_text().partition("## Your own recordings")[2]
    yaml = YAML(typ="safe")
    block = yaml.load(text.partition("```yaml\n")[2].partition("```")[0])
    with (tmp_path / "params.yaml").open("w") as file:
        yaml.dump(pasted(yaml.load((ROOT / "params.yaml").read_text()), block), file)
    for name in ("code.json", "devices"):
        (tmp_path / name).symlink_to(ROOT / name)
    folder = tmp_path / "data" / "raw" / "mine"
    folder.mkdir(parents=True)
    hours = np.arange(60 * 24)
    oil_temp = 45 + 6 * np.sin(2 * np.pi * hours / 24)
    columns = {"time": pd.date_range("2025-06-01", periods=len(hours), freq="h"), "pressure": 180 + oil_temp / 10}
    pd.DataFrame({**columns, "T_oil": oil_temp}).to_csv(folder / "press-1.csv", index=False)
    return tmp_path


def test_params_agree_with_what_dvc_asks_for(project: Path) -> None:
    assert _params_problems(YAML(typ="safe").load((project / "params.yaml").read_text())) == []
    assert steps_of(project, "press") == STEPS


def test_the_recordings_are_read_and_windowed(project: Path) -> None:
    for step in ("ingest", "window"):
        done = subprocess.run(
            [sys.executable, "-m", "foresense", "--project", str(project), step, "press"],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (project / "data" / "windows" / "press" / "press-1" / "samples.npy").is_file()
