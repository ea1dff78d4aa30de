"""Events at any time to one value an hour, without a look ahead: cell t holds only events with t <= time < t + 1 h."""

import numpy as np

from foresense.config.mixed import Rule


def hourly(
    owners: np.ndarray, hours: np.ndarray, values: np.ndarray, *, n_recordings: int, n_hours: int, rule: Rule
) -> np.ndarray:
    """One parameter on the grid: (n_recordings, n_hours), float64; NaN in an hour without an event.

    Args:
        owners: (n,), int: recording of each event.
        hours: (n,), float: hours since the begin of the recording, 0 <= hours < n_hours.
        values: (n,), float: finite.
        n_recordings: Rows of the grid.
        n_hours: Columns of the grid.
        rule: `mean`, `sum`, `max`, `min` of the events of the hour; `fraction`, the mean of events that are 0 or 1;
            `last`, the newest of them, and of several at one time the one that comes last in the table.
    """
    cells = owners * n_hours + hours.astype(np.int64)
    size = n_recordings * n_hours
    n_events = np.bincount(cells, minlength=size)
    found: np.ndarray
    if rule in ("mean", "fraction", "sum"):
        found = np.bincount(cells, weights=values.astype(np.float64), minlength=size)
        found = found if rule == "sum" else found / np.maximum(n_events, 1)
    elif rule == "last":
        found = _newest(cells, hours, values, np.zeros(size))
    else:
        found = np.full(size, -np.inf if rule == "max" else np.inf)
        (np.maximum if rule == "max" else np.minimum).at(found, cells, values)
    return np.where(n_events > 0, found, np.nan).reshape(n_recordings, n_hours)


def hourly_codes(
    owners: np.ndarray, hours: np.ndarray, codes: np.ndarray, *, n_recordings: int, n_hours: int
) -> np.ndarray:
    """The newest category of each hour: (n_recordings, n_hours), int64; 0 in an hour without an event.

    Args: as of `hourly`, codes (n,), int64.
    """
    cells = owners * n_hours + hours.astype(np.int64)
    found = _newest(cells, hours, codes, np.zeros(n_recordings * n_hours, np.int64))
    return found.reshape(n_recordings, n_hours)


def hours_since(owners: np.ndarray, hours: np.ndarray, *, n_recordings: int, n_hours: int) -> np.ndarray:
    """Hours from the newest event to the end of each cell: (n_recordings, n_hours), > 0; NaN before the first event.

    Args: as of `hourly`.
    """
    newest = np.full((n_recordings, n_hours), -np.inf)
    np.maximum.at(newest, (owners, hours.astype(np.int64)), hours)
    since = np.arange(1, n_hours + 1) - np.maximum.accumulate(newest, axis=1)
    return np.where(np.isinf(since), np.nan, since)


def _newest(cells: np.ndarray, hours: np.ndarray, values: np.ndarray, found: np.ndarray) -> np.ndarray:
    order = np.lexsort((np.arange(len(hours)), hours, cells))
    last = np.flatnonzero(np.append(cells[order][1:] != cells[order][:-1], True)[: len(order)])
    found[cells[order[last]]] = values[order[last]]
    return found
