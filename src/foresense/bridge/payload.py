"""Bytes of a message to samples, or to the reason why not. docs/bridge.md has the schema.

The payload's own time rules: a message that comes twice must overwrite itself, so one without a time is refused.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np
import orjson

from foresense.stores import old_format

CHANNELS = old_format.CHANNELS
MAX_BYTES = 1 << 20
#: A clock that was never set says 1970; 2000-01-01 in nanoseconds since 1970.
FIRST_NS = 946_684_800 * 10**9
#: A time that lies further ahead of its arrival is refused.
AHEAD_NS = 86_400 * 10**9
_KEYS = frozenset({"workspace_id", "time", "time_ns", "timestamp"})
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,128}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_N_REASONS = 10  # said of one message; the others are counted


class _RefusedError(Exception):
    """A record cannot be taken; the message names the field."""


class Block(NamedTuple):
    """Samples of one asset, as they came in columns.

    Attributes:
        asset: Name.
        times_ns: (n,), int64, since 1970 UTC.
        values: (n, n_slots), float64; NaN where missing.
    """

    asset: str
    times_ns: np.ndarray
    values: np.ndarray


@dataclass(slots=True)
class Parsed:
    """What one message holds.

    Attributes:
        assets: Of samples that came one by one.
        times_ns: The same.
        rows: The same; n_slots values each, NaN where missing.
        block: Samples that came in columns.
        n_refused: Records that were not taken.
        reasons: Why, for the first of them.
        unknown: Names of fields that no channel has, once for each record or column.
    """

    assets: list[str] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)
    block: Block | None = None
    n_refused: int = 0
    reasons: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def refuse(self, reason: str, n: int = 1) -> None:
        """Count records that are not taken, and keep the first reasons."""
        self.n_refused += n
        if len(self.reasons) < _N_REASONS:
            self.reasons.append(reason)


class Schema:
    """The channels that a message may have. A slot is a place in a row: the channels, then ax, ay, az.

    Attributes:
        channels: Names, in the order of the values.
        n_slots: Values of a row, before `fold`.
    """

    def __init__(self, channels: Sequence[str] = CHANNELS) -> None:
        self.channels = tuple(channels)
        self._slots = {name: slot for slot, name in enumerate(self.channels)}
        self._slots |= {old: self._slots[new] for old, new in old_format.RENAMED.items() if new in self._slots}
        self.n_slots = len(self.channels)
        if old_format.VIBRATION in self._slots:
            self._slots |= {axis: self.n_slots + number for number, axis in enumerate(old_format.AXES)}
            self.n_slots += len(old_format.AXES)

    def fold(self, rows: np.ndarray) -> np.ndarray:
        """Make (n, n_slots) to (n, n_channels): vibration is the magnitude of each sample, where all axes are there."""
        n_channels = len(self.channels)
        if n_channels == self.n_slots:
            return rows
        axes = rows[:, n_channels:]
        if not np.isnan(axes).all():
            column = self._slots[old_format.VIBRATION]
            rows[:, column] = np.where(np.isnan(rows[:, column]), old_format.magnitude(axes), rows[:, column])
        return rows[:, :n_channels]

    def parse(self, payload: bytes, received_ns: int) -> Parsed:
        """Read one message; whatever it holds, this returns.

        Args:
            payload: As it came.
            received_ns: When, nanoseconds since 1970 UTC: what is more than a day ahead of it is refused.
        """
        parsed = Parsed()
        last_ns = received_ns + AHEAD_NS
        try:
            document = _document(payload)
            if "samples" in document:
                self._samples(document["samples"], last_ns, parsed)
            elif type(document.get("time_ns")) is list:
                self._columns(document, last_ns, parsed)
            else:
                self._record(document, last_ns, parsed)
        except _RefusedError as refusal:
            parsed.refuse(str(refusal))
        return parsed

    def _samples(self, records: object, last_ns: int, parsed: Parsed) -> None:
        if type(records) is not list or not records:
            raise _RefusedError(f"samples: expected a list with records, found {_kind(records)}")
        for number, record in enumerate(records):
            try:
                if type(record) is not dict:
                    raise _RefusedError(f"expected an object, found {_kind(record)}")
                self._record(record, last_ns, parsed)
            except _RefusedError as refusal:
                parsed.refuse(f"samples[{number}]: {refusal}")

    def _record(self, record: Mapping[str, Any], last_ns: int, parsed: Parsed) -> None:
        asset = _asset(record)
        time_ns = _time_ns(record, last_ns)
        row = [nan] * self.n_slots
        is_any_known = False
        for name, value in record.items():
            slot = self._slots.get(name)
            if slot is None:
                if name not in _KEYS:
                    parsed.unknown.append(name)
                continue
            is_any_known = True
            if value is None:
                continue
            if (type(value) is not float and type(value) is not int) or not isfinite(value):
                raise _RefusedError(f"{name}: expected a number or null, found {_kind(value)}")
            if row[slot] == row[slot]:
                raise _RefusedError(f"{name}: is there twice, under its old name and its new one")
            row[slot] = value
        if not is_any_known:
            raise _RefusedError(f"no field that is known; known: {', '.join(self._slots)}")
        parsed.assets.append(asset)
        parsed.times_ns.append(time_ns)
        parsed.rows.append(row)

    def _columns(self, document: Mapping[str, Any], last_ns: int, parsed: Parsed) -> None:
        asset = _asset(document)
        for other in ("time", "timestamp"):
            if other in document:
                raise _RefusedError(f"{other}: is there beside time_ns; which one holds?")
        n_rows = len(document["time_ns"])
        bad: dict[int, str] = {}
        times_ns = _times_column(document["time_ns"], last_ns, bad)
        values = np.full((n_rows, self.n_slots), nan)
        seen: set[int] = set()
        for name, column in document.items():
            slot = self._slots.get(name)
            if slot is None:
                if name not in _KEYS:
                    parsed.unknown.append(name)
                continue
            if type(column) is not list:
                raise _RefusedError(f"{name}: expected a list of {n_rows} values like time_ns, found {_kind(column)}")
            if len(column) != n_rows:
                raise _RefusedError(f"{name}: {len(column)} values for {n_rows} times")
            if slot in seen:
                raise _RefusedError(f"{name}: is there twice, under its old name and its new one")
            seen.add(slot)
            values[:, slot] = _number_column(name, column, bad)
        if not seen or not n_rows:
            raise _RefusedError(f"no samples; known columns: {', '.join(self._slots)}")
        for row in sorted(bad):
            parsed.refuse(f"row {row}: {bad[row]}")
        if bad:
            keep = np.ones(n_rows, bool)
            keep[list(bad)] = False
            times_ns, values = times_ns[keep], values[keep]
        parsed.block = Block(asset, times_ns, values)


def _document(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_BYTES:
        raise _RefusedError(f"{len(payload)} bytes; at most {MAX_BYTES}, so send fewer samples in one message")
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in payload and b"Infinity" not in payload:
            raise _RefusedError(f"is no JSON in UTF-8: {error}") from error
        document = _lenient(payload)
    if type(document) is not dict:
        raise _RefusedError(f"expected an object, found {_kind(document)}")
    return document


def _lenient(payload: bytes) -> Any:
    """Python's own parser takes NaN and Infinity, so that the fields that hold them can be named."""
    try:
        return json.loads(payload, parse_int=lambda text: int(text) if len(text) < 20 else float(text))
    except (ValueError, RecursionError) as error:
        raise _RefusedError(f"is no JSON in UTF-8: {error}") from error


def _asset(record: Mapping[str, Any]) -> str:
    name = record.get("workspace_id")
    if type(name) is not str:
        raise _RefusedError(f"workspace_id: expected the asset's name, found {_kind(name)}")
    if not _NAME.fullmatch(name) or not name.strip():
        raise _RefusedError("workspace_id: a name has 1 to 128 letters and no control characters")
    return name


def _time_ns(record: Mapping[str, Any], last_ns: int) -> int:
    given = [key for key in ("time_ns", "time", "timestamp") if key in record]
    if not given:
        raise _RefusedError("no time and no time_ns: a sample without its own time could not overwrite itself")
    if len(given) > 1:
        raise _RefusedError(f"{given[1]}: is there beside {given[0]}; which one holds?")
    (key,) = given
    value = record[key]
    if key == "time_ns":
        if type(value) is not int:
            raise _RefusedError(f"time_ns: expected whole nanoseconds since 1970, found {_kind(value)}")
        time_ns = value
    else:
        time_ns = _from_text(key, value)
    problem = _time_problem(time_ns, last_ns)
    if problem:
        raise _RefusedError(f"{key}: {problem}")
    return time_ns


def _from_text(key: str, text: object) -> int:
    found = _TIME.fullmatch(text) if type(text) is str and len(text) <= 64 else None
    if found is None:
        raise _RefusedError(f"{key}: expected a time with zone like 2025-01-31T12:00:00.5Z, found {_kind(text)}")
    day, clock, fraction, _, sign, hours, minutes = found.groups()
    try:
        zone = UTC if sign is None else timezone(_offset(sign, int(hours), int(minutes)))
        moment = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=zone)
        since = moment - _EPOCH
    except (ValueError, OverflowError) as error:
        raise _RefusedError(f"{key}: {text!r} is no time: {error}") from error
    return (since.days * 86_400 + since.seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))


def _offset(sign: str, hours: int, minutes: int) -> timedelta:
    if minutes > 59:
        raise ValueError(f"a zone of {minutes} minutes")
    return timedelta(hours=hours, minutes=minutes) * (-1 if sign == "-" else 1)


def _time_problem(time_ns: int, last_ns: int) -> str | None:
    if time_ns < FIRST_NS:
        return "lies before 2000; is the device's clock set?"
    if time_ns > last_ns:
        return "lies more than a day ahead of its arrival; is the device's clock set?"
    return None


def _times_column(column: list[Any], last_ns: int, bad: dict[int, str]) -> np.ndarray:
    """(n,), int64; rows whose time cannot be taken go to `bad`, and hold 0."""
    if set(map(type, column)) == {int}:
        try:
            times_ns = np.array(column, np.int64)
        except OverflowError:
            pass
        else:
            is_bad = (times_ns < FIRST_NS) | (times_ns > last_ns)
            for row in np.flatnonzero(is_bad).tolist():
                bad[row] = f"time_ns: {_time_problem(column[row], last_ns)}"
            return times_ns
    times_ns = np.zeros(len(column), np.int64)
    for row, value in enumerate(column):
        if type(value) is not int:
            bad[row] = f"time_ns: expected whole nanoseconds since 1970, found {_kind(value)}"
        elif problem := _time_problem(value, last_ns):
            bad[row] = f"time_ns: {problem}"
        else:
            times_ns[row] = value
    return times_ns


def _number_column(name: str, column: list[Any], bad: dict[int, str]) -> np.ndarray:
    """(n,), float64; rows that hold no number go to `bad`, and are NaN."""
    if not set(map(type, column)) <= {int, float, type(None)}:
        column = _without_others(name, enumerate(column), bad)
    numbers = np.array(column, np.float64)
    is_odd = ~np.isfinite(numbers)
    if is_odd.sum() != column.count(None):
        for row in np.flatnonzero(is_odd).tolist():
            if column[row] is not None:
                bad.setdefault(row, f"{name}: expected a number or null, found {_kind(column[row])}")
    return numbers


def _without_others(name: str, column: Iterable[tuple[int, Any]], bad: dict[int, str]) -> list[float | None]:
    kept: list[float | None] = []
    for row, value in column:
        is_number = value is None or type(value) is int or type(value) is float
        if not is_number:
            bad.setdefault(row, f"{name}: expected a number or null, found {_kind(value)}")
        kept.append(value if is_number else None)
    return kept


def _kind(value: object) -> str:
    """What was found, in a few words that anyone may see in a log."""
    if value is None:
        return "nothing"
    if type(value) is bool:
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    return f"the number {value!r}"[:60]
