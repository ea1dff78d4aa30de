"""From the old format of samples (`old_format`) to today's: find, transform in place or elsewhere, delete.

An old row is a time of a series (asset and `sensor_type`) at which one of the fields that only the old format has is
there. Every function reads stretch by stretch, so memory does not grow with the store, and can be started again after
it was killed at any moment. Nothing else may write the old format meanwhile: what changed since the backup is not
deleted, but between the last look and the deletion of a stretch nobody can look.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

import numpy as np

from foresense.stores.backup import Backup, Stretch, read_backup, write_backup
from foresense.stores.batch import Batch, SeriesStore, StoreError
from foresense.stores.old_format import AXES, CHANNELS, FIELDS, MARKERS, NEW_MARKERS, magnitude, to_new
from foresense.stores.slices import slices_with

#: Two values so near are one: InfluxDB gives the mean of several series, whose last digit may differ.
_RELATIVE = 1e-12


@dataclass
class Found:
    """Old rows of one series.

    Attributes:
        asset: Name.
        sensor_type: The series' tag; "" where it has none, None where the store has no tags.
        n_samples: Old rows.
        first_ns: Time of the first of them, nanoseconds since 1970 UTC.
        last_ns: Of the last.
        fields: How many of them have each old field.
        n_partial: Of them lack at least one of the six old fields.
        n_without_axis: Of them have axes from which no vibration can be computed, one or two of three.
        n_zero: Of them have an exact 0 in an old field: the earlier bridge wrote 0 for a field that was missing, and
            nobody can tell that from a measured 0. They are transformed as they are.
        n_mixed: Of them have today's values at the same time.
    """

    asset: str
    sensor_type: str | None
    n_samples: int = 0
    first_ns: int = 0
    last_ns: int = 0
    fields: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIELDS, 0))
    n_partial: int = 0
    n_without_axis: int = 0
    n_zero: int = 0
    n_mixed: int = 0


@dataclass
class Outcome:
    """What a transformation did, or would do; every value that old rows give is counted in one of the first four.

    Attributes:
        n_values_written: Values in today's channels that were not there.
        n_values_there: That were there, equal.
        n_conflicts: That were there, different: left as they were.
        n_values_refused: That the store will not take.
        n_axes_left: Values of axes of which no vibration came, another axis of the sample being missing.
        n_rows_left: Samples named in the file of what was left: conflicts, refusals, samples with a missing axis.
        path: That file; None where there was nothing to say, or nothing was done.
    """

    n_values_written: int = 0
    n_values_there: int = 0
    n_conflicts: int = 0
    n_values_refused: int = 0
    n_axes_left: int = 0
    n_rows_left: int = 0
    path: Path | None = None


class Deletion(NamedTuple):
    """What a deletion did, or would do.

    Attributes:
        n_samples: Old rows.
        n_put_back: Rows that a killed deletion had left beside, put back into their series.
        backup: What was deleted and what stood between it; None where nothing was to be deleted, or nothing was done.
    """

    n_samples: int
    n_put_back: int
    backup: Backup | None


def find(store: SeriesStore) -> list[Found]:
    """Say where old rows are, and how many; in order of asset and series.

    Raises:
        StoreError: the store cannot be read, or an old field holds something else than numbers.
    """
    found: dict[tuple[str, str | None], Found] = {}
    for sensor_type, batch in _old_stretches(store, FIELDS, store):
        key = batch.assets[0], sensor_type
        _count(found.setdefault(key, Found(*key)), batch, _at(store, batch, NEW_MARKERS))
    return sorted(found.values(), key=lambda one: (one.asset, one.sensor_type or ""))


def transform(store: SeriesStore, target: SeriesStore | None, *, path: Path, apply: bool) -> Outcome:
    """Write today's channels for every old row; the old values stay.

    What is there already is never overwritten: equal is fine, different is a conflict that is counted and left. In
    InfluxDB the series keeps its `sensor_type`; what comes from an embedded store, which has no tags, gets that of the
    settings.

    Args:
        store: Holds old rows.
        target: Where to write; None: beside the old values, in the same series.
        path: File for the rows of which something was left, one JSON object a line; made only where there are some.
        apply: False changes nothing.

    Raises:
        StoreError: a store cannot be read.
        StoreUnavailableError: a store does not answer; run it again later.
    """
    outcome = Outcome()
    if target is not None and apply:
        target.prepare()
    other, channels = (store, NEW_MARKERS) if target is None else (target, CHANNELS)
    known = other if other.exists() else None
    columns = [CHANNELS.index(name) for name in channels]
    with _Left(path if apply else None) as left:
        for sensor_type, batch in _old_stretches(store, FIELDS, known):
            new = Batch(batch.assets, batch.asset_index, batch.times_ns, channels, to_new(batch.values)[:, columns])
            there = _at(known, new, channels) if known is not None else np.full(new.values.shape, np.nan)
            is_known = ~np.isnan(new.values) & ~np.isnan(there)
            is_conflict = is_known & ~np.isclose(new.values, there, rtol=_RELATIVE, atol=0.0)
            is_new = ~np.isnan(new.values) & ~is_known
            refused = _write(other.view(sensor_type), new, is_new) if apply else {}
            is_refused = is_new & np.isin(np.arange(len(new)), list(refused))[:, None]
            outcome.n_values_written += int((is_new & ~is_refused).sum())
            outcome.n_values_there += int((is_known & ~is_conflict).sum())
            outcome.n_conflicts += int(is_conflict.sum())
            outcome.n_values_refused += int(is_refused.sum())
            n_axes = _n_axes_without_vibration(batch.values)
            outcome.n_axes_left += int(n_axes.sum())
            for row in np.flatnonzero(is_conflict.any(axis=1) | (n_axes > 0) | is_refused.any(axis=1)).tolist():
                reasons = [
                    f"{channels[at]}: the store has {there[row, at]:.17g}, the old fields give "
                    f"{new.values[row, at]:.17g}; left as it is"
                    for at in np.flatnonzero(is_conflict[row])
                ]
                if n_axes[row]:
                    reasons.append(f"vibration_magnitude: {_axes_problem(batch.values[row])}")
                if row in refused:
                    reasons.append(f"refused by the store: {refused[row]}")
                left.add(sensor_type, batch, row, reasons)
    outcome.n_rows_left, outcome.path = left.n_rows, left.path
    return outcome


def delete(store: SeriesStore, *, backup_path: Path, apply: bool) -> Deletion:
    """Delete the old fields of every old row, after a backup that was read back and compared.

    `current` has one name in both formats: it is deleted with an old row, and stays where the asset has any of today's
    other channels at that time. Everything else at the same time or between stays too. The embedded store can drop
    single values. InfluxDB deletes whole points; there what has to stay is written beside first, and back afterwards
    (`influx_erase`), because refusing would leave no way out for a store that was transformed in place, where every old
    point holds today's values too. What cannot be written back exactly (fields of text, whole numbers or truth) is
    refused before anything of that stretch is deleted.

    A killed deletion is started again: it puts back what stood beside, makes a new backup of what is still there, and
    goes on. The earlier backup stays.

    Args:
        store: Holds old rows.
        backup_path: A file that is not there yet.
        apply: False changes nothing.

    Raises:
        StoreError: the store cannot delete; it holds other samples than the backup, so something writes there.
        OSError: the backup cannot be written; nothing was deleted.
    """
    n_put_back = store.mend(apply=apply)
    found = find(store)
    n_samples = sum(one.n_samples for one in found)
    if not apply or not n_samples:
        return Deletion(n_samples, n_put_back, None)
    channels = store.channels()
    backup = write_backup(backup_path, channels, _old_stretches(store, channels, is_whole=True))
    for sensor_type, batch in read_backup(backup.path):
        _erase(store, store.view(sensor_type), batch, backup)
    return Deletion(n_samples, n_put_back, backup)


def _erase(store: SeriesStore, view: SeriesStore, batch: Batch, backup: Backup) -> None:
    """Erase the old rows of one stretch of a backup, if the store still holds what the backup holds."""
    asset, start_ns, end_ns = batch.assets[0], int(batch.times_ns[0]), int(batch.times_ns[-1]) + 1
    now = view.read(asset, start_ns, end_ns, channels=batch.channels)
    if not (np.array_equal(now.times_ns, batch.times_ns) and np.array_equal(now.values, batch.values, equal_nan=True)):
        raise StoreError(
            f"asset {asset!r}, {time_text(start_ns)} to {time_text(end_ns - 1)}: the store holds other samples than "
            f"{backup.path}, so something writes there; this stretch and the following ones were not deleted. Stop "
            "what writes, and run the command again"
        )
    is_old = ~np.isnan(_aligned(batch, MARKERS)).all(axis=1)
    times_ns = batch.times_ns[is_old]
    new = store.read(asset, start_ns, end_ns, channels=NEW_MARKERS)
    is_mixed = np.isin(times_ns, new.times_ns)
    if (~is_mixed).any():
        view.erase(asset, times_ns[~is_mixed], FIELDS)
    if is_mixed.any():
        view.erase(asset, times_ns[is_mixed], MARKERS)


def _old_stretches(
    store: SeriesStore, channels: tuple[str, ...], other: SeriesStore | None = None, *, is_whole: bool = False
) -> Iterator[Stretch]:
    """Old rows, series by series, in order of time, in stretches that fit into memory.

    Args:
        store: Holds old rows.
        channels: What to read.
        other: A store that is read for the same stretches, and must fit into memory too.
        is_whole: Give the other rows of such a stretch too.

    Raises:
        StoreError: an old field holds something else than numbers.
    """
    known = store.channels()
    markers = [name for name in MARKERS if name in known]
    if not markers:
        return
    for sensor_type in store.sensor_types():
        view = store.view(sensor_type)
        stores = [view] if other is None else [view, other]
        for asset, (first_ns, last_ns) in view.assets().items():
            for start_ns, end_ns in slices_with(stores, asset, markers, first_ns, last_ns + 1):
                batch = view.read(asset, start_ns, end_ns, channels=channels)
                is_old = ~np.isnan(_aligned(batch, MARKERS)).all(axis=1)
                if is_old.any():
                    yield Stretch(sensor_type, batch if is_whole else batch.rows(is_old))


def _aligned(batch: Batch, channels: tuple[str, ...]) -> np.ndarray:
    """(n_rows, n_channels): these channels; NaN where the batch has none of that name."""
    values = np.full((len(batch), len(channels)), np.nan)
    for number, name in enumerate(channels):
        if name in batch.channels:
            values[:, number] = batch.values[:, batch.channels.index(name)]
    return values


def _at(store: SeriesStore, batch: Batch, channels: tuple[str, ...]) -> np.ndarray:
    """(n_rows, n_channels): what the store has at the times of `batch`, over all series; NaN where nothing."""
    start_ns, end_ns = int(batch.times_ns[0]), int(batch.times_ns[-1]) + 1
    found = store.read(batch.assets[0], start_ns, end_ns, channels=channels)
    values = np.full((len(batch), len(channels)), np.nan)
    _, at, at_found = np.intersect1d(batch.times_ns, found.times_ns, assume_unique=True, return_indices=True)
    values[at] = found.values[at_found]
    return values


def _count(found: Found, batch: Batch, new: np.ndarray) -> None:
    """Add old rows in the order of `FIELDS`; `new` is what the asset has in `NEW_MARKERS` at their times."""
    there = ~np.isnan(batch.values)
    found.first_ns = int(batch.times_ns[0]) if not found.n_samples else found.first_ns
    found.last_ns = int(batch.times_ns[-1])
    found.n_samples += len(batch)
    for name, n_there in zip(FIELDS, there.sum(axis=0).tolist(), strict=True):
        found.fields[name] += n_there
    found.n_partial += int((~there.all(axis=1)).sum())
    found.n_without_axis += int((_n_axes_without_vibration(batch.values) > 0).sum())
    found.n_zero += int((batch.values == 0).any(axis=1).sum())
    found.n_mixed += int((~np.isnan(new)).any(axis=1).sum())


def _n_axes_without_vibration(old: np.ndarray) -> np.ndarray:
    """(n_rows,): how many axes each row has, 0 where vibration comes of them."""
    axes = old[:, : len(AXES)]
    n_axes: np.ndarray = np.where(np.isnan(magnitude(axes)), (~np.isnan(axes)).sum(axis=1), 0)
    return n_axes


def _axes_problem(old: np.ndarray) -> str:
    missing = [name for name, found in zip(AXES, old, strict=False) if np.isnan(found)]
    return f"{' and '.join(missing)} missing" if missing else "the axes are too large for a float to hold their squares"


def _write(view: SeriesStore, batch: Batch, is_new: np.ndarray) -> dict[int, str]:
    """Write the values that are new; give the rows that the store refused, with the reason."""
    rows = np.flatnonzero(is_new.any(axis=1))
    if not len(rows):
        return {}
    values = np.where(is_new, batch.values, np.nan)
    written = Batch(batch.assets, batch.asset_index, batch.times_ns, batch.channels, values).rows(rows)
    return {int(rows[row]): reason for row, reason in view.write(written)}


class _Left:
    """Rows of which something was left, counted, and written to a file that is complete or absent."""

    def __init__(self, path: Path | None) -> None:
        self.n_rows = 0
        self.path: Path | None = None
        self._to = path
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._file is None or self._to is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if kind is None:
            os.replace(self._file.name, self._to)
            self.path = self._to

    def add(self, sensor_type: str | None, batch: Batch, row: int, reasons: list[str]) -> None:
        """Say what was left of one row, whose values stand in the order of `FIELDS`."""
        self.n_rows += 1
        if self._to is None:
            return
        if self._file is None:
            self._to.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._to.with_name(f".{self._to.name}.unfinished").open("w", encoding="utf-8")
        time_ns = int(batch.times_ns[row])
        line = {
            "asset": batch.assets[0],
            "sensor_type": sensor_type,
            "time_utc": time_text(time_ns),
            "time_ns": time_ns,
            "old": {
                name: found for name, found in zip(FIELDS, batch.values[row].tolist(), strict=True) if found == found
            },
            "reasons": reasons,
        }
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")


def time_text(time_ns: int) -> str:
    """A time since 1970 as RFC 3339, to the nanosecond where it has such."""
    text = str(np.datetime_as_string(np.datetime64(time_ns, "ns"), unit="ns"))
    return text.rstrip("0").rstrip(".") + "Z"
