"""A small fleet on disk: machines with a daily cycle, and a model whose forecasts can be written down in closed form.

Load this file by its path (see conftest.py).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from foresense.config import CandidateConfig, IngestConfig, PipelineConfig, WindowConfig
from foresense.evaluate.conformal import fit_conformal
from foresense.models import build_model, save_model
from foresense.registry import seal_version
from foresense.signals import Layout, Recording, Scaler, write_json, write_recordings
from foresense.steps.forecast_version import VersionRef

CONTEXT, HORIZON, MAX_GAP = 48, 24, 3
CHANNELS, UNITS = ("temp_body", "current"), ("Cel", "A")
START = pd.Timestamp("2025-01-06", tz="UTC")
NOISE = np.array([0.5, 0.3])
HOUR, DAY = 3600, 86_400
PARAMS = """
stages: {ingest: [plant], window: [plant]}
pipelines:
  plant:
    description: a small fleet
    ingest: {source: simulate, channels: [{name: temp_body, unit: Cel}, {name: current, unit: A}]}
    window: {context: 48, horizon: 24, max_gap: 3}
    train: {candidates: {only: {}}}
"""


def seconds(row: int) -> int:
    """Time of a row that counts from START."""
    return int(START.timestamp()) + row * HOUR


def cycle(n_rows: int, *, seed: int = 0) -> np.ndarray:
    """(n_rows, 2): a temperature and a current that follow the day, with white noise."""
    hours = np.arange(n_rows)
    day = np.sin(2 * np.pi * hours / 24)[:, None]
    return np.array([60.0, 15.0]) + day * [8.0, 4.0] + np.random.default_rng(seed).normal(0, NOISE, (n_rows, 2))


def recording(asset: str, samples: np.ndarray, *, first_row: int = 0) -> Recording:
    """An hourly recording that begins at a row counted from START."""
    return Recording(asset, samples, CHANNELS, UNITS, 3600.0, START + pd.Timedelta(hours=first_row))


def expected(samples: np.ndarray, row: int) -> np.ndarray:
    """(HORIZON, 2): what the model says after `row`: the mean of the same hours of the two days before."""
    ahead = row + np.arange(1, HORIZON + 1)
    return (samples[ahead - 24] + samples[ahead - 48]) / 2


def make_version(folder: Path, asset: str, *, label: str = "1", level: float = 0.9) -> VersionRef:
    """A version that forecasts `expected`; its intervals are from 600 rows of a machine of the same kind."""
    candidate = CandidateConfig(model="dlinear")
    model = build_model(candidate, n_channels=2, context=CONTEXT, horizon=HORIZON)
    weights = torch.zeros(HORIZON, CONTEXT)
    steps = torch.arange(HORIZON)
    weights[steps, steps] = weights[steps, steps + 24] = 0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights if name.endswith("weight") else torch.zeros(HORIZON))
    (folder / "model").mkdir(parents=True)
    save_model(folder / "model", model, candidate)
    scaler = Scaler("minmax", CHANNELS, np.array([50.0, 10.0]), np.array([20.0, 10.0]), np.array([60.0, 15.0]))
    scaler.write(folder / "scaler.json")
    samples = cycle(700, seed=99)
    rows = np.arange(CONTEXT, 700 - HORIZON)
    truth = np.stack([samples[row + 1 : row + 1 + HORIZON] for row in rows])
    residuals = (truth - np.stack([expected(samples, row) for row in rows])) / scaler.scale
    fit_conformal(residuals, channels=CHANNELS, level=level).write(folder / "conformal.json")
    windowing = {"channels": CHANNELS, "units": UNITS, "context": CONTEXT, "horizon": HORIZON, "interval_s": 3600.0}
    write_json(folder / "windowing.json", {**windowing, "time_zone": "UTC"})
    for name in ("model/config.json", "reference.json", "evaluation.json"):
        write_json(folder / name, {})
    seal_version(folder, pipeline="plant", asset=asset, data_sha256="0" * 64, trained_until_s=0)
    return VersionRef(label, folder)


class Fleet:
    """A project with recordings, and versions made when they are asked for.

    Attributes:
        layout: Of the project.
        config: Of the pipeline `plant`.
        forecasts: Where its forecasts go.
    """

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root, root)
        self.forecasts = root / "forecasts" / "plant"
        self.config = PipelineConfig(
            description="a small fleet",
            ingest=IngestConfig(source="simulate", channels=({"name": "temp_body", "unit": "Cel"},)),
            window=WindowConfig(context=CONTEXT, horizon=HORIZON, max_gap=MAX_GAP),
            train={"candidates": {"only": {}}},
        )
        (root / "params.yaml").write_text(PARAMS)

    def write(self, *recordings: Recording) -> None:
        """Replace all recordings."""
        write_recordings(self.layout.of("plant").recordings, recordings, facts={})

    def version(self, asset: str) -> VersionRef:
        """The version of an asset."""
        folder = self.layout.root / "versions" / asset
        return VersionRef("1", folder) if folder.is_dir() else make_version(folder, asset)

    def run(self, *, versions: Callable[[str], VersionRef] | None = None, **options: Any) -> Any:
        """Forecast the fleet."""
        from foresense.steps.forecast import forecast_fleet

        return forecast_fleet(self.layout, "plant", self.config, versions or self.version, **options)

    def nights(self, rows: Sequence[int], **options: Any) -> list[Any]:
        """Forecast as of each of these rows."""
        return [self.run(now_s=seconds(row), **options) for row in rows]
