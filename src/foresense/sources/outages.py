"""What a simulated logger misses: short gaps, single sensors, and the odd long outage."""

import numpy as np

_H = 3600.0  # seconds
_SLOT = 50  # samples; at most one short gap in each, well inside, so that two never join to a long one
_MARGIN = 10  # samples of each slot, at both ends, without a gap
_LONGEST = 4  # samples of a short gap: less than the 6 that are interpolated
_SHORTEST_OUTAGE = 7  # samples: longer than what is interpolated


def draw_missing_rows(rng: np.random.Generator, n_rows: int, interval_s: float) -> np.ndarray:
    """Rows that the logger missed altogether.

    One slot of 50 samples in twelve has a gap of 1 to 4 samples. In 2400 rows there is at most one outage of 7 to
    12 hours (at fine rates: of 0.5 % of the recording). Outages lie in the first 4 % of the recording, because no
    window may reach over one: with 1200 + 240 samples in a window and 1680 of 2400 rows to train on, an outage at
    row 96 still leaves 130 starts of training windows, and one at row 240 or later leaves none.

    Args:
        rng: Of this machine's logger.
        n_rows: Samples.
        interval_s: Seconds between samples.

    Returns:
        (n_rows,), bool.
    """
    missing = _short_gaps(rng, n_rows, share=1 / 12)
    n_chances = n_rows // 2400
    lengths = np.clip(rng.uniform(7, 12, n_chances) * _H / interval_s, _SHORTEST_OUTAGE, max(7, 0.005 * n_rows))
    starts = rng.uniform(0.01, 0.035, n_chances) * n_rows
    happens = rng.random(n_chances) < 0.7
    for start, length in zip(starts[happens].astype(int), lengths[happens].astype(int), strict=True):
        missing[start : start + length] = True
    return missing


def draw_dropouts(rng: np.random.Generator, missing: np.ndarray, n_channels: int) -> np.ndarray:
    """Cells that one sensor missed while the others reported, in slots without a gap.

    Args:
        rng: Of this machine's logger.
        missing: (n_rows,), bool: rows that are missing altogether.
        n_channels: How many sensors there are.

    Returns:
        (n_rows, n_channels), bool.
    """
    n_slots = -(-len(missing) // _SLOT)
    padded = np.zeros(n_slots * _SLOT, bool)
    padded[: len(missing)] = missing
    free = np.repeat(~padded.reshape(n_slots, _SLOT).any(axis=1), _SLOT)[: len(missing)]
    dropped = _short_gaps(rng, len(missing), share=1 / 24) & free
    sensor = np.repeat(rng.integers(0, n_channels, n_slots), _SLOT)[: len(missing)]
    return np.asarray(dropped[:, None] & (sensor[:, None] == np.arange(n_channels)))


def _short_gaps(rng: np.random.Generator, n_rows: int, *, share: float) -> np.ndarray:
    """(n_rows,), bool: gaps of 1 to 4 rows, in about `share` of the slots."""
    n_slots = n_rows // _SLOT
    has_gap = rng.random(n_slots) < share
    begin = rng.integers(_MARGIN, _SLOT - _MARGIN - _LONGEST, n_slots)[:, None]
    length = rng.integers(1, _LONGEST + 1, n_slots)[:, None]
    row = np.arange(_SLOT)[None, :]
    missing = np.zeros(n_rows, bool)
    missing[: n_slots * _SLOT] = ((row >= begin) & (row < begin + length) & has_gap[:, None]).ravel()
    return missing
