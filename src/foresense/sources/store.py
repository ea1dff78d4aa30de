"""Samples that a bridge has written: means over intervals, taken by the store, only what is new since the last time."""

import logging
import os
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from foresense.config import IngestConfig
from foresense.sources.clock import check_zone
from foresense.sources.kept import Kept, Reading, kept_path, read_kept
from foresense.sources.tables import Finding, Places, RawTable, RawTables, SourceError
from foresense.stores import NoDatabaseError, SeriesStore, StoreUnavailableError, open_store

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
_HOUR_NS = 3600 * _NS
#: Asked of the store at a time: bounds the memory of both sides where samples come every two seconds.
_SLICE_NS = 30 * 24 * _HOUR_NS
#: Where intervals are counted from, in the local clock.
_MONDAY = pd.Timestamp("2024-01-01")
_PROGRESS_S = 5.0


def read_store(config: IngestConfig, places: Places) -> RawTables:
    """Read the means over `config.interval_s` of every asset in a store, or of `config.asset` alone.

    An interval that is not over yet is left out. What was read is kept below `places.kept`: the next time, only the
    newest `config.late_h` hours and what came after them are asked for. Everything is asked for at once where the store
    has another number of samples before that (a back-fill, a deletion, a sample that came later than `late_h`), where
    it is another store or question, and once in `config.whole_days` days: an old sample that was overwritten by another
    value is in the recording at the latest then.

    Args:
        config: Section `ingest`: store, asset, channels, interval_s, time_zone, newest_rows, late_h, whole_days.
        places: `project` for the folder of an embedded store, `kept` for what was read before.

    Raises:
        SourceError: no sample in the store, or no such asset; says which there are.
        StoreUnavailableError: the store gives no answer; worth another try.
        StoreError: the store cannot be read.
        ValueError: `config.store` names no store.
    """
    name = config.store or os.environ.get("FORESENSE_STORE") or "embedded:store"
    with closing(open_store(name, os.environ, places.project)) as store:
        try:
            return read_means(store, name, config, places.kept, time.time_ns())
        except NoDatabaseError:
            raise  # waiting makes none
        except StoreUnavailableError as error:
            raise StoreUnavailableError(f"the store is away: {error}") from error


def read_means(store: SeriesStore, name: str, config: IngestConfig, folder: Path, now_ns: int) -> RawTables:
    """Do what `read_store` says, with an open store and a clock of one's own.

    Args:
        store: Open.
        name: How the store is called, for messages.
        config: Section `ingest`.
        folder: What was read before lies here; that of another store is not used.
        now_ns: Nanoseconds since 1970 UTC; intervals that end later are left out.
    """
    check_zone(config.time_zone)
    grid = Grid.of(config)
    tables: list[RawTable] = []
    findings: list[Finding] = []
    digest = sha256()
    for asset, (first_ns, last_ns) in _chosen(store.assets(), name, config).items():
        asker = _Asker(store, asset, config, grid)
        if last_ns >= now_ns:
            n_ahead = asker.count(now_ns, last_ns + 1)
            message = "samples of a clock that runs ahead; left out until their time has come"
            findings.append(Finding(asset, "future", n_ahead, f"newest {_told(last_ns)}", message))
        end_ns = grid.floor(min(now_ns, last_ns + grid.interval_ns))
        begin_ns = grid.floor(first_ns)
        if config.newest_rows is not None:
            begin_ns = max(begin_ns, end_ns - config.newest_rows * grid.interval_ns)
        if begin_ns >= end_ns:
            continue
        reading = _newest(asker, folder, begin_ns, end_ns, first_ns, now_ns)
        digest.update(f"{asset}\0{len(reading.times_ns)}\0".encode())
        digest.update(reading.times_ns.tobytes())
        digest.update(np.ascontiguousarray(reading.values).tobytes())
        tables.append(_table(asset, name, reading))
    if not tables:
        raise SourceError(
            f"{name}: no interval of {config.interval_s:g} s (ingest.interval_s) is over yet for any asset; wait, or "
            "look at the clocks of the senders"
        )
    return RawTables(tables=tuple(tables), sha256=digest.hexdigest(), findings=tuple(findings))


@dataclass(frozen=True)
class Grid:
    """Intervals, counted from midnight of a Monday in the local clock.

    Attributes:
        interval_ns: Length.
        origin_ns: Where one of them begins, nanoseconds since 1970 UTC.
    """

    interval_ns: int
    origin_ns: int

    @classmethod
    def of(cls, config: IngestConfig) -> "Grid":
        """The grid of the section `ingest`."""
        return cls(round(config.interval_s * _NS), int(_MONDAY.tz_localize(config.time_zone).as_unit("ns").value))

    def floor(self, time_ns: int) -> int:
        """Beginning of the interval that holds `time_ns`."""
        return time_ns - (time_ns - self.origin_ns) % self.interval_ns


class _Asker:
    """Asks one store for one asset."""

    def __init__(self, store: SeriesStore, asset: str, config: IngestConfig, grid: Grid) -> None:
        self._store = store
        self.asset = asset
        self.config = config
        self.grid = grid
        self._fields = tuple(channel.column or channel.name for channel in config.channels)
        self.asked: dict[str, object] = {
            "store": store.place,
            "asset": asset,
            "fields": list(self._fields),
            **asdict(grid),
        }

    def count(self, begin_ns: int, end_ns: int) -> int:
        """Samples of the first channel in [begin_ns, end_ns); with four channels a quarter of the work of the means."""
        return self._store.n_values(self.asset, begin_ns, end_ns, self._fields[:1])

    def read(self, begin_ns: int, end_ns: int) -> Reading:
        """Means over the intervals in [begin_ns, end_ns), slice by slice."""
        interval_ns = self.grid.interval_ns
        slice_ns = max(_SLICE_NS // interval_ns, 1) * interval_ns
        parts = []
        told_s = time.monotonic()
        for at_ns in range(begin_ns, end_ns, slice_ns):
            batch = self._store.read(
                self.asset,
                at_ns,
                min(at_ns + slice_ns, end_ns),
                channels=self._fields,
                every_ns=interval_ns,
                origin_ns=self.grid.origin_ns,
            )
            parts.append(Reading(batch.times_ns, batch.values))
            if time.monotonic() - told_s > _PROGRESS_S:
                told_s = time.monotonic()
                _log.info("%s: read until %s of %s", self.asset, _told(at_ns + slice_ns), _told(end_ns))
        return Reading(
            np.concatenate([np.empty(0, np.int64), *(part.times_ns for part in parts)]),
            np.concatenate([np.empty((0, len(self._fields))), *(part.values for part in parts)]),
        )


def _newest(asker: _Asker, folder: Path, begin_ns: int, end_ns: int, first_ns: int, now_ns: int) -> Reading:
    """The intervals in [begin_ns, end_ns): those kept from the last time, then those asked for now."""
    path = kept_path(folder, asker.asset)
    config = asker.config
    late_ns = round(config.late_h * _HOUR_NS)
    settled_ns = max(begin_ns, asker.grid.floor(end_ns - late_ns))
    kept = _usable(read_kept(path), asker, begin_ns, settled_ns, first_ns, now_ns)
    if kept is None:
        earlier = Reading(np.empty(0, np.int64), np.empty((0, len(config.channels))))
        fresh_ns, whole_ns = begin_ns, now_ns
    else:
        fresh_ns, whole_ns = max(begin_ns, kept.settled_ns), kept.whole_ns
        earlier = kept.reading.between(begin_ns, fresh_ns)
    n_settled = asker.count(begin_ns, settled_ns)  # before the reading: what comes meanwhile is seen the next time
    fresh = asker.read(fresh_ns, end_ns)
    n_kept, n_asked = len(earlier.times_ns), len(fresh.times_ns)
    _log.info("%s: %d intervals kept from before, %d asked of the store", asker.asset, n_kept, n_asked)
    reading = earlier.and_then(fresh)
    Kept(asker.asked, begin_ns, end_ns, first_ns, whole_ns, settled_ns, n_settled, reading).write(path)
    return reading


def _usable(
    kept: Kept | None, asker: _Asker, begin_ns: int, settled_ns: int, first_ns: int, now_ns: int
) -> Kept | None:
    """What was kept, where it still is what the store would answer, as far as can be seen without reading all of it."""
    if kept is None or kept.asked != asker.asked:
        return None
    is_old = not 0 <= now_ns - kept.whole_ns < asker.config.whole_days * 24 * _HOUR_NS
    is_short = kept.begin_ns > begin_ns or kept.settled_ns > settled_ns or kept.first_ns > first_ns
    if is_old or is_short:
        return None
    n_now = asker.count(kept.begin_ns, kept.settled_ns)
    if n_now != kept.n_settled:
        _log.info(
            "%s: the store has %d samples before %s, %d the last time; everything is asked for again",
            asker.asset,
            n_now,
            _told(kept.settled_ns),
            kept.n_settled,
        )
        return None
    return kept


def _chosen(found: dict[str, tuple[int, int]], name: str, config: IngestConfig) -> dict[str, tuple[int, int]]:
    """First and last time of the asked assets.

    Raises:
        SourceError: there is none.
    """
    if not found:
        raise SourceError(
            f"{name}: the store has no sample (ingest.store, else FORESENSE_STORE); does a bridge write to it? "
            "`foresense bridge status` says"
        )
    if config.asset is None:
        return dict(sorted(found.items()))
    if config.asset not in found:
        raise SourceError(
            f"{name}: no asset {config.asset!r} (ingest.asset); the store has: {', '.join(sorted(found))}"
        )
    return {config.asset: found[config.asset]}


def _table(asset: str, name: str, reading: Reading) -> RawTable:
    n_rows = len(reading.times_ns)
    return RawTable(
        asset=asset,
        times_ns=reading.times_ns,
        values=reading.values,
        rows=np.arange(1, n_rows + 1),
        files=np.zeros(n_rows, np.int64),
        file_names=(name,),
    )


def _told(time_ns: int) -> str:
    return pd.Timestamp(time_ns, unit="ns", tz="UTC").isoformat(timespec="seconds")
