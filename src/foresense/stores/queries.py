"""What the embedded store asks DuckDB: a view over its parts, and the queries over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from foresense.stores.parts import KEYS

if TYPE_CHECKING:
    import duckdb

_STRETCH = "part.asset = $asset AND part.time_ns >= $first AND part.time_ns <= $last"


@contextmanager
def showing(files: Sequence[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that sees the rows of these parts as the view `part`."""
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": 2,
        "memory_limit": "256MB",
        "autoinstall_known_extensions": False,
    }
    with duckdb.connect(config=settings) as connection:
        connection.execute("SET enable_progress_bar = false")  # else our output has one after two seconds
        listed = ", ".join(_literal(str(path)) for path in files)
        connection.execute(f"CREATE VIEW part AS SELECT * FROM read_parquet([{listed}], union_by_name = true)")
        yield connection


def channels(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Columns of the view that are channels."""
    return [str(row[0]) for row in connection.execute("DESCRIBE part").fetchall() if row[0] not in KEYS]


def samples(names: Sequence[str], every_ns: int | None) -> str:
    """The samples of $asset in [$start, $end), or their means over intervals of $every from $origin."""
    last = ", ".join(f"arg_max({quoted(name)}, write) AS {quoted(name)}" for name in names)
    limits = "asset = $asset AND time_ns >= $start AND time_ns < $end"
    once = f"SELECT time_ns, {last} FROM part WHERE {limits} GROUP BY time_ns"
    if every_ns is None:
        return f"{once} ORDER BY time_ns"
    # in order: threads would add up in another one each time, and the last bit would change
    means = ", ".join(f"favg({quoted(name)} ORDER BY time_ns) AS {quoted(name)}" for name in names)
    begins = "(time_ns - $origin) // $every * $every + $origin"
    return f"SELECT {begins} AS time_ns, {means} FROM ({once}) GROUP BY ALL ORDER BY ALL"


def hits(gone: Sequence[str]) -> str:
    """A row where $asset has a value of the channels `gone` at a time of `erased`, between $first and $last."""
    return f"SELECT 1 FROM part JOIN erased USING (time_ns) WHERE {_STRETCH} AND ({_any(gone)}) LIMIT 1"


def without(names: Sequence[str], gone: Sequence[str]) -> str:
    """All rows with the channels `names`, less the values that `hits` looks for, and less rows that have no value then.

    In order of asset and time: a join keeps no order, and a merge needs it.
    """
    emptied = ", ".join(
        f"CASE WHEN erased.time_ns IS NULL THEN part.{quoted(name)} END AS {quoted(name)}"
        if name in gone
        else f"part.{quoted(name)}"
        for name in names
    )
    joined = f"FROM part LEFT JOIN erased ON part.time_ns = erased.time_ns AND {_STRETCH}"
    rows = f"SELECT part.asset, part.time_ns, part.write, {emptied} {joined}"
    return f"SELECT * FROM ({rows}) WHERE {_any(names)} ORDER BY asset, time_ns"


def quoted(name: str) -> str:
    """A column's name in a query."""
    return '"' + name.replace('"', '""') + '"'


def first_line(error: Exception) -> str:
    """What DuckDB says, without the query that it adds below."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _any(names: Sequence[str]) -> str:
    return " OR ".join(f"{quoted(name)} IS NOT NULL" for name in names)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
