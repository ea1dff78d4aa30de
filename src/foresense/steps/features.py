"""Step `features`: windows in, one table of features out."""

from typing import Any

import pandas as pd

from foresense.config import FeaturesConfig
from foresense.features import Column, compute_features, family_version
from foresense.signals import (
    FeaturesReport,
    SignalError,
    Windows,
    group_folders,
    open_windows,
    replaced_folder,
    tree_sha256,
    write_json,
)
from foresense.steps.frame import StepRun


def features(run: StepRun, config: FeaturesConfig) -> FeaturesReport:
    """Compute the families of one pipeline for every `stride`-th training window and all others.

    Args:
        run: The step's run.
        config: Section `features`.

    Returns:
        The report, written to `reports/<pipeline>/features.json`; the table and its manifest lie in
        `data/features/<pipeline>/`.

    Raises:
        FileNotFoundError: the step `window` has not finished.
        ValueError: an unknown family.
        SignalError: groups with different channels, or features that are not finite.
    """
    groups = [open_windows(folder) for folder in group_folders(run.paths.windows)]
    windows_sha256 = tree_sha256(run.paths.windows)
    table, columns = _compute_all(groups, config)
    with replaced_folder(run.paths.features) as beside:
        table.to_parquet(beside / "features.parquet", index=False, compression="zstd")
        write_json(
            beside / "manifest.json",
            {
                "schema_version": 1,
                "windows_sha256": windows_sha256,
                "families": {name: family_version(name) for name in config.families},
                "features": [vars(column) for column in columns],
            },
        )
    return run.finish(
        FeaturesReport,
        data_sha256=windows_sha256,
        n_windows=len(table),
        features={column.name: _facts(table[column.name], column) for column in columns},
    )


def _compute_all(groups: list[Windows], config: FeaturesConfig) -> tuple[pd.DataFrame, tuple[Column, ...]]:
    tables: list[pd.DataFrame] = []
    columns: tuple[Column, ...] = ()
    for windows in groups:
        starts = {**windows.starts, "train": windows.starts["train"][:: config.stride]}
        table, found = compute_features(windows, starts, config.families)
        columns = columns or found
        if found != columns:
            raise SignalError(
                f"group {windows.group!r} has channels {list(windows.channels)}, group {groups[0].group!r} has "
                f"{list(groups[0].channels)}; one pipeline needs one layout of channels and units"
            )
        tables.append(table)
    return pd.concat(tables, ignore_index=True), columns


def _facts(values: pd.Series, column: Column) -> dict[str, Any]:
    return {
        "unit": column.unit,
        "family": column.family,
        "min": float(values.min()),
        "mean": float(values.mean()),
        "max": float(values.max()),
        "n_missing": int(values.isna().sum()),
    }
