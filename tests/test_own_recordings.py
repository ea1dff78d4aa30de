"""What README.md and docs/your-own-data.md tell a user to paste for recordings of one's own works as it stands."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML
from scipy.io import wavfile

from foresense.config import STEPS
from foresense.config.reading import KINDS
from foresense.signals import Layout, read_json
from foresense.steps.frame import StepRun
from foresense.steps.run import run_step, steps_of
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


# docs/your-own-data.md: a section for each kind


def described() -> dict[str, Any]:
    """The pipelines of the page, but the forecast, which is the README's."""
    text = (ROOT / "docs" / "your-own-data.md").read_text()
    blocks = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    return {name: one for block in blocks for name, one in YAML(typ="safe").load(block).items() if "kind" in one}


def local_times(n: int, first: str, step_s: float) -> list[str]:
    """Times of Berlin without a zone."""
    start = pd.Timestamp(first, tz="Europe/Berlin")
    times = start + pd.to_timedelta(np.arange(n) * step_s, unit="s")
    return [str(at) for at in times.tz_localize(None)]


def ovens(folder: Path) -> None:
    rng, n = np.random.default_rng(0), 34 * 288
    frame = pd.DataFrame({"Zeit Stempel": local_times(n, "2025-10-19", 300), "Druck": rng.normal(2, 0.1, n)})
    frame["Öl Temperatur (°C)"] = 200 + 30 * np.sin(np.arange(n) / 50)
    frame["Betriebsart"] = rng.choice(["Heizen", "Halten"], n)
    frame["Zustand"] = np.select([frame.iloc[:, 2] > 215, frame.iloc[:, 2] < 185], ["heiß", "kalt"], "normal")
    frame.drop(index=range(500, 520)).assign(Anlage="Ofen 1").to_csv(folder / "öfen.csv", index=False)


def batches(folder: Path) -> None:
    rows = [
        f"{at},C{batch},{20 + batch % 3},an,{('gut', 'Ausschuss')[batch % 2]},{70 - batch % 2}"
        for batch in range(12)
        for at in local_times(22 + batch % 4, "2025-03-30 00:00", 300)
    ]
    (folder / "c.csv").write_text("\n".join(["Zeit,Charge,Temp,Rührer,Güte,Ausbeute %", *rows]))


def pumps(folder: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 50, (8, 1100)).round(1)
    rows = [f"P{pump},{('i.O.', 'Lager')[pump % 2]},voll,{value}" for pump in range(8) for value in noise[pump]]
    (folder / "m.csv").write_text("\n".join(["Pumpe,Zustand,Last,ax [mg]", *rows]))


def motors(folder: Path) -> None:
    for number, (condition, motor) in enumerate((kind, motor) for kind in ("normal", "worn") for motor in range(1, 4)):
        place = folder / condition / f"motor {motor:02d}"
        place.mkdir(parents=True)
        wavfile.write(place / "a.wav", 8000, np.random.default_rng(number).normal(0, 99, 2100).astype(np.int16))


def modules(folder: Path) -> None:
    for number in range(8):
        place = folder / ("normal", "hot spot")[number % 2]
        place.mkdir(exist_ok=True)
        Image.fromarray(np.full((40, 24), number, np.uint8)).save(place / f"{number:03d}.png")


def wrists(folder: Path) -> None:
    rows = [
        f"{np.sin(number):.3f},0,1,p{person},{('Gehen', 'Sitzen')[number // 300]},{at}"
        for person in range(4)
        for number, at in enumerate(local_times(600, "2025-10-26 01:59:58", 0.04))
    ]
    (folder / "w.csv").write_text("\n".join(["acc x,acc y,acc z,Person,Tätigkeit,Zeit", *rows]))


MADE: dict[str, Callable[[Path], None]] = {
    "oven-state": ovens, "batches": batches, "pumps": pumps, "motors": motors, "modules": modules, "wrists": wrists,
}  # fmt: skip


def test_the_page_has_these_pipelines_and_dvc_takes_them() -> None:
    params, found = YAML(typ="safe").load((ROOT / "params.yaml").read_text()), described()
    assert set(found) == set(MADE)
    for name, one in found.items():
        for step in STEPS:
            code = {"code": f"{step}_{one['kind']}"}
            own = {"ingest": {"raw": f"data/raw/{one['ingest']['raw']}"}, "train": {"section": "train"}}.get(step, {})
            params["stages"][step][name] = own | code
    params["pipelines"] |= found
    assert _params_problems(params) == []


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_section_of_the_page_reads_and_cuts_such_files(name: str, tmp_path: Path) -> None:
    one = described()[name]
    config = KINDS[one["kind"]].model_validate(one)
    folder = tmp_path / "data" / "raw" / one["ingest"]["raw"]
    folder.mkdir(parents=True)
    MADE[name](folder)
    for file in ("code.json", "devices"):
        (tmp_path / file).symlink_to(ROOT / file)
    layout = Layout(tmp_path, tmp_path)
    for step in ("ingest", "window"):
        run_step(StepRun(step, name, layout), config)
    window = read_json(layout.of(name).reports / "window.json")
    parts = next(iter(window["groups"].values()))
    assert parts.get("n_windows") or parts.get("n_clips")
    assert read_json(layout.of(name).reports / "ingest.json")["assets"]
    assert not (layout.of(name).reports / "refused.csv").exists()
