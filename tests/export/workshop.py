"""A small project on disk with windows and models of two channels, as `window` and `train` would leave it."""

import shutil
from pathlib import Path

import numpy as np
import torch

from foresense.config import CandidateConfig
from foresense.models import build_model, model_sha256, save_model
from foresense.signals import PARTS, Layout, Scaler, Windows, open_windows, write_json
from foresense.steps.frame import StepRun

REPOSITORY = Path(__file__).parents[2]
CONTEXT, HORIZON = 48, 12
CHANNELS, UNITS = ("temp_body", "current"), ("Cel", "A")
PATCHTST = CandidateConfig(
    patch_length=8, patch_stride=4, d_model=16, ffn_dim=32, n_heads=2, n_layers=1, instance_norm=True, head="flatten"
)
DLINEAR = CandidateConfig(model="dlinear")


def make_windows(folder: Path, *, group: str, seed: int = 0) -> Windows:
    """A daily temperature cycle in degrees Celsius and a load current in ampere, hourly, 480 rows."""
    rng = np.random.default_rng(seed)
    hours = np.arange(480)
    physical = np.stack(
        [
            60 + 6 * np.sin(2 * np.pi * hours / 24) + rng.normal(0, 0.5, 480),
            15 + 3 * np.sin(2 * np.pi * (hours - 4) / 24) + rng.normal(0, 0.3, 480),
        ],
        axis=1,
    )
    low, high = physical[:300].min(axis=0), physical[:300].max(axis=0)
    scaler = Scaler("minmax", CHANNELS, low, high - low, physical[:300].mean(axis=0))
    folder.mkdir(parents=True)
    np.save(folder / "samples.npy", scaler.transform(physical, CHANNELS).astype(np.float32))
    np.save(folder / "row_times_s.npy", hours.astype(np.int64) * 3600)
    np.save(folder / "asset_of_row.npy", np.zeros(480, np.int32))
    starts = {"train": np.arange(0, 240), "validation": np.arange(252, 318), "test": np.arange(330, 420, 6)}
    for part in PARTS:
        np.save(folder / f"starts_{part}.npy", starts[part].astype(np.int64))
    scaler.write(folder / "scaler.json")
    index = {
        "group": group,
        "channels": list(CHANNELS),
        "units": list(UNITS),
        "context": CONTEXT,
        "horizon": HORIZON,
        "assets": [group],
        "interval_s": 3600.0,
        "time_zone": "UTC",
    }
    write_json(folder / "index.json", index)
    return open_windows(folder)


def make_model(folder: Path, windows: Windows, candidate: CandidateConfig, *, seed: int = 0) -> None:
    """An untrained model with everything that `train` writes beside it."""
    torch.manual_seed(seed)
    model = build_model(candidate, n_channels=len(CHANNELS), context=CONTEXT, horizon=HORIZON).eval()
    folder.mkdir(parents=True)
    save_model(folder, model, candidate)
    test = windows.gather(windows.starts["test"])
    with torch.inference_mode():
        forecast = model(torch.from_numpy(np.ascontiguousarray(test[:, :CONTEXT]))).numpy()
    error = forecast.astype(np.float64) - test[:, CONTEXT:]
    scores = {"mse": float((error**2).mean()), "mae": float(np.abs(error).mean())}
    write_json(
        folder / "evaluation.json",
        {
            "candidate": "tuned",
            "model": {"name": candidate.model, "n_parameters": sum(p.numel() for p in model.parameters())},
            "model_sha256": model_sha256(folder),
            "metrics_scale": "scaled",
            "test": scores,
            "interval": {},
            "baselines": {
                "last_value": {"mse": 2 * scores["mse"], "mae": 2 * scores["mae"]},
                "seasonal_naive_24": {"mse": 1.25 * scores["mse"], "mae": 1.1 * scores["mae"]},
            },
        },
    )


def make_project(root: Path, candidate: CandidateConfig, *, groups: tuple[str, ...] = ("lathe-1",)) -> Layout:
    """Windows, models, devices and code.json below `root`, for the pipeline `plant`."""
    layout = Layout(root=root, project=root)
    paths = layout.of("plant")
    for number, group in enumerate(groups):
        windows = make_windows(paths.windows / group, group=group, seed=number)
        make_model(paths.models / group, windows, candidate, seed=number)
    write_json(
        paths.windows / "manifest.json",
        {"schema_version": 1, "groups": list(groups), "recordings_sha256": "ab" * 32},
    )
    shutil.copytree(REPOSITORY / "devices", root / "devices")
    write_json(root / "code.json", {"export": {"export": "0123456789"}, "benchmark": {"bench": "9876543210"}})
    return layout


def step(name: str, layout: Layout) -> StepRun:
    """A run of one step of the pipeline `plant`."""
    return StepRun(step=name, pipeline="plant", layout=layout)
