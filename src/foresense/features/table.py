"""The table of features: computed by group and part, written once, read by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from foresense.features.catalog import load_family
from foresense.features.contexts import Features, read_contexts
from foresense.signals import PARTS, Part, SignalError, Windows, read_json

KEYS = ("group", "part", "start")


@dataclass(frozen=True)
class Column:
    """One feature: its name, its unit, and the family it comes from."""

    name: str
    unit: str
    family: str


def compute_features(
    windows: Windows, starts: Mapping[Part, np.ndarray], families: Sequence[str]
) -> tuple[pd.DataFrame, tuple[Column, ...]]:
    """Compute families for the windows of one group.

    Args:
        windows: One group.
        starts: For each part, (n,), int64: rows where the wanted windows begin.
        families: Names in FEATURES, each once.

    Returns:
        Columns `group`, `part`, `start`, then one float64 column for each feature, in physical units, parts in
        order; and the columns' units and families.

    Raises:
        ValueError: an unknown family, or one given twice.
        SignalError: two families give one name, or a value is not finite.
    """
    if len(set(families)) != len(families):
        raise ValueError(f"features.families: every family once, found {list(families)}")
    functions = {name: load_family(name) for name in families}
    wanted = np.concatenate([starts[part] for part in PARTS])
    chunks: list[np.ndarray] = []
    columns: tuple[Column, ...] = ()
    for contexts in read_contexts(windows, wanted):
        found = {name: function(contexts) for name, function in functions.items()}
        columns = columns or _columns(found)
        chunks.append(np.concatenate([one.values for one in found.values()], axis=1))
    values = np.concatenate(chunks) if chunks else np.empty((0, 0))
    _require_finite(windows, wanted, values, columns)
    keys = {
        "group": windows.group,
        "part": np.repeat(PARTS, [len(starts[part]) for part in PARTS]),
        "start": wanted,
    }
    table = pd.DataFrame(values, columns=[column.name for column in columns])
    return pd.concat([pd.DataFrame(keys), table], axis=1), columns


def read_features(folder: Path) -> pd.DataFrame:
    """Read what the step `features` wrote.

    Args:
        folder: `data/features/<pipeline>`.

    Returns:
        One row per window: `group`, `part` (train, validation, test), `start` (row of the group's samples), then the
        features, float64, physical units.

    Raises:
        FileNotFoundError: no manifest: the step `features` has not finished.
    """
    return pd.read_parquet(_finished(folder) / "features.parquet")


def read_columns(folder: Path) -> tuple[Column, ...]:
    """Names, units and families of the features in `folder`, in the order of the table.

    Raises:
        FileNotFoundError: no manifest: the step `features` has not finished.
    """
    return tuple(Column(**entry) for entry in read_json(_finished(folder) / "manifest.json")["features"])


def _finished(folder: Path) -> Path:
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: not there; run `foresense features {folder.name}` first")
    return folder


def _columns(found: Mapping[str, Features]) -> tuple[Column, ...]:
    columns = tuple(
        Column(name, unit, family)
        for family, features in found.items()
        for name, unit in zip(features.names, features.units, strict=True)
    )
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1} | set(names) & set(KEYS))
    if twice:
        raise SignalError(
            f"features {twice} are given twice or named like a key {list(KEYS)}; rename the channel or the feature"
        )
    return columns


def _require_finite(windows: Windows, starts: np.ndarray, values: np.ndarray, columns: tuple[Column, ...]) -> None:
    broken = np.argwhere(~np.isfinite(values))
    if len(broken):
        row, column = broken[0]
        raise SignalError(
            f"group {windows.group!r}: feature {columns[column].name!r} of family {columns[column].family!r} is "
            f"{values[row, column]} for the window at row {starts[row]} ({len(broken)} such values); a family must "
            "give finite numbers for every window"
        )
