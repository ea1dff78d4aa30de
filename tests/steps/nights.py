"""A small fleet in time: recordings that grow night by night, linear forecasters, and what export and benchmark say."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from foresense.config import CandidateConfig, WindowConfig
from foresense.evaluate.linear import linear_map
from foresense.models import build_model, model_sha256, save_model
from foresense.signals import (
    BenchmarkReport,
    Environment,
    ExportReport,
    Layout,
    Recording,
    Windows,
    open_windows,
    write_json,
    write_report,
)
from foresense.windows import build_windows, write_windows

PIPELINE, ASSET = "plant", "lathe-1"
CHANNELS, UNITS = ("temp_body", "current"), ("Cel", "A")
CONTEXT, HORIZON, N_ROWS = 48, 12, 1600
DLINEAR = CandidateConfig(model="dlinear")
START = pd.Timestamp("2026-01-01", tz="UTC")
PARAMS = f"""
pipelines:
  {PIPELINE}:
    description: a small fleet
    ingest: {{source: simulate, channels: [{{name: temp_body, unit: Cel}}, {{name: current, unit: A}}]}}
    window: {{context: {CONTEXT}, horizon: {HORIZON}}}
    train: {{candidates: {{only: {{model: dlinear}}}}}}
    benchmark: {{gates: {{size_mib: {{at_most: 1.0}}, quality_drop: {{at_most: 0.02}}}}}}
"""


def recording(asset: str = ASSET, n_rows: int = N_ROWS, *, seed: int = 0) -> Recording:
    """A daily cycle with slow wandering: the longer one looks back, the better one forecasts."""
    rng = np.random.default_rng(seed)
    hours, wandering = np.arange(4000), np.cumsum(rng.normal(0, 0.15, (4000, 2)), axis=0)
    daily = np.stack([60 + 6 * np.sin(2 * np.pi * hours / 24), 15 + 3 * np.sin(2 * np.pi * (hours - 4) / 24)], axis=1)
    samples = (daily + wandering + rng.normal(0, [0.5, 0.3], (4000, 2)))[:n_rows]
    return Recording(asset=asset, samples=samples, channels=CHANNELS, units=UNITS, interval_s=3600.0, start=START)


def windowed(layout: Layout, *groups: str, n_rows: int = N_ROWS, config: WindowConfig | None = None) -> list[Windows]:
    """The windows of each group, as the step `window` leaves them."""
    folder, made = layout.of(PIPELINE).windows, []
    config = config or WindowConfig(context=CONTEXT, horizon=HORIZON)
    for number, group in enumerate(groups or (ASSET,)):
        windows, _ = build_windows(group, [recording(group, n_rows, seed=number)], config)
        shutil.rmtree(folder / group, ignore_errors=True)  # of the night before
        write_windows(folder / group, windows)
        made.append(open_windows(folder / group))
    write_json(
        folder / "manifest.json",
        {"schema_version": 1, "groups": list(groups or (ASSET,)), "recordings_sha256": f"{n_rows:064x}"},
    )
    return made


def trained(layout: Layout, windows: Windows, *, noise: float = 0.0) -> Path:
    """A model as `train` leaves it: the best linear map of the training part, its weights disturbed by `noise`."""
    found = linear_map(windows, train=windows.starts["train"], validation=windows.starts["validation"]).weights
    weights = np.zeros((windows.context, windows.horizon))
    weights[-len(found) :] = found
    weights[-1] += 1 - found.sum(0)  # a departure from the last sample, written as a map of the samples
    weights += np.random.default_rng(1).normal(0, noise, weights.shape) if noise else 0.0
    model = build_model(DLINEAR, n_channels=len(windows.channels), context=windows.context, horizon=windows.horizon)
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # trend and remainder by one map: together the samples
            parameter.copy_(torch.from_numpy(weights.T) if name.endswith("weight") else torch.zeros_like(parameter))
    folder = layout.of(PIPELINE).models / windows.group
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, model, DLINEAR)
    test = windows.gather(windows.starts["test"])
    with torch.no_grad():
        forecast = model.eval()(torch.from_numpy(test[:, : windows.context])).numpy()
    mse = float(np.mean((forecast.astype(np.float64) - test[:, windows.context :]) ** 2))
    write_json(folder / "evaluation.json", {"model_sha256": model_sha256(folder), "test": {"mse": mse}})
    return folder


def measured(layout: Layout, *groups: str, size_mib: float = 0.5) -> None:
    """Reports of export and benchmark about the models as they are."""
    models = layout.of(PIPELINE).models
    header = {
        "pipeline": PIPELINE, "profile": "full", "created_utc": "2026-01-01T00:00:00+00:00", "git_commit": "abc",
        "git_dirty": False, "code_digest": "0", "data_sha256": "0", "seed": 0, "duration_s": 1.0, "peak_rss_mib": 1.0,
        "environment": Environment(cpu="x", threads=1, load_1min=0.0, versions={}),
    }  # fmt: skip
    names = groups or (ASSET,)
    facts = {"size_mib": size_mib, "quality_drop": 0.001, "verdict": "ships", "sha256": "ab"}
    reports = layout.of(PIPELINE).reports
    write_report(
        reports,
        ExportReport(
            **header,
            step="export",
            variants={},
            groups={name: {"onnx-float32": {"sha256": "ab"}} for name in names},
            refused={},
            models={name: model_sha256(models / name) for name in names},
        ),
    )
    write_report(
        reports,
        BenchmarkReport(
            **header,
            step="benchmark",
            device="host",
            plan={},
            variants={"onnx-float32": facts},
            groups={name: {"onnx-float32": facts} for name in names},
            ships="onnx-float32",
            gates=[],
        ),
    )


def night(layout: Layout, n_rows: int = N_ROWS, *, noise: float = 0.0) -> None:
    """What a night leaves for promotion: windows, a model, and the reports about it."""
    (windows,) = windowed(layout, n_rows=n_rows)
    trained(layout, windows, noise=noise)
    measured(layout)
