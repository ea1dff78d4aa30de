"""InfluxQL: statements that no name can break out of, and their answers, chunk by chunk.

Chunked JSON is the form of answer that 1.x, 2.x and 3 share. An error may stand in any chunk, also below HTTP 200.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from foresense.stores.batch import StoreError

FIRST_NS = -9223372036854775806  # first and last time that InfluxDB holds
LAST_NS = 9223372036854775806
_N_SHOWN = 300  # letters of an answer that is none


class Block(NamedTuple):
    """One piece of a table.

    Attributes:
        columns: Names.
        rows: One list of cells each.
    """

    columns: list[str]
    rows: list[list[Any]]


def identifier(name: str) -> str:
    """Quote the name of a measurement, tag, field or database."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def literal(text: str) -> str:
    """Quote a piece of text."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def between(start_ns: int, end_ns: int) -> str:
    """Condition start_ns <= time < end_ns, within what InfluxDB can hold."""
    return f"time >= {max(start_ns, FIRST_NS)} AND time <= {min(end_ns - 1, LAST_NS)}"


def read_blocks(pieces: Iterable[bytes]) -> Iterator[Block]:
    """Read the answer to one statement while it arrives.

    Args:
        pieces: The answer, cut anywhere.

    Raises:
        StoreError: the server says so in any chunk, stops before the end, or answers with something else than JSON.
    """
    is_partial = False
    for document in _documents(pieces):
        _require_no_error(document)
        for result in document.get("results") or ():
            _require_no_error(result)
            is_partial = bool(result.get("partial"))
            for series in result.get("series") or ():
                is_partial = is_partial or bool(series.get("partial"))
                yield Block(series["columns"], series.get("values") or [])
    if is_partial:
        raise StoreError("the server cut its answer off; raise its limit (1.x: max-row-limit), or ask for less")


def to_columns(block: Block, channels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Take times and channels out of a block.

    Returns:
        times_ns: (n_rows,), int64.
        values: (n_rows, n_channels), float64; NaN where the server has nothing.

    Raises:
        StoreError: a channel holds text.
    """
    cells = dict(zip(block.columns, zip(*block.rows, strict=True), strict=False))
    values = np.full((len(block.rows), len(channels)), np.nan)
    if not block.rows:
        return np.zeros(0, np.int64), values
    for index, channel in enumerate(channels):
        if channel in cells:
            values[:, index] = _numbers(channel, cells[channel])
    return np.array(cells["time"], np.int64), values


def merged(times_ns: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make one row of those with one time: for each channel the mean of what is there; in order of time.

    Args:
        times_ns: (n_rows,), int64.
        values: (n_rows, n_channels), float64.
    """
    if len(times_ns) > 1 and (np.diff(times_ns) < 0).any():
        order = np.argsort(times_ns, kind="stable")
        times_ns, values = times_ns[order], values[order]
    firsts = np.flatnonzero(np.diff(times_ns, prepend=times_ns[:1] - 1))
    if len(firsts) == len(times_ns):
        return times_ns, values
    is_there = ~np.isnan(values)
    counts = np.add.reduceat(is_there, firsts, axis=0, dtype=np.int64)
    sums = np.add.reduceat(np.where(is_there, values, 0.0), firsts, axis=0)
    return times_ns[firsts], np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _numbers(channel: str, cells: Sequence[Any]) -> np.ndarray:
    if str in set(map(type, cells)):
        raise StoreError(f"field {channel!r} holds text, not numbers; leave it out of the channels")
    return np.array(cells, np.float64)


def _require_no_error(part: Any) -> None:
    if not isinstance(part, dict):
        raise StoreError(f"the server's answer is no InfluxQL result: {str(part)[:_N_SHOWN]}; is the address right?")
    if part.get("error"):
        raise StoreError(f"the server answers: {part['error']}")


def _documents(pieces: Iterable[bytes]) -> Iterator[Any]:
    for line in _lines(pieces):
        text = line.decode(errors="replace").strip()
        at = 0
        while at < len(text):
            try:
                document, at = _DECODER.raw_decode(text, at)
            except json.JSONDecodeError as error:
                raise StoreError(
                    f"the server's answer is no JSON: {text[at : at + _N_SHOWN]!r}; is the address right?"
                ) from error
            yield document


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest: list[bytes] = []
    for piece in pieces:
        *ends, last = piece.split(b"\n")
        for end in ends:
            yield b"".join([*rest, end])
            rest = []
        rest.append(last)
    yield b"".join(rest)


def _whole(text: str) -> int | float:
    return -0.0 if text == "-0" else int(text)


_DECODER = json.JSONDecoder(parse_int=_whole)
