"""Pipelines of mixed recordings as the step `train` would leave them, with networks that learnt nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from foresense.config.dualpatch import DualPatchConfig
from foresense.config.mixed import AirQualityIngestConfig, HoleConfig, MixedSyntheticIngestConfig
from foresense.config.mixed_pipeline import MixedWindowConfig
from foresense.features.mixed_summary import MixedWindows as FeatureWindows
from foresense.features.mixed_summary import lagged_features
from foresense.models import model_sha256
from foresense.models.dualpatch import DualPatch
from foresense.models.mixed import save_mixed, standardise_mixed_by
from foresense.signals import Layout, write_json
from foresense.signals.mixed import CategoricalChannel, MixedSet, NumericChannel
from foresense.signals.mixed_windows import MixedBatch, MixedWindows, write_mixed_windows
from foresense.sources.mixed import load_mixed
from foresense.sources.mixed_synthetic import simulate_mixed
from foresense.sources.tables import Places
from foresense.windows.mixed import build_mixed_windows

CHANNELS = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3", "TEMP", "PRES", "DEWP", "RAIN", "WSPM")
STEPS = ("export", "benchmark")


def layout_of(root: Path) -> Layout:
    """An empty project."""
    (root / "code.json").write_text(
        json.dumps({f"{step}{end}": {"s": "0"} for step in STEPS for end in ("", "_mixed")})
    )
    shutil.copytree(Path(__file__).resolve().parents[2] / "devices", root / "devices")
    return Layout(root, root)


def town_windows(root: Path) -> MixedWindows:
    """Windows of 24 hours of two stations; PM2.5 six hours ahead; holes, and a wind that only the test part has."""
    folder = root / "raw"
    folder.mkdir()
    times = pd.date_range("2014-01-01", periods=42 * 24, freq="h")
    for seed, station in enumerate(("Dongsi", "Tiantan")):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({part: getattr(times, part) for part in ("year", "month", "day", "hour")})
        for name in CHANNELS:
            values = rng.uniform(1, 90, len(times)).round(1)
            frame[name] = np.where(rng.uniform(size=len(times)) < 0.1, np.nan, values)
        frame["wd"] = np.where(times < "2014-02-01", rng.choice(["N", "NNE"], len(times)), "SW")
        frame.loc[5, "wd"] = None
        frame.assign(station=station).to_csv(folder / f"PRSA_Data_{station}.csv", index=False, na_rep="NA")
    config = AirQualityIngestConfig(source="air_quality", raw="raw")
    found = load_mixed("air_quality")(config, Places(root, root, root / "kept")).recordings
    return build_mixed_windows(
        found,
        MixedWindowConfig.model_validate(
            {
                "target": "PM2.5",
                "length": 24,
                "ahead": 6,
                "stride": 5,
                "stride_evaluation": 5,
                "split": {"train_until": "2014-01-22", "validation_until": "2014-02-01"},
            }
        ),
    )[0]


def ward_windows(n_classes: int = 2) -> MixedWindows:
    """Whole recordings of 12 steps without time, with statics; a class out."""
    config = MixedSyntheticIngestConfig(
        source="mixed_synthetic",
        n_recordings=30,
        n_steps=12,
        n_classes=n_classes,
        holes=(HoleConfig(kind="random", share=0.2),),
        seed=3,
    )
    found = with_statics(simulate_mixed(config, Places(Path(), Path(), Path())).recordings)
    names = ["survived", "died", "moved"][:n_classes]
    asked = {"target": "class", "bin_names": names, "n_folds": 3, "seed": 1}
    return build_mixed_windows(found, MixedWindowConfig.model_validate(asked))[0]


def with_statics(found: MixedSet) -> MixedSet:
    """The same recordings, each with an age that is sometimes not known and a kind."""
    rng = np.random.default_rng(0)
    ages = np.where(rng.uniform(size=len(found.recordings)) < 0.2, np.nan, rng.uniform(20, 90, len(found.recordings)))
    return replace(
        found,
        recordings=tuple(
            replace(
                one,
                static_numeric=np.array([age], np.float32),
                static_categories=np.array([2 + number % 2], np.int64),
            )
            for number, (one, age) in enumerate(zip(found.recordings, ages, strict=True))
        ),
        static_numeric=(NumericChannel("age", "a"),),
        static_categorical=(CategoricalChannel("unit", ("coronary", "surgical")),),
    )


def clock_of(windows: MixedWindows, batch: MixedBatch, rows: np.ndarray) -> np.ndarray:
    """(n, 4), float32: the clock as the features of the rivals have it, by pandas."""
    assert windows.ahead is not None
    newest = pd.to_datetime(windows.times_ns[rows], utc=True) - pd.Timedelta(hours=windows.ahead)
    local = newest.tz_convert(windows.time_zone)
    found = lagged_features(
        FeatureWindows(
            windows.schemas[0], batch.numbers, batch.categories, batch.static_numbers, batch.static_categories
        ),
        hour=local.hour.to_numpy(),
        month=local.month.to_numpy(),
        channels=[],
        lags_h=[],
        means_h=[],
    )
    places = [found.names.index(f"{turn}_{wave}") for turn in ("hour", "month") for wave in ("sin", "cos")]
    return found.values[:, places].astype(np.float32)


def ask(windows: MixedWindows, model: DualPatch, rows: np.ndarray, *, calendar: bool) -> np.ndarray:
    """(n, n_outputs): what a network says, by torch, without the code of the export."""
    batch = windows.gather(rows)
    static = batch.static_numbers
    if calendar:
        static = np.concatenate([static, clock_of(windows, batch, rows)], axis=1)
    given = {"numbers": batch.numbers, "categories": batch.categories, "static_numbers": static}
    given["static_categories"] = batch.static_categories
    with torch.inference_mode():
        said: torch.Tensor = model(**{name: torch.from_numpy(each) for name, each in given.items() if each.shape[1]})
    return said.numpy()


def leave_model(layout: Layout, name: str, windows: MixedWindows, scores: Any, **changes: Any) -> DualPatch:
    """Write windows and a small network as `window` and `train` do; `scores` judges (windows, rows, outputs)."""
    paths, schema = layout.of(name), windows.schemas[0]
    calendar, names = windows.has_time, list(windows.class_names)
    write_mixed_windows(paths.windows / "recordings", windows)
    write_json(
        paths.windows / "manifest.json", {"schema_version": 1, "groups": ["recordings"], "recordings_sha256": "f" * 64}
    )
    torch.manual_seed(0)
    config = DualPatchConfig(
        n_numeric=len(schema.numeric),
        cardinalities=tuple(max(1, len(one.values)) for one in schema.categorical),
        n_static_numeric=len(schema.static_numeric) + 4 * calendar,
        static_cardinalities=tuple(max(1, len(one.values)) for one in schema.static_categorical),
        n_steps=windows.length,
        patch_length=8,
        patch_stride=4,
        d_model=16,
        n_heads=2,
        n_layers=1,
        head="classes" if names else "values",
        n_outputs=len(names) or 1,
        **changes,
    )
    model = DualPatch(config).eval()
    standardise_mixed_by(
        model,
        means=schema.means,
        deviations=schema.deviations,
        static_means=[*schema.static_means, *[0.0] * (4 * calendar)],
        static_deviations=[*schema.static_deviations, *[1.0] * (4 * calendar)],
    )
    if not names:
        model.target.take([45.0], [25.0])
    folder = paths.models / "recordings"
    folder.mkdir(parents=True)
    save_mixed(folder, model)
    write_json(folder / "schema.json", schema.to_json())
    rows = windows.of_part("test")
    write_json(
        folder / "evaluation.json",
        {
            "candidate": "both",
            "is_rival": False,
            "fold": 0,
            "predicts": "class" if names else "value",
            "target": {"name": windows.target.name, "unit": windows.target.unit, "ahead": windows.ahead},
            "class_names": names,
            "calendar": calendar,
            "model": {"name": "both", "n_parameters": sum(one.numel() for one in model.parameters()), "size_mib": 0.1},
            "model_sha256": model_sha256(folder),
            "windows": {"test": len(rows)},
            "test": scores(windows, rows, ask(windows, model, rows, calendar=calendar)),
            "baselines": {},
        },
    )
    return model
