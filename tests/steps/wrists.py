"""A project with made-up people in Depresjon's layout: one label moves less and sleeps at odd hours."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd

from foresense.config import STEPS, ActigraphyConfig
from foresense.signals import Layout

DEVICES = Path(__file__).resolve().parents[2] / "devices"
N_DAYS = 8.5


def write_people(folder: Path, n_of_label: int, *, seed: int = 0) -> None:
    """`condition/*.csv.gz`, `control/*.csv.gz` and `scores.csv`: minutes of counts from an afternoon on."""
    rng = np.random.default_rng(seed)
    times = pd.date_range("2004-05-04 15:00", periods=round(N_DAYS * 1440), freq="min")
    minute = np.asarray(times.hour * 60 + times.minute)
    rows = ["number,days,gender"]
    for label in ("condition", "control"):
        (folder / label).mkdir(parents=True)
        for number in range(1, n_of_label + 1):
            late = rng.normal(0, 100 if label == "condition" else 20)
            phase = (minute - 390 - late) % 1440
            awake = (phase > 0) & (phase < 930)
            level = 120 if label == "condition" else 320
            counts = rng.gamma(0.8, level, len(times)) * awake + (~awake) * rng.binomial(1, 0.1, len(times)) * 30
            table = pd.DataFrame({"timestamp": times, "date": times.date, "activity": counts.round().astype(int)})
            with gzip.open(folder / label / f"{label}_{number}.csv.gz", "wt") as file:
                table.to_csv(file, index=False)
            rows.append(f"{label}_{number},8,1")
    (folder / "scores.csv").write_text("\n".join(rows) + "\n")


def project_of(root: Path, n_of_label: int = 6) -> Layout:
    """An empty project whose raw folder holds the people."""
    (root / "code.json").write_text(
        json.dumps({f"{step}{end}": {"s": "0"} for step in STEPS for end in ("", "_actigraphy")})
    )
    (root / "devices").symlink_to(DEVICES)
    write_people(root / "data" / "raw" / "depresjon", n_of_label)
    return Layout(root, root)


def config_of(**changes: object) -> ActigraphyConfig:
    """The smallest pipeline that has every part."""
    short = {"n_epochs": 2, "batch_size": 4, "learning_rate": 1e-3}
    sections: dict[str, object] = {
        "kind": "actigraphy",
        "description": "made up",
        "ingest": {"source": "depresjon", "raw": "depresjon"},
        "window": {"positive": "condition", "device": "made up", "n_folds": 3, "n_repeats": 1},
        "train": {
            "candidates": {"probe": {"pretraining": short, "fine_tuning": {**short, "style": "linear_probe"}}},
            "turns": 1,
        },
        "export": {"variants": ["onnx-float32"], "n_calibration": 2, "n_golden": 2},
        "benchmark": {"n_warmup": 1, "n_timed": 4, "n_threads": [1], "gates": {"size_mib": {"at_most": 5}}},
    }
    return ActigraphyConfig.model_validate(sections | changes)
