"""A store in InfluxDB 1.x, 2.x or 3 (VictoriaMetrics: writing only); docs/stores.md says which have been run."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Self

import numpy as np

from foresense.stores.batch import Batch, RefusedRow, StoreError
from foresense.stores.influx_client import Client, delete_predicate
from foresense.stores.influx_erase import KEPT, erase, put_back
from foresense.stores.influx_http import Answer, Session, problem
from foresense.stores.influx_server import Health, seen
from foresense.stores.influx_settings import Flavour, InfluxSettings
from foresense.stores.influxql import FIRST_NS, Block, between, identifier, literal, merged, read_blocks, to_columns
from foresense.stores.lines import Lines, channel_problem, name_problem, to_lines

__all__ = ["Health", "InfluxSettings", "InfluxStore"]

_N_SHOWN = 500  # letters of a line
_DAY_S = 86_400
_GO_UNITS_S = {"h": 3600, "m": 60, "s": 1}


class InfluxStore:
    """Samples in InfluxDB; one channel of an asset may lie in several series (other tags).

    InfluxDB keeps no order of writing between series. Within one series the value written last holds; where several
    series of an asset have a value at one time, that time reads as the mean of them, and the mean over an interval is
    taken over all values of all series.
    """

    def __init__(self, settings: InfluxSettings, *, is_one_type: bool = False) -> None:
        """Nothing is asked yet.

        Args:
            settings: Where, and how samples are laid out.
            is_one_type: Read and delete, too, only what has the tag `sensor_type` of the settings.
        """
        self.settings = settings
        self._is_one_type = is_one_type
        self._session = Session(settings)
        self._views: dict[str, InfluxStore] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        for view in self._views.values():
            view.close()
        self._session.close()
        if "_client" in self.__dict__:
            self.__dict__.pop("_client").close()

    def write(self, batch: Batch) -> list[RefusedRow]:
        """Keep every row for good before returning; a row is kept or refused as a whole.

        InfluxDB may keep a part of what it answers 400 to, so such a batch is halved and written again until the bad
        lines stand alone.

        Returns:
            The rows that the server or line protocol cannot take, with the server's words and the line.

        Raises:
            NoDatabaseError: no such database or bucket.
            StoreUnavailableError: no answer, too many requests, no right to write.
        """
        refused: list[RefusedRow] = []
        for first in range(0, len(batch), self.settings.batch_rows):
            lines, unwritable = to_lines(
                batch.rows(slice(first, first + self.settings.batch_rows)), self.settings.layout
            )
            found = [*unwritable, *self._write_lines(lines, 0, len(lines))]
            refused += [RefusedRow(first + row, reason) for row, reason in found]
        return sorted(refused)

    def read(
        self,
        asset: str,
        start_ns: int,
        end_ns: int,
        *,
        channels: tuple[str, ...],
        every_ns: int | None = None,
        origin_ns: int = 0,
    ) -> Batch:
        """Samples, or their means as the server takes them, of one asset; see `Store.read`.

        Raises:
            StoreError: the server answers with an error, or a channel holds text.
            StoreUnavailableError: no answer or half of one, no right to read, no such database.
        """
        known = [name for name in dict.fromkeys(channels) if channel_problem(name, self.settings.layout) is None]
        if start_ns >= end_ns or not known or name_problem(asset):
            return Batch.of_asset(asset, np.zeros(0, np.int64), channels, np.zeros((0, len(channels))))
        source = f"FROM {self._measurement} WHERE {self._of(asset)} AND {between(start_ns, end_ns)}"
        if every_ns is None:
            statement = f"SELECT {', '.join(map(identifier, known))} {source}"
        else:
            means = ", ".join(f"mean({name}) AS {name}" for name in map(identifier, known))
            interval = f"time({every_ns}ns, {origin_ns % every_ns}ns)"
            statement = f"SELECT {means} {source} GROUP BY {interval} fill(none)"
        parts = [to_columns(block, known) for block in self._ask(statement)]
        times_ns = np.concatenate([np.zeros(0, np.int64), *(times for times, _ in parts)])
        values = np.concatenate([np.zeros((0, len(known))), *(values for _, values in parts)])
        times_ns, values = merged(times_ns, values)
        if tuple(known) != channels:
            place = [known.index(name) if name in known else len(known) for name in channels]
            values = np.column_stack([values, np.full(len(values), np.nan)])[:, place]
        return Batch.of_asset(asset, times_ns, channels, values)

    def assets(self) -> dict[str, tuple[int, int]]:
        """Every asset that has samples, with the times of its first and last one (nanoseconds since 1970 UTC).

        Raises:
            StoreError: as for `read`.
        """
        # 3 looks only at the last day unless told otherwise (InfluxData, "Explore your schema with InfluxQL")
        ever = f" WHERE time >= {FIRST_NS}" if self.flavour == "v3" else ""
        key = identifier(self.settings.asset_tag)
        if self._is_one_type:
            ever = f"{ever} AND {self._of_type}" if ever else f" WHERE {self._of_type}"
        names = self._column(f"SHOW TAG VALUES FROM {self._measurement} WITH KEY = {key}{ever}", "value")
        found: dict[str, tuple[int, int]] = {}
        for name in sorted(set(names)):
            first, last = (self._end_of(name, order) for order in ("ASC", "DESC"))
            if first is not None and last is not None:
                found[name] = (first, last)
        return found

    def delete(self, start_ns: int, end_ns: int, asset: str | None = None) -> None:
        """Remove samples with `start_ns` <= time < `end_ns` of this measurement, of one asset or of all.

        Raises:
            StoreError: the server refuses; 3 Core and VictoriaMetrics cannot delete samples.
            ImportError: 2.x and 3, and influxdb-client is not installed.
        """
        if start_ns >= end_ns:
            return
        if self.flavour == "vm":
            raise StoreError(f"{self.settings.url}: VictoriaMetrics cannot delete a range of time; only whole series")
        if self.flavour == "v1":
            whose = f" AND {self._of(asset)}" if asset is not None else ""
            if asset is None and self._is_one_type:
                whose = f" AND {self._of_type}"
            self._do(f"DELETE FROM {self._measurement} WHERE {between(start_ns, end_ns)}{whose}")
            return
        tags = {self.settings.asset_tag: asset} if asset is not None else {}
        if self._is_one_type:
            tags["sensor_type"] = self.settings.sensor_type
        self._client.delete(start_ns, end_ns, delete_predicate(self.settings.measurement, tags))

    @property
    def place(self) -> str:
        """Address, bucket and measurement."""
        return f"influx:{self.settings.bucket} at {self.settings.url}, measurement {self.settings.measurement}"

    def exists(self) -> bool:
        """Whether the server has this database or bucket."""
        return self.settings.bucket in self._column("SHOW DATABASES", "name")

    def sensor_types(self) -> tuple[str, ...]:
        """Values of the tag `sensor_type`, "" for series without it.

        Raises:
            StoreError: as for `read`; or samples have further tags, by which a view cannot tell them apart.
        """
        own = {self.settings.asset_tag, "sensor_type"}
        others = sorted(set(self._column(f"SHOW TAG KEYS FROM {self._measurement}", "tagKey")) - own)
        if others:
            raise StoreError(
                f"{self.settings.url}: {self.settings.measurement!r} has the tag(s) {', '.join(others)} besides "
                f"{self.settings.asset_tag} and sensor_type, so several series of one asset and type cannot be told "
                "apart; copy the samples to a bucket without them first"
            )
        key = "sensor_type"
        names = set(self._column(f"SHOW TAG VALUES FROM {self._measurement} WITH KEY = {identifier(key)}", "value"))
        if self._column(f"SHOW SERIES FROM {self._measurement} WHERE {identifier(key)} = '' LIMIT 1", "key"):
            names.add("")
        return tuple(sorted({name.removesuffix(KEPT) for name in names}))

    def view(self, sensor_type: str | None) -> "InfluxStore":
        """Only the series with this value of the tag, "" for those without it; None is the store itself."""
        if sensor_type is None:
            return self
        if sensor_type not in self._views:
            settings = self.settings.model_copy(update={"sensor_type": sensor_type, "flavour": self.flavour})
            self._views[sensor_type] = InfluxStore(settings, is_one_type=True)
        return self._views[sensor_type]

    def channels(self) -> tuple[str, ...]:
        """Every field that holds numbers and nothing else."""
        return tuple(sorted(name for name, kinds in self.field_types().items() if kinds <= {"float", "integer"}))

    def field_types(self) -> dict[str, set[str]]:
        """Every field with the kinds of values that it has: float, integer, string, boolean."""
        found: dict[str, set[str]] = {}
        for block in self._ask(f"SHOW FIELD KEYS FROM {self._measurement}"):
            for row in block.rows:
                cells = dict(zip(block.columns, row, strict=True))
                found.setdefault(cells["fieldKey"], set()).add(cells["fieldType"])
        return found

    def n_values(self, asset: str, start_ns: int, end_ns: int, channels: Sequence[str]) -> int:
        """Values in all series of the asset; what stands in two of them counts twice."""
        if start_ns >= end_ns or not channels or name_problem(asset):
            return 0
        counts = ", ".join(f"count({identifier(name)})" for name in channels)
        source = f"FROM {self._measurement} WHERE {self._of(asset)} AND {between(start_ns, end_ns)}"
        blocks = self._ask(f"SELECT {counts} {source}")
        return sum(int(cell or 0) for block in blocks for _, *cells in block.rows for cell in cells)

    def erase(self, asset: str, times_ns: np.ndarray, channels: Sequence[str]) -> None:
        """Remove values from every series of the asset; see `SeriesStore.erase` and `influx_erase`.

        Raises:
            StoreError: the server cannot delete, or a value that must stay cannot be written back as it was.
        """
        if not len(times_ns):
            return
        for view in self._own_views():
            erase(view, asset, times_ns, channels)

    def mend(self, *, apply: bool = True) -> int:
        """Write back what a killed `erase` left in series beside; see `influx_erase`."""
        return sum(put_back(view, apply=apply) for view in self._own_views())

    def beside(self) -> "InfluxStore":
        """The view on the series in which `erase` keeps what has to survive a deletion in this one."""
        return self.view(self.settings.sensor_type + KEPT)

    def prepare(self, retention_days: float | None = None) -> None:
        """Create the database or bucket where there is none; an existing one is never changed.

        Args:
            retention_days: The server forgets samples older than this; absent: it keeps them for ever.

        Raises:
            StoreError: it exists and keeps samples for another time, or the server has no way to be told.
        """
        kept_days = self._prepared(retention_days)
        if retention_days is not None and kept_days != retention_days:
            kept = "for ever" if kept_days is None else f"for {kept_days:g} days"
            raise StoreError(
                f"{self.settings.url}: {self.settings.bucket!r} exists and keeps samples {kept}, asked for "
                f"{retention_days:g} days; change it by hand, because a shorter time deletes samples at once"
            )

    def health(self) -> Health:
        """Which server answers, and whether it can work.

        Raises:
            StoreUnavailableError: no answer.
            StoreError: an answer of no server that we know.
        """
        flavour, version = seen(self._session, self.settings)
        if self.settings.flavour != "auto":
            flavour = self.settings.flavour
        return Health(flavour, version, is_ready=flavour != "v2" or self._client.is_ready())

    @cached_property
    def flavour(self) -> Flavour:
        """Which kind of server this is, by the settings or by what it answers.

        Raises:
            StoreUnavailableError: no answer.
            StoreError: an answer of no server that we know, or one that needs more settings.
        """
        flavour = seen(self._session, self.settings)[0] if self.settings.flavour == "auto" else self.settings.flavour
        missing = self.settings.missing_for(flavour)
        if missing:
            raise StoreError(
                f"{self.settings.url} is an InfluxDB 2.x, which needs an organisation and a token; set "
                f"{' and '.join(missing)}"
            )
        return flavour

    @cached_property
    def _client(self) -> Client:
        return Client(self.settings)

    def _own_views(self) -> list["InfluxStore"]:
        return [self] if self._is_one_type else [self.view(name) for name in self.sensor_types()]

    @property
    def _measurement(self) -> str:
        return identifier(self.settings.measurement)

    def _of(self, asset: str) -> str:
        whose = f"{identifier(self.settings.asset_tag)} = {literal(asset)}"
        return f"{whose} AND {self._of_type}" if self._is_one_type else whose

    @property
    def _of_type(self) -> str:
        return f"{identifier('sensor_type')} = {literal(self.settings.sensor_type)}"

    def _write_lines(self, lines: Lines, first: int, last: int) -> list[RefusedRow]:
        """Write lines `first` to `last`; halve what the server refuses."""
        if first == last:
            return []
        answer = self._post(lines.between(first, last))
        if answer.is_ok:
            return []
        if not answer.is_refusal:
            raise problem(self.settings, answer)
        if last - first == 1 or _n_dropped(answer) == last - first:
            return [RefusedRow(int(lines.rows[at]), _reason(answer, lines.text(at))) for at in range(first, last)]
        middle = (first + last) // 2
        return [*self._write_lines(lines, first, middle), *self._write_lines(lines, middle, last)]

    def _post(self, lines: bytes) -> Answer:
        flavour = self.flavour
        if self.settings.writer == "client":
            return self._client.post_lines(lines)
        if flavour == "v1":
            return self._session.post_lines("/write", {"db": self.settings.bucket, "precision": "ns"}, lines)
        query = {"bucket": self.settings.bucket, "precision": "ns"}
        if self.settings.org is not None:
            query["org"] = self.settings.org
        return self._session.post_lines("/api/v2/write", query, lines)

    def _ask(self, statement: str, method: str = "GET") -> Iterator[Block]:
        """Blocks of the answer to one InfluxQL statement, while it arrives."""
        if self.flavour == "vm":
            raise StoreError(f"{self.settings.url}: VictoriaMetrics answers no InfluxQL; it can only be written to")
        query = {
            "db": self.settings.bucket,
            "q": statement,
            "epoch": "ns",
            "chunked": "true",
            "chunk_size": str(self.settings.chunk_rows),
        }
        with self._session.pieces(method, "/query", query) as pieces:
            try:
                yield from read_blocks(pieces)
            except StoreError as error:
                if "database not found" in str(error):
                    raise problem(self.settings, Answer(404, str(error), {})) from error
                raise StoreError(f"{self.settings.url}: {error}; asked: {statement[:_N_SHOWN]}") from error

    def _do(self, statement: str) -> None:
        for _ in self._ask(statement, "POST"):
            pass

    def _column(self, statement: str, name: str) -> list[str]:
        return [row[block.columns.index(name)] for block in self._ask(statement) for row in block.rows]

    def _end_of(self, asset: str, order: str) -> int | None:
        statement = f"SELECT * FROM {self._measurement} WHERE {self._of(asset)} ORDER BY time {order} LIMIT 1"
        for block in self._ask(statement):
            for row in block.rows:
                return int(row[block.columns.index("time")])
        return None

    def _prepared(self, retention_days: float | None) -> float | None:
        if self.flavour == "v1":
            return self._database(retention_days)
        if self.flavour == "v2":
            return self._client.create_bucket(retention_days)
        if retention_days is not None:
            how = {
                "v3": "influxdb3 create database --retention-period",
                "vm": "the server's option -retentionPeriod",
            }[self.flavour]
            raise StoreError(f"{self.settings.url}: the time to keep samples is set by {how}")
        return None  # 3 creates a database when it is first written to; VictoriaMetrics has none

    def _database(self, retention_days: float | None) -> float | None:
        name = identifier(self.settings.bucket)
        if self.settings.bucket not in self._column("SHOW DATABASES", "name"):
            seconds = f" WITH DURATION {round(retention_days * _DAY_S)}s" if retention_days is not None else ""
            self._do(f"CREATE DATABASE {name}{seconds}")
            return retention_days
        for block in self._ask(f"SHOW RETENTION POLICIES ON {name}"):
            for row in block.rows:
                policy = dict(zip(block.columns, row, strict=True))
                if policy["default"]:
                    return (_go_seconds(policy["duration"]) / _DAY_S) or None
        return None


def _reason(answer: Answer, line: str) -> str:
    return f"{answer.words or answer.status}; line: {line if len(line) <= _N_SHOWN else line[:_N_SHOWN] + '...'}"


def _n_dropped(answer: Answer) -> int:
    """How many points a 1.x or 2.x says it dropped, at the end of its words; 0 where it does not say."""
    found = re.search(r" dropped=(\d+)$", answer.words)
    return int(found[1]) if found else 0


def _go_seconds(text: str) -> float:
    """Seconds of a duration as Go writes it: 168h0m0s."""
    return sum(float(number) * _GO_UNITS_S[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))
