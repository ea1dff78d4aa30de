"""Step `features` of a pipeline of mixed recordings: what the rivals of a network look at, once for each schema."""

import logging
import time
from typing import Any

import numpy as np
import pandas as pd

from foresense.config.mixed_pipeline import MixedFeaturesConfig
from foresense.features.mixed_summary import MixedFeatures, lagged_features, summary_features
from foresense.features.mixed_summary import MixedWindows as EncodedWindows
from foresense.signals import FeaturesReport, SignalError, replaced_folder, tree_sha256, write_json
from foresense.signals.mixed_windows import MixedWindows, open_mixed_windows
from foresense.steps.frame import StepRun
from foresense.steps.mixed_clock import LocalClock, clock_of
from foresense.steps.window_mixed import GROUP

LOG = logging.getLogger(__name__)
_CHUNK = 1024  # windows at once: bounds the memory held


def features_mixed(run: StepRun, config: MixedFeaturesConfig) -> FeaturesReport:
    """Compute the features of every window of one pipeline, once for each way to choose the parts.

    Categories become a number for each code of a schema, and each training part has its own schema: so there is one
    table where time decides, and one for each group that is the test. What was not measured stays NaN.

    Args:
        run: The step's run.
        config: Section `features`.

    Returns:
        The report, written to `reports/<pipeline>/features.json`, which tells of every name that occurs in a table; the
        tables, one row for each window with its number, are `data/features/<pipeline>/features-<fold>.parquet`.

    Raises:
        FileNotFoundError: the step `window` has not finished.
        SignalError: `lagged` without real time, or of windows that are shorter than its longest lag.
    """
    windows = open_mixed_windows(run.paths.windows / GROUP)
    windows_sha256 = tree_sha256(run.paths.windows)
    begun = time.perf_counter()
    tables = [compute(windows, config, fold) for fold in range(windows.n_folds)]
    seconds = time.perf_counter() - begun
    with replaced_folder(run.paths.features) as beside:
        for fold, table in enumerate(tables):
            frame = pd.DataFrame(table.values, columns=list(table.names))
            frame.insert(0, "window", np.arange(len(frame)))
            frame.to_parquet(beside / f"features-{fold}.parquet", index=False, compression="zstd")
        write_json(
            beside / "manifest.json",
            {
                "schema_version": 1,
                "windows_sha256": windows_sha256,
                "family": config.family,
                "tables": [
                    {"names": list(table.names), "units": list(table.units), "n_missing": _n_missing(table)}
                    for table in tables
                ],
            },
        )
    return run.finish(
        FeaturesReport,
        data_sha256=windows_sha256,
        n_windows=len(windows.starts),
        ms_per_window={config.family: round(seconds / (len(windows.starts) * len(tables)) * 1000, 4)},
        features=_facts(tables, config.family),
    )


def compute(windows: MixedWindows, config: MixedFeaturesConfig, fold: int = 0) -> MixedFeatures:
    """Compute the features of all windows, categories in the codes of one schema.

    Raises:
        SignalError: as of `features_mixed`.
    """
    clock = clock_of(windows) if config.family == "lagged" else None
    parts = []
    for first in range(0, len(windows.starts), _CHUNK):
        numbers = np.arange(first, min(first + _CHUNK, len(windows.starts)))
        parts.append(_features(windows, numbers, fold, clock))
    LOG.info("%s features of %d windows, schema %d of %d", config.family, len(windows.starts), fold, windows.n_folds)
    return MixedFeatures(parts[0].names, parts[0].units, np.concatenate([part.values for part in parts]))


def _features(windows: MixedWindows, numbers: np.ndarray, fold: int, clock: LocalClock | None) -> MixedFeatures:
    batch = windows.gather(numbers, fold)
    encoded = EncodedWindows(
        schema=windows.schemas[fold],
        numbers=batch.numbers,
        categories=batch.categories,
        static_numbers=batch.static_numbers,
        static_categories=batch.static_categories,
    )
    if clock is None:
        return summary_features(encoded)
    return lagged_features(encoded, hour=clock.hour[numbers], month=clock.month[numbers])


def _n_missing(table: MixedFeatures) -> dict[str, int]:
    """Windows without a value, of each feature that has such windows."""
    counts = np.isnan(table.values).sum(axis=0).tolist()
    return {name: n for name, n in zip(table.names, counts, strict=True) if n}


def _facts(tables: list[MixedFeatures], family: str) -> dict[str, dict[str, Any]]:
    """Of each name, in the first table that has it; null where no window has a value."""
    found: dict[str, dict[str, Any]] = {}
    for table in tables:
        if np.isinf(table.values).any():
            column = int(np.argwhere(np.isinf(table.values))[0, 1])
            raise SignalError(f"feature {table.names[column]!r} is infinite; a defect of the family {family!r}")
        for at, (name, unit) in enumerate(zip(table.names, table.units, strict=True)):
            if name in found:
                continue
            known = table.values[~np.isnan(table.values[:, at]), at]
            summary = (known.min(), known.mean(), known.max()) if len(known) else (None, None, None)
            found[name] = {
                "unit": unit,
                "family": family,
                **{key: None if one is None else float(one) for key, one in zip(_SUMMARY, summary, strict=True)},
                "n_missing": len(table.values) - len(known),
            }
    return found


_SUMMARY = ("min", "mean", "max")
