"""Small pipelines of anomaly detectors on simulated machines: hot spots on images, impacts in vibration."""

import json
from pathlib import Path
from typing import Any

from foresense.config import STEPS, AnomalyConfig
from foresense.signals import Layout

DEVICES = Path(__file__).resolve().parents[2] / "devices"
SHAPE = (16, 16, 1)
SMALL = {"network": "small", "shape": SHAPE, "widths": [8, 16], "strides": [1, 2]}
FIT = {"learning_rate": 1e-2, "n_epochs": 3, "batch_size": 8}


def project_of(root: Path) -> Layout:
    """An empty project."""
    root.mkdir(exist_ok=True)
    entries = [f"{step}{end}" for step in STEPS for end in ("", "_anomaly")]
    (root / "code.json").write_text(json.dumps({entry: {"s": "0"} for entry in entries}))
    (root / "devices").symlink_to(DEVICES)
    return Layout(root, root)


def images(**changes: Any) -> AnomalyConfig:
    """Images in folds of three, of which one is tested; every kind of network that sees images."""
    sections: dict[str, Any] = {
        "kind": "anomaly",
        "description": "made up",
        "ingest": {"source": "synthetic_images", "n_recordings": 90, "height": 16, "width": 16},
        "window": {"splits": {"modules": [{"kind": "folds", "n_folds": 3, "turn": turn} for turn in (0, 1)]}},
        "train": {
            "candidates": {
                "small": {"network": SMALL, "fit": FIT},
                "parity": {"network": {"network": "parity", "shape": [24, 24, 3]}, "fit": {"n_epochs": 1}},
                "conditions": {"network": {**SMALL, "n_outputs": 2}, "fit": {**FIT, "n_epochs": 1}},
                "autoencoder": {
                    "network": {"network": "conv_autoencoder", "shape": SHAPE, "widths": [4], "latent_channels": 1},
                    "fit": {"n_epochs": 1, "batch_size": 8},
                    "density": True,
                },
            },
            "default": "small",
            "false_alarm_rate": 0.1,
            "turns": 1,
        },
        "export": {
            "variants": ["tflite-int8"],
            "pi_variants": ["tflite-int8"],
            "also": ["parity"],
            "limits": {"quality_drop": 0.2},
            "n_calibration": 20,
            "n_golden": 2,
        },
        "benchmark": {"n_timed": 50, "gates": {"size_mib": {"at_most": 5}, "auc": {"at_least": 0.5}}},
    }
    return AnomalyConfig.model_validate(sections | changes)


def vibration(**changes: Any) -> AnomalyConfig:
    """Clips of a shaft, and a dense autoencoder of frames."""
    dense = {"network": "dense_autoencoder", "n_mels": 16, "n_stacked": 3, "width": 8, "n_hidden": 1, "latent": 2}
    sections: dict[str, Any] = {
        "kind": "anomaly",
        "description": "made up",
        "ingest": {"source": "synthetic_vibration", "n_recordings": 30, "n_samples": 2048},
        "window": {"clips": {"length": 960, "hop": 960}, "splits": {"machines": [{"kind": "assets"}]}},
        "features": {"spectrogram": {"rate_hz": 12_000, "n_fft": 256, "hop": 64, "n_mels": 16, "fmax_hz": 6000}},
        "train": {
            "candidates": {
                "small": {"network": {**SMALL, "pool": "time"}, "fit": FIT},
                "frames": {"network": dense, "fit": {"n_epochs": 1, "batch_size": 64}, "density": True},
            },
            "default": "small",
            "false_alarm_rate": 0.2,
        },
    }
    return AnomalyConfig.model_validate(sections | changes)
