"""Step `features` of an activity pipeline: families of every window; a window that has none is counted."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from foresense.config.activity import ActivityFeaturesConfig
from foresense.features import Column, Contexts, Family, family_version, load_family
from foresense.features.topological import TopologicalResult
from foresense.features.topology_bound import bound_facts, joined, topological_with_bound
from foresense.signals import FeaturesReport, SignalError, replaced_folder, tree_sha256, write_json
from foresense.signals.labelled import LabelledWindows, open_labelled_windows
from foresense.steps.frame import StepRun
from foresense.steps.window_activity import GROUP

LOG = logging.getLogger(__name__)
_CHUNK = 256  # windows at once: bounds the memory held
_TOPOLOGY = "wrist_topology"


@dataclass(frozen=True, eq=False)
class Computed:
    """Families of windows.

    Attributes:
        values: (n_kept, n_features), float64, finite.
        columns: Of `values`.
        refused: Number of each window that a family refused -> the reason.
        seconds: Family -> seconds that it took.
        topology: What the topological features of the kept windows come from; None where they are not asked for.
    """

    values: np.ndarray
    columns: tuple[Column, ...]
    refused: dict[int, str]
    seconds: dict[str, float]
    topology: TopologicalResult | None


def features_activity(run: StepRun, config: ActivityFeaturesConfig) -> FeaturesReport:
    """Compute the families of every window of one pipeline.

    A window that a family refuses has no row in the table: it is neither trained on nor judged, and it is counted with
    the reason. More of them than `max_failed` stop the step.

    Args:
        run: The step's run.
        config: Section `features`.

    Returns:
        The report, written to `reports/<pipeline>/features.json`; the table, one row for each window with its number,
        lies in `data/features/<pipeline>/`.

    Raises:
        FileNotFoundError: the step `window` has not finished.
        ValueError: an unknown family.
        SignalError: too many windows without features, or features that are not finite.
    """
    windows = open_labelled_windows(run.paths.windows / GROUP)
    windows_sha256 = tree_sha256(run.paths.windows)
    computed = compute(windows, config.families)
    columns, refused = computed.columns, computed.refused
    limit = config.max_failed * len(windows.starts)
    if len(refused) > limit:
        number, reason = next(iter(refused.items()))
        raise SignalError(
            f"{len(refused)} of {len(windows.starts)} windows have no features, at most {limit:.0f} may "
            f"(features.max_failed {config.max_failed:g}); window {number} of "
            f"{windows.people[windows.owners[number]]}: {reason}"
        )
    table = pd.DataFrame(computed.values, columns=[column.name for column in columns])
    kept = np.setdiff1d(np.arange(len(windows.starts)), np.array(list(refused), np.int64))
    table.insert(0, "window", kept)
    with replaced_folder(run.paths.features) as beside:
        table.to_parquet(beside / "features.parquet", index=False, compression="zstd")
        write_json(
            beside / "manifest.json",
            {
                "schema_version": 1,
                "windows_sha256": windows_sha256,
                "families": {name: family_version(name) for name in config.families},
                "features": [vars(column) for column in columns],
                "refused": {str(number): reason for number, reason in refused.items()},
            },
        )
    return run.finish(
        FeaturesReport,
        data_sha256=windows_sha256,
        n_windows=len(table),
        n_refused=len(refused),
        ms_per_window={name: round(took / len(windows.starts) * 1000, 4) for name, took in computed.seconds.items()},
        landmarks={} if computed.topology is None else bound_facts(computed.topology),
        features={column.name: _facts(table[column.name], column) for column in columns},
    )


def compute(windows: LabelledWindows, families: Sequence[str]) -> Computed:
    """Compute families of all windows.

    Raises:
        ValueError: an unknown family.
        SignalError: features that are not finite.
    """
    functions = {name: load_family(name) for name in families}
    seconds = dict.fromkeys(families, 0.0)
    refused: dict[int, str] = {}
    chunks: list[np.ndarray] = []
    topology: list[TopologicalResult] = []
    columns: tuple[Column, ...] = ()
    for first in range(0, len(windows.starts), _CHUNK):
        numbers = np.arange(first, min(first + _CHUNK, len(windows.starts)))
        for values, found, of_landmarks in _salvaged(windows, numbers, functions, refused, seconds):
            chunks.append(values)
            topology += of_landmarks
            columns = columns or found
        if first % (_CHUNK * 16) == 0:
            LOG.info("features of %d of %d windows", first + len(numbers), len(windows.starts))
    values = np.concatenate(chunks) if chunks else np.empty((0, 0))
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise SignalError(
            f"feature {columns[column].name!r} is {values[row, column]} in row {row}; a defect of its family"
        )
    return Computed(values, columns, refused, seconds, joined(topology) if topology else None)


def contexts_of(windows: LabelledWindows, numbers: np.ndarray) -> Contexts:
    """Windows as a family takes them, float64."""
    samples = windows.gather(numbers).astype(np.float64)
    return Contexts(
        samples=samples,
        imputed=np.zeros(samples.shape, bool),
        issued_s=windows.times_ns[numbers] // 10**9,
        channels=windows.channels,
        units=windows.units,
        interval_s=1 / windows.rate_hz,
        time_zone=windows.time_zone,
    )


def _salvaged(
    windows: LabelledWindows,
    numbers: np.ndarray,
    functions: dict[str, Family],
    refused: dict[int, str],
    seconds: dict[str, float],
) -> Iterator[tuple[np.ndarray, tuple[Column, ...], list[TopologicalResult]]]:
    """Values of those of these windows that no family refuses, and where the topological ones come from.

    The reasons of the others go into `refused`.
    """
    topology: list[TopologicalResult] = []
    try:
        contexts = contexts_of(windows, numbers)
        found = {}
        for name, function in functions.items():
            begun = time.perf_counter()
            if name == _TOPOLOGY:
                found[name], result = topological_with_bound(contexts)
                topology.append(result)
            else:
                found[name] = function(contexts)
            seconds[name] += time.perf_counter() - begun
    except ValueError as error:
        if len(numbers) == 1:
            refused[int(numbers[0])] = str(error)
            return
        for half in np.array_split(numbers, 2):
            yield from _salvaged(windows, half, functions, refused, seconds)
        return
    columns = tuple(
        Column(feature, unit, name)
        for name, one in found.items()
        for feature, unit in zip(one.names, one.units, strict=True)
    )
    yield np.concatenate([one.values for one in found.values()], axis=1), columns, topology


def _facts(values: pd.Series, column: Column) -> dict[str, Any]:
    return {
        "unit": column.unit,
        "family": column.family,
        "min": float(values.min()),
        "mean": float(values.mean()),
        "max": float(values.max()),
        "n_missing": 0,
    }
