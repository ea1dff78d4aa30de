"""What a training of mixed recordings reads: windows, features, targets; and which of them train, choose and test."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from foresense.config.dualpatch import DualPatchConfig
from foresense.config.mixed_pipeline import MixedCandidateConfig, MixedTrainConfig
from foresense.evaluate.grouped import seasons_of, weeks_of
from foresense.signals import SignalError, read_json
from foresense.signals.mixed import NumericChannel
from foresense.signals.mixed_windows import MixedWindows, open_mixed_windows
from foresense.steps.mixed_clock import CALENDAR, clock_of, months_of_targets, newest_steps_ns
from foresense.steps.window_mixed import GROUP
from foresense.training.mixed_items import MixedItems
from foresense.training.mixed_rows import ClassRows, ValueRows

Predicts = Literal["value", "class"]
_HOUR_NS, _DAY_H, _WEEK_H = 3600 * 10**9, 24, 168
#: Rule of a naive rival -> hours after which the same hour comes again.
_TURNS_H = {"persistence": 1, "last_day": _DAY_H, "last_week": _WEEK_H}


@dataclass(frozen=True)
class MixedFold:
    """One turn, in numbers of windows.

    Attributes:
        number: Of the turn, and of its schema and its features.
        train: (k,), int64.
        validation: (k,), int64: they choose an epoch and a candidate.
        test: (k,), int64: nobody looks at them before the end.
    """

    number: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class MixedData:
    """Windows with their features; n windows.

    Attributes:
        windows: All windows.
        features: For each turn, (n, n_features), float64, NaN: not measured.
        names: For each turn, the name of each feature.
        family: Of the features, `summary` or `lagged`.
        calendar: (n, 4), float32, appended to the static numbers in the order of CALENDAR; None: there is none.
        weeks: (n,), int64: whole weeks since the first target; None without real time.
        seasons: (n,), text, of the target; None without real time.
        stations: (n,), text: name of the recording.
    """

    windows: MixedWindows
    features: tuple[np.ndarray, ...]
    names: tuple[tuple[str, ...], ...]
    family: str
    calendar: np.ndarray | None
    weeks: np.ndarray | None
    seasons: np.ndarray | None
    stations: np.ndarray

    @property
    def target(self) -> NumericChannel:
        """What is asked for."""
        return self.windows.target

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classes; empty: there are none."""
        return self.windows.class_names

    @property
    def target_channel(self) -> int | None:
        """Place of the target among the numeric channels of a window; None: it is not there."""
        names = [channel.name for channel in self.windows.schemas[0].numeric]
        return names.index(self.target.name) if self.target.name in names else None

    @property
    def is_over_time(self) -> bool:
        """Whether parts are of time, so that neighbouring windows resemble each other."""
        return self.windows.ahead is not None

    def truth(self, rows: np.ndarray, predicts: Predicts) -> np.ndarray:
        """(k,): classes, int64, or values, float32."""
        return np.asarray((self.windows.classes if predicts == "class" else self.windows.targets)[rows])

    def items(self, rows: np.ndarray, fold: int, predicts: Predicts) -> MixedItems:
        """Rows as a training takes them: codes of the schema of `fold`, the calendar after the static numbers."""
        batch = self.windows.gather(rows, fold)
        static = batch.static_numbers
        if self.calendar is not None:
            static = np.concatenate([static, self.calendar[rows]], axis=1)
        given = {
            "numbers": batch.numbers,
            "categories": batch.categories,
            "static_numbers": static,
            "static_categories": batch.static_categories,
        }
        there = {name: values for name, values in given.items() if values.shape[1]}
        return MixedItems(**there, labels=self.truth(rows, predicts))

    def class_rows(self, rows: np.ndarray, fold: int, *, block_weeks: int) -> ClassRows:
        """Rows as rivals for classes take them; over time, weeks that an interval draws together share an owner."""
        owners = None if self.weeks is None or not self.is_over_time else self.weeks[rows] // block_weeks
        target = self.windows.classes[rows].astype(np.float64)
        return ClassRows(self.features[fold][rows], target, n_classes=len(self.class_names), owners=owners)

    def value_rows(self, rows: np.ndarray, fold: int) -> ValueRows:
        """Rows as rivals for values take them."""
        features, targets = self.features[fold][rows], self.windows.targets[rows].astype(np.float64)
        if not self.is_over_time:  # no rule repeats an outcome; recordings stand in their own order
            nothing = np.full((len(rows), 1), np.nan)
            return ValueRows(features, targets, nothing, issued_h=self.windows.owners[rows], horizon_h=1)
        return ValueRows(
            features,
            targets,
            history=self._history(rows),
            issued_h=np.asarray(newest_steps_ns(self.windows)[rows] // _HOUR_NS),
            horizon_h=math.ceil(self._horizon_h),  # what is not whole hours keeps the longer distance
        )

    def naive_rules(self) -> tuple[str, ...]:
        """Rules that can repeat an earlier value of the target: a channel, hourly, in a window that is long enough."""
        is_hourly = self.windows.schemas[0].interval_s * 10**9 == _HOUR_NS
        if not self.is_over_time or self.target_channel is None or not is_hourly:
            return ()
        horizon = round(self._horizon_h)
        return tuple(name for name, turn in _TURNS_H.items() if -horizon % turn < self.windows.length)

    @property
    def _horizon_h(self) -> float:
        return (self.windows.ahead or 1) * self.windows.schemas[0].interval_s / 3600

    def _history(self, rows: np.ndarray) -> np.ndarray:
        """(k, n_steps): the target's own channel in each window."""
        if self.target_channel is None:
            return np.full((len(rows), 1), np.nan)
        steps = self.windows.starts[rows, None] + np.arange(self.windows.length)
        return np.asarray(self.windows.numeric[:, self.target_channel][steps], np.float64)


def read_mixed(windows: Path, features: Path, config: MixedTrainConfig) -> MixedData:
    """Open what the steps `window` and `features` wrote.

    Args:
        windows: `data/windows/<pipeline>`.
        features: `data/features/<pipeline>`.
        config: Section `train`.

    Raises:
        FileNotFoundError: one of the two steps has not finished.
        SignalError: a calendar without real time, or features of rivals that know none while the networks do.
    """
    opened = open_mixed_windows(windows / GROUP)
    path = features / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; run `foresense features {features.name}` first")
    manifest = read_json(path)
    if config.calendar and manifest["family"] != "lagged":
        raise SignalError(
            f"train.calendar is true, but the rivals' features are {manifest['family']!r} and know no clock: rivals "
            "and networks must see the same; set features.family to lagged, or train.calendar to false"
        )
    names = tuple(tuple(table["names"]) for table in manifest["tables"])
    tables = [pd.read_parquet(features / f"features-{fold}.parquet") for fold in range(len(names))]
    return MixedData(
        windows=opened,
        features=tuple(table[list(columns)].to_numpy(np.float64) for table, columns in zip(tables, names, strict=True)),
        names=names,
        family=manifest["family"],
        calendar=clock_of(opened).calendar if config.calendar else None,
        weeks=weeks_of(opened.times_ns // 10**9) if opened.has_time else None,
        seasons=seasons_of(months_of_targets(opened)) if opened.has_time else None,
        stations=np.array(opened.recordings)[opened.owners],
    )


def fold_of(data: MixedData, number: int) -> MixedFold:
    """The windows of turn `number`: parts of time, or group `number` is the test and the next one chooses."""
    windows = data.windows
    return MixedFold(number, *(windows.of_part(part, number) for part in ("train", "validation", "test")))


def folds_of(data: MixedData, config: MixedTrainConfig) -> list[MixedFold]:
    """The turns that are asked for; at most those that the windows have."""
    n_folds = data.windows.n_folds if config.folds == "all" else min(config.folds, data.windows.n_folds)
    return [fold_of(data, number) for number in range(n_folds)]


def sizes_of(data: MixedData, fold: int) -> dict[str, Any]:
    """What windows hold, in the words of a network's section; vocabularies are those of the schema of `fold`."""
    windows, schema = data.windows, data.windows.schemas[fold]
    return {
        "n_numeric": len(schema.numeric),
        "cardinalities": tuple(max(1, len(channel.values)) for channel in schema.categorical),
        "n_static_numeric": len(schema.static_numeric) + (0 if data.calendar is None else len(CALENDAR)),
        "static_cardinalities": tuple(max(1, len(channel.values)) for channel in schema.static_categorical),
        "n_steps": windows.length,
    }


def network_of(candidate: MixedCandidateConfig, data: MixedData, predicts: Predicts, fold: int) -> DualPatchConfig:
    """The network of a candidate as it fits the windows and the vocabularies of the schema of `fold`."""
    of_classes = {"head": "classes", "n_outputs": len(data.class_names)}
    head = of_classes if predicts == "class" else {"head": "values", "n_outputs": 1}
    return DualPatchConfig.model_validate({**candidate.network.model_dump(), **sizes_of(data, fold), **head})
