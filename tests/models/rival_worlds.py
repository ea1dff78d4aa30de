"""Windows with every kind of hole, rivals that learnt from their features, and the networks made of them."""

from functools import cache
from typing import Any

import numpy as np
import torch

from foresense.features.mixed_summary import MixedFeatures, MixedWindows, lagged_features, summary_features
from foresense.models.mixed_features import MixedFeatureConfig
from foresense.models.mixed_rivals import RivalModel, rival_model
from foresense.signals.mixed import CategoricalChannel, NumericChannel
from foresense.signals.mixed_schema import MixedSchema
from foresense.training import mixed_rivals
from foresense.training.mixed_fitted import feature_config
from foresense.training.mixed_rows import ClassRows, ValueRows

N_STEPS, HORIZON_H = 168, 24
CLOCK = ("hour_sin", "hour_cos", "month_sin", "month_cos")


def schema_of(
    n_numeric: int = 2, vocabularies: tuple[int, ...] = (3,), n_static: int = 1, kinds: int = 2
) -> MixedSchema:
    """Channels by number; `kinds` values of one static category, none for 0."""
    return MixedSchema(
        numeric=tuple(NumericChannel(f"x{at}", "1") for at in range(n_numeric)),
        categorical=tuple(
            CategoricalChannel(f"c{at}", tuple(f"v{value}" for value in range(n_values)))
            for at, n_values in enumerate(vocabularies)
        ),
        static_numeric=tuple(NumericChannel(f"s{at}", "1") for at in range(n_static)),
        static_categorical=(CategoricalChannel("kind", tuple(f"k{at}" for at in range(kinds))),) if kinds else (),
        means=(0.0,) * n_numeric,
        deviations=(1.0,) * n_numeric,
        static_means=(0.0,) * n_static,
        static_deviations=(1.0,) * n_static,
        constant=(),
        unmeasured=(),
        interval_s=3600.0,
    )


def windows_of(schema: MixedSchema, n: int, n_steps: int = N_STEPS, *, seed: int = 0) -> MixedWindows:
    """Half of all is missing; some channels wholly, some values infinite, some codes out of vocabulary."""
    rng = np.random.default_rng(seed)
    shape = (n, len(schema.numeric), n_steps)
    numbers = (rng.normal(80, 20, shape) + rng.normal(0, 30, shape[:2])[..., None]).astype(np.float32)
    numbers[rng.random(shape) < 0.5] = np.nan
    numbers[rng.random(shape[:2]) < 0.05] = np.nan
    numbers[rng.random(shape) < 0.005] = np.inf
    return MixedWindows(
        schema=schema,
        numbers=numbers,
        categories=codes(rng, schema.categorical, (n, n_steps)),
        static_numbers=np.where(rng.random((n, len(schema.static_numeric))) < 0.3, np.nan, 60.0).astype(np.float32),
        static_categories=codes(rng, schema.static_categorical, (n,)),
    )


def codes(rng: np.random.Generator, channels: tuple[CategoricalChannel, ...], shape: tuple[int, ...]) -> np.ndarray:
    found = [rng.integers(0, channel.n_codes, shape) for channel in channels]
    return np.stack(found, axis=1) if found else np.zeros((shape[0], 0, *shape[1:]), np.int64)


def clock_of(n: int) -> dict[str, np.ndarray]:
    return {"hour": np.arange(n) * 5 % 24, "month": np.arange(n) % 12 + 1}


def features_of(windows: MixedWindows, family: str) -> MixedFeatures:
    return (
        summary_features(windows) if family == "summary" else lagged_features(windows, **clock_of(len(windows.numbers)))
    )


def inputs_of(windows: MixedWindows, *, has_clock: bool) -> dict[str, torch.Tensor]:
    """As a network takes them: an input with no channel is left out; the clock stands behind the static numbers."""
    statics = windows.static_numbers.astype(np.float32)
    if has_clock:
        found = lagged_features(windows, **clock_of(len(statics)), channels=(), lags_h=(), means_h=())
        clock = [found.values[:, found.names.index(name)] for name in CLOCK]
        statics = np.column_stack([statics, *clock]).astype(np.float32)
    given = {
        "numbers": windows.numbers.astype(np.float32),
        "categories": windows.categories,
        "static_numbers": statics,
        "static_categories": windows.static_categories,
    }
    return {name: torch.from_numpy(array) for name, array in given.items() if array.shape[1]}


def config_of(schema: MixedSchema, family: str, n_steps: int = N_STEPS) -> MixedFeatureConfig:
    return feature_config(schema, family=family, n_steps=n_steps, has_clock=family == "lagged")


@cache
def learnt(name: str, n_classes: int | None) -> tuple[RivalModel, dict[str, torch.Tensor], np.ndarray]:
    """A rival as a network, inputs that it has not learnt from, and what scikit-learn says of them.

    Classes (never the last but one of six) follow the newest value of the first channel; values its mean.
    """
    schema, family = schema_of(), "lagged" if n_classes is None else "summary"
    train, test = (windows_of(schema, n, seed=seed) for seed, n in enumerate((400, 120)))
    rows = []
    for windows in (train, test):
        found = features_of(windows, family)
        level = np.nan_to_num(found.values[:, found.names.index("x0__mean" if n_classes else "x0__mean_24h")], nan=80)
        if n_classes is None:
            issued = np.arange(len(level)) * 5
            rows.append(ValueRows(found.values, level, windows_history(windows), issued, HORIZON_H))
        else:
            bins = np.quantile(level, np.linspace(0, 1, n_classes + 1)[1:-1])
            target = np.digitize(level, bins)
            target[target == 4] = 3
            rows.append(ClassRows(found.values, target.astype(np.float64), n_classes))
    said: Any = mixed_rivals.rival_predictions(name, rows[0], [rows[1]], seed=0)
    model = rival_model(name, said.fitted, config_of(schema, family), feature_names=found.names)
    return model, inputs_of(test, has_clock=family == "lagged"), said.predictions[0]


def windows_history(windows: MixedWindows) -> np.ndarray:
    """What was measured of the first channel."""
    values = windows.numbers[:, 0]
    return np.where(np.isfinite(values), values, np.nan)
