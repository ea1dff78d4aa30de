"""Removing single fields from InfluxDB, which can only remove whole points.

Where other values stand in the same stretch of time, they are first written once more, into a series beside (its
`sensor_type` ends in `~kept`), the stretch is deleted, they are written back and compared, and only then the series
beside is deleted. So every value that stays can be read at every moment: while it is there twice, a time reads as the
mean of two equal values. After a crash the series beside tells what is left to do.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from foresense.stores.batch import Batch, StoreError
from foresense.stores.slices import slices_with

if TYPE_CHECKING:
    from foresense.stores.influx import InfluxStore

#: What the tag `sensor_type` of a series beside ends in.
KEPT = "~kept"


def erase(view: "InfluxStore", asset: str, times_ns: np.ndarray, channels: Sequence[str]) -> None:
    """Remove the values of `channels` at `times_ns` from one series; see `SeriesStore.erase`.

    Raises:
        StoreError: the server cannot delete, or a value that must stay cannot be written back as it was.
    """
    start_ns, end_ns = int(times_ns[0]), int(times_ns[-1]) + 1
    if view.flavour in ("v3", "vm"):
        raise StoreError(
            f"{view.settings.url}: this server cannot delete samples; write them to another bucket instead "
            "(--option new-bucket) and drop the whole old one by hand"
        )
    names = view.channels()
    rest = view.read(asset, start_ns, end_ns, channels=names)
    goes = np.isin(rest.times_ns, times_ns)[:, None] & np.isin(np.array(names, object), list(channels))
    kept = Batch(rest.assets, rest.asset_index, rest.times_ns, names, np.where(goes, np.nan, rest.values))
    kept = kept.rows(~np.isnan(kept.values).all(axis=1))
    _require_writable(view, kept, start_ns, end_ns)
    if not len(kept):
        view.delete(start_ns, end_ns, asset)
        _require_same(view, kept, start_ns, end_ns)
        return
    pieces = _pieces(view, kept, start_ns, end_ns)
    beside = view.beside()
    _write(beside, kept)
    for first_ns, last_ns in pieces:
        piece = kept.rows((kept.times_ns >= first_ns) & (kept.times_ns < last_ns))
        view.delete(first_ns, last_ns, asset)
        _write(view, piece)
        _require_same(view, piece, first_ns, last_ns)
    beside.delete(start_ns, end_ns, asset)


def put_back(view: "InfluxStore", *, apply: bool) -> int:
    """Write back what a killed `erase` left beside this series, where nothing newer stands, and delete it there.

    Returns:
        How many rows stood beside.
    """
    n_rows, beside = 0, view.beside()
    for asset, (first_ns, last_ns) in beside.assets().items():
        names = beside.channels()
        for start_ns, end_ns in slices_with((beside, view), asset, names, first_ns, last_ns + 1):
            kept = beside.read(asset, start_ns, end_ns, channels=names)
            n_rows += len(kept)
            if apply:
                now = view.read(asset, start_ns, end_ns, channels=names)
                _write(view, _absent(kept, now))
                beside.delete(start_ns, end_ns, asset)
    return n_rows


def _pieces(view: "InfluxStore", kept: Batch, start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """Stretches to delete one after another, so that the series always has a point.

    influxd 1.6.7 with its index in memory loses sight of a series that was emptied and written again, as soon as the
    last other series of the measurement is deleted: it answers nothing until it is restarted (seen; compare
    influxdata/influxdb issue 9431).
    """
    (asset,) = kept.assets
    first_ns, last_ns = view.assets()[asset]
    if view.flavour != "v1" or first_ns < start_ns or last_ns >= end_ns:
        return [(start_ns, end_ns)]
    if len(kept) < 2:
        raise StoreError(
            f"{view.settings.url}: asset {asset!r}: one sample alone would stay in the series of sensor_type "
            f"{view.settings.sensor_type!r}, and InfluxDB 1.x loses sight of a series that was empty in between; write "
            "the samples to another bucket instead (--option new-bucket)"
        )
    cut_ns = int(kept.times_ns[0]) + 1
    return [(start_ns, cut_ns), (cut_ns, end_ns)]


def _absent(kept: Batch, now: Batch) -> Batch:
    """What of `kept` is not in `now`."""
    values = kept.values.copy()
    _, at, at_now = np.intersect1d(kept.times_ns, now.times_ns, assume_unique=True, return_indices=True)
    values[at] = np.where(np.isnan(now.values[at_now]), values[at], np.nan)
    return Batch(kept.assets, kept.asset_index, kept.times_ns, kept.channels, values)


def _write(view: "InfluxStore", batch: Batch) -> None:
    refused = view.write(batch)
    if refused:
        raise StoreError(
            f"{view.settings.url}: {len(refused)} row(s) that must stay were refused, the first: {refused[0].reason}; "
            f"nothing is lost: they stand in the series of sensor_type {view.beside().settings.sensor_type!r}"
        )


def _require_writable(view: "InfluxStore", kept: Batch, start_ns: int, end_ns: int) -> None:
    """A field of whole numbers, text or truth would come back as something else, or not at all."""
    for name, kinds in view.field_types().items():
        if kinds <= {"float"}:
            continue
        if name in kept.channels:
            is_there = bool((~np.isnan(kept.values[:, kept.channels.index(name)])).any())
        else:
            is_there = view.n_values(kept.assets[0], start_ns, end_ns, [name]) > 0
        if is_there:
            raise StoreError(
                f"{view.settings.url}: field {name!r} of asset {kept.assets[0]!r} holds {' and '.join(sorted(kinds))}, "
                "and InfluxDB would delete it together with the old fields beside it; write the samples to another "
                "bucket instead (--option new-bucket)"
            )


def _require_same(view: "InfluxStore", kept: Batch, start_ns: int, end_ns: int) -> None:
    found = view.read(kept.assets[0], start_ns, end_ns, channels=kept.channels)
    if not (
        np.array_equal(found.times_ns, kept.times_ns) and np.array_equal(found.values, kept.values, equal_nan=True)
    ):
        raise StoreError(
            f"{view.settings.url}: asset {kept.assets[0]!r}: after a deletion the store holds other values than those "
            "that were to stay; does something else write there? Stop it and run the command again, which puts back "
            f"what stands in the series of sensor_type {view.beside().settings.sensor_type!r}"
        )
