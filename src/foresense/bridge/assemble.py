"""Messages to one batch for the store, and back: which message a refused row came from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foresense.bridge.payload import Parsed, Schema
from foresense.stores.batch import Batch


@dataclass(frozen=True, eq=False)
class Assembled:
    """Samples of many messages, in the order of the messages: of two for one asset and time the later one holds.

    Attributes:
        batch: For the store.
        owners: (n_rows,), int64: which message a row came from.
        parsed: One for each message.
        unknown: Names of fields that no channel has, and in how many records.
    """

    batch: Batch
    owners: np.ndarray
    parsed: list[Parsed]
    unknown: Counter[str]


def assemble(schema: Schema, messages: Sequence[tuple[int, bytes]]) -> Assembled:
    """Parse messages and put their samples into one batch.

    Args:
        schema: The channels.
        messages: When each one came (nanoseconds since 1970 UTC), and its payload.
    """
    places: dict[str, int] = {}
    assets: list[int] = []
    times_ns: list[int] = []
    rows: list[list[float]] = []
    owners: list[int] = []
    columns: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    every: list[Parsed] = []
    unknown: Counter[str] = Counter()
    for number, (received_ns, payload) in enumerate(messages):
        parsed = schema.parse(payload, received_ns)
        every.append(parsed)
        if parsed.unknown:
            unknown.update(parsed.unknown)
        if parsed.rows:
            assets += [places.setdefault(name, len(places)) for name in parsed.assets]
            times_ns += parsed.times_ns
            rows += parsed.rows
            owners += [number] * len(parsed.rows)
            parsed.assets, parsed.times_ns, parsed.rows = [], [], []
        elif parsed.block is not None:
            place = places.setdefault(parsed.block.asset, len(places))
            columns.append((number, place, parsed.block.times_ns, parsed.block.values))
            parsed.block = None
    return _joined(schema, (assets, times_ns, rows, owners), columns, tuple(places), every, unknown)


def _joined(
    schema: Schema,
    single: tuple[list[int], list[int], list[list[float]], list[int]],
    columns: list[tuple[int, int, np.ndarray, np.ndarray]],
    names: tuple[str, ...],
    parsed: list[Parsed],
    unknown: Counter[str],
) -> Assembled:
    assets, times_ns, rows, owners = single
    lengths = [len(times) for _, _, times, _ in columns]
    owner = np.r_[np.array(owners, np.int64), np.repeat([number for number, *_ in columns], lengths)].astype(np.int64)
    index = np.r_[np.array(assets, np.int32), np.repeat([place for _, place, *_ in columns], lengths)].astype(np.int32)
    times = np.concatenate([np.array(times_ns, np.int64), *(found for _, _, found, _ in columns)])
    values = np.concatenate([np.array(rows, np.float64).reshape(-1, schema.n_slots), *(found for *_, found in columns)])
    if rows and columns:
        order = np.argsort(owner, kind="stable")
        owner, index, times, values = owner[order], index[order], times[order], values[order]
    batch = Batch(names, index, times, schema.channels, schema.fold(values))
    return Assembled(batch, owner, parsed, unknown)
