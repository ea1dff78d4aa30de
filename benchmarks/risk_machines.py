"""Machines of the study of risk: simulated, each forecast by a small PatchTST of its own, hour by hour."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from foresense.config import CandidateConfig, WindowConfig
from foresense.evaluate import seasonal_naive
from foresense.signals import Recording, Windows, write_bytes
from foresense.sources.faults import Fault
from foresense.sources.injected import KINDS, Injection, simulate_injected
from foresense.sources.simulate import UNITS, machine_name

CONTEXT, HORIZON = 168, 24
N_TRAIN, N_VALIDATION, N_TEST = 2016, 504, 3600
WINDOW = WindowConfig.model_validate(
    {
        "context": CONTEXT,
        "horizon": HORIZON,
        "scaler": "standard",
        "split": {"unit": "rows", "train": N_TRAIN, "validation": N_VALIDATION, "test": N_TEST},
    }
)
CANDIDATE = CandidateConfig(
    patch_length=24,
    patch_stride=24,
    d_model=16,
    ffn_dim=32,
    n_heads=4,
    n_layers=1,
    head="flatten",
    instance_norm=True,
    ff_dropout=0.0,
    head_dropout=0.0,
    learning_rate=5e-3,
    batch_size=64,
    n_epochs=8,
    patience=8,
)
_H = 3600.0
_START = "2025-01-01"
_ARRAYS = ("scaled", "measured", "validation", "validation_forecasts", "test", "test_forecasts")
_SLOT_DAYS = 18.0  # of the injected faults of a tuning machine: one in each, at a random time

#: From windows to a forecast: contexts (n, context, n_channels) and starts to (n, horizon, n_channels), scaled.
Trainer = Callable[[Windows], Callable[[np.ndarray, np.ndarray], np.ndarray]]


@dataclass(frozen=True, eq=False)
class Watched:
    """One machine with every forecast of its validation and test parts.

    Attributes:
        asset: Name.
        scaled: (n_rows, n_channels), scaled units, gaps filled.
        measured: (n_rows, n_channels), bool: not filled in.
        validation, test: (n_windows,), rows of the last sample of each context.
        validation_forecasts, test_forecasts: (n_windows, horizon, n_channels), scaled units.
        faults: The truth, in seconds after row 0.
        naive_ratio: Mean squared error on test over that of the seasonal naive forecast of a week.
    """

    asset: str
    scaled: np.ndarray
    measured: np.ndarray
    validation: np.ndarray
    validation_forecasts: np.ndarray
    test: np.ndarray
    test_forecasts: np.ndarray
    faults: tuple[Fault, ...]
    naive_ratio: float


def one_by_one(windows: Windows) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Train a PatchTST on the windows of one machine with the project's own loop."""
    import torch

    from foresense.models import build_model
    from foresense.training import FitPlan, fit
    from foresense.training.forecast import ForecastObjective, forecaster

    torch.manual_seed(0)
    model = build_model(CANDIDATE, n_channels=len(windows.channels), context=CONTEXT, horizon=HORIZON)
    objective = ForecastObjective(windows, stride=CANDIDATE.train_stride, validation_stride=4)
    plan = FitPlan(
        n_epochs=CANDIDATE.n_epochs,
        batch_size=CANDIDATE.batch_size,
        learning_rate=CANDIDATE.learning_rate,
        schedule=CANDIDATE.schedule,
        patience=CANDIDATE.patience,
        micro_batch=CANDIDATE.batch_size,
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(model, objective, plan, checkpoint=Path(folder) / "checkpoint")
    return forecaster(model)


def watch(index: int, seed: int, injections: Sequence[Injection] | None, trainer: Trainer = one_by_one) -> Watched:
    """Simulate one machine, train its forecaster on its first rows, and forecast from every later hour.

    Args:
        index: Place in the plant.
        seed: Of the plant.
        injections: Faults of the test part; None for the simulator's own. Training and validation always hold the
            simulator's own, as life does.
        trainer: What learns to forecast.
    """
    from foresense.windows import build_windows

    n_rows = N_TRAIN + N_VALIDATION + N_TEST
    start = pd.Timestamp(_START, tz="UTC")
    samples, faults = simulate_injected(
        index,
        start.value + np.arange(n_rows) * round(_H * 1e9),
        interval_s=_H,
        time_zone="UTC",
        seed=seed,
        injections=injections or (),
        drawn_until_s=np.inf if injections is None else (N_TRAIN + N_VALIDATION) * _H,
    )
    asset = machine_name(index)
    recording = Recording(
        asset=asset,
        channels=tuple(UNITS),
        units=tuple(UNITS.values()),
        interval_s=_H,
        start=start,
        time_zone="UTC",
        samples=samples,
    )
    windows, _ = build_windows(asset, [recording], WINDOW)
    forecast = trainer(windows)
    validation, test = (forecast_from(windows, windows.starts[part], forecast) for part in ("validation", "test"))
    naive = forecast_from(windows, windows.starts["test"], seasonal_naive(HORIZON, CONTEXT))
    truth = windows.gather(windows.starts["test"])[:, CONTEXT:]
    return Watched(
        asset=asset,
        scaled=np.asarray(windows.samples),
        measured=~np.isnan(samples),
        validation=windows.starts["validation"] + CONTEXT - 1,
        validation_forecasts=validation,
        test=windows.starts["test"] + CONTEXT - 1,
        test_forecasts=test,
        faults=tuple(faults),
        naive_ratio=float(np.mean((test - truth) ** 2) / np.mean((naive - truth) ** 2)),
    )


def forecast_from(
    windows: Windows, starts: np.ndarray, forecast: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """(n, horizon, n_channels): forecasts of the windows that begin at `starts`, 256 at a time."""
    parts = [starts[first : first + 256] for first in range(0, len(starts), 256)]
    return np.concatenate([forecast(windows.gather(part)[:, :CONTEXT], part) for part in parts])


def tuning_faults(rng: np.random.Generator) -> list[Injection]:
    """Faults of other shapes, lengths and peaks than the simulator's own: what rules may be fitted to.

    Two of each kind in the test part, none at the time of another.
    """
    found = []
    days = {"bearing": (8.0, 14.0), "overheating": (1.5, 3.0), "imbalance": (4.0, 8.0), "stuck_sensor": (0.35, 1.0)}
    kinds = [*KINDS, *KINDS]
    for slot, number in enumerate(rng.permutation(len(kinds))):
        kind = kinds[number]
        length = rng.uniform(*days[kind])
        begin = (N_TRAIN + N_VALIDATION) / 24 + 1 + slot * _SLOT_DAYS + rng.uniform(0, _SLOT_DAYS - 2 - length)
        is_stuck = kind == "stuck_sensor"
        found.append(
            Injection(
                kind=kind,
                start_s=begin * 24 * _H,
                end_s=(begin + length) * 24 * _H,
                shape="step" if is_stuck else "linear" if kind == "bearing" or rng.random() < 0.5 else "sawtooth",
                peak=float(rng.uniform(0.7, 1.1)),
                channel=str(rng.choice(list(UNITS))) if is_stuck else None,
            )
        )
    return found


def save_watched(path: Path, watched: Watched) -> None:
    """Keep a machine as one .npz file, complete or not at all."""
    held = BytesIO()
    arrays = {name: getattr(watched, name) for name in _ARRAYS}
    told = json.dumps(
        {"asset": watched.asset, "ratio": watched.naive_ratio, "faults": [asdict(f) for f in watched.faults]}
    )
    np.savez(held, told=np.array(told), **arrays)
    write_bytes(path, held.getvalue())


def load_watched(path: Path) -> Watched:
    """Read what `save_watched` kept."""
    with np.load(path, allow_pickle=False) as kept:
        told = json.loads(str(kept["told"]))
        arrays = {name: kept[name] for name in _ARRAYS}
    faults = tuple(Fault(**fault) for fault in told["faults"])
    return Watched(asset=told["asset"], faults=faults, naive_ratio=told["ratio"], **arrays)
