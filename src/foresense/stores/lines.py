"""Batches as InfluxDB line protocol, column by column.

Source: InfluxData, "Line protocol reference" (v1.8, v2); what is refused here was seen on influxd 1.6.7.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foresense.stores.batch import Batch, RefusedRow

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPING = re.compile(r'\\(?:[ ,="]|$)')
_TEXT = pa.large_string()  # 64-bit offsets: a column of long names may pass 2 GiB


class Layout(NamedTuple):
    """How a sample becomes a line.

    Attributes:
        measurement: Name.
        asset_tag: Key of the tag that holds the asset.
        sensor_type: Value of the tag `sensor_type`; "" writes none.
    """

    measurement: str
    asset_tag: str
    sensor_type: str


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines one after another; line i is `data[bounds[i]:bounds[i + 1]]`, with its line feed.

    Attributes:
        data: UTF-8.
        bounds: (n_lines + 1,), int64, bytes.
        rows: (n_lines,), int64: which row of the batch a line is.
    """

    data: memoryview
    bounds: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def between(self, first: int, last: int) -> bytes:
        """Lines `first` to `last`, the latter excluded."""
        return bytes(self.data[self.bounds[first] : self.bounds[last]])

    def text(self, line: int) -> str:
        """One line without its line feed."""
        return self.between(line, line + 1).decode().rstrip("\n")


def name_problem(name: str) -> str | None:
    """Why `name` cannot stand in line protocol as tag value, tag key or field key; None where it can."""
    if not name:
        return "is empty"
    if _CONTROL.search(name):
        return f"{name!r} holds a control character, which line protocol cannot hold"
    if _ESCAPING.search(name):
        return f"{name!r} has a backslash at its end or before a blank, comma, quote or =, which it would escape"
    try:
        name.encode()
    except UnicodeEncodeError:
        return f"{name!r} is not text that UTF-8 can hold"
    return None


def channel_problem(channel: str, layout: Layout) -> str | None:
    """Why `channel` cannot be a field; None where it can."""
    if channel in ("time", "sensor_type", layout.asset_tag):
        return f"{channel!r} is the name of a column that every sample has"
    return name_problem(channel)


def to_lines(batch: Batch, layout: Layout) -> tuple[Lines, list[RefusedRow]]:
    """Write every row that has a value as one line; numbers read back bit by bit, times in nanoseconds.

    Returns:
        The lines, in the order of the rows, and the rows that line protocol cannot hold.
    """
    is_measured = ~np.isnan(batch.values)
    refused = _refused(batch, layout, is_measured)
    is_written = is_measured.any(axis=1)
    is_written[[found.row for found in refused]] = False
    rows = np.flatnonzero(is_written)
    column = _joined(batch.rows(rows), layout)
    _, bounds, data = column.buffers()
    return Lines(
        data=memoryview(data) if data is not None else memoryview(b""),
        bounds=np.frombuffer(bounds, np.int64, len(rows) + 1) if len(rows) else np.zeros(1, np.int64),
        rows=rows,
    ), refused


def _refused(batch: Batch, layout: Layout, is_measured: np.ndarray) -> list[RefusedRow]:
    has_value = is_measured.any(axis=1)
    found: dict[int, str] = {}
    for index, asset in enumerate(batch.assets):
        problem = name_problem(asset)
        if problem:
            rows = np.flatnonzero(has_value & (batch.asset_index == index))
            found |= dict.fromkeys(rows.tolist(), f"asset {problem}")
    for index, channel in enumerate(batch.channels):
        problem = channel_problem(channel, layout)
        if problem:
            found |= dict.fromkeys(np.flatnonzero(is_measured[:, index]).tolist(), f"channel {problem}")
    return [RefusedRow(row, found[row]) for row in sorted(found)]


def _joined(batch: Batch, layout: Layout) -> pa.LargeStringArray:
    """(n_rows,): one line each; every row has a value."""
    names = [index for index, channel in enumerate(batch.channels) if channel_problem(channel, layout) is None]
    if not len(batch) or not names:
        return pa.array([], _TEXT)
    starts = pa.array([_start(asset, layout) for asset in batch.assets], _TEXT)
    fields = [_field(batch.channels[index], batch.values[:, index]) for index in names]
    return pc.binary_join_element_wise(
        starts.take(pa.array(batch.asset_index)),
        pc.binary_join_element_wise(*fields, _scalar(","), null_handling="skip"),
        _scalar(" "),
        pa.array(batch.times_ns).cast(_TEXT),
        _scalar("\n"),
        _scalar(""),
    )


def _start(asset: str, layout: Layout) -> str:
    tags = {layout.asset_tag: asset, "sensor_type": layout.sensor_type}
    written = (
        f"{_escaped(key)}={_escaped(tags[key])}" for key in sorted(tags) if tags[key]
    )  # the order that the server keeps
    start = ",".join([re.sub(r"([, ])", r"\\\1", layout.measurement), *written]) + " "
    return start if name_problem(asset) is None else ""


def _field(channel: str, values: np.ndarray) -> pa.LargeStringArray:
    """(n_rows,): channel=value, null where not measured; Arrow writes the shortest text that reads back the same."""
    numbers = pa.array(np.ascontiguousarray(values), from_pandas=True).cast(_TEXT)
    return pc.binary_join_element_wise(_scalar(f"{_escaped(channel)}="), numbers, _scalar(""))


def _escaped(name: str) -> str:
    return re.sub(r"([,= ])", r"\\\1", name)


def _scalar(text: str) -> pa.Scalar:
    return pa.scalar(text, _TEXT)
