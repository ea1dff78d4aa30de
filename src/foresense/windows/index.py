"""Where windows may begin: inside continuous blocks, by part, and at measured samples."""

from dataclasses import dataclass

import numpy as np

from foresense.signals import Part
from foresense.windows.split import Cuts


@dataclass(frozen=True, eq=False)
class Starts:
    """Window starts of one part of one asset, and how many candidates were left out for which reason.

    Attributes:
        rows: (n_windows,), int64, rising: row of the asset where a window begins.
        n_over_gap: Candidates that would hold a long gap or the seam of two recordings.
        n_unmeasured_origin: Candidates whose newest context sample is interpolated.
    """

    rows: np.ndarray
    n_over_gap: int
    n_unmeasured_origin: int


def window_starts(
    cuts: Cuts,
    part: Part,
    *,
    context: int,
    horizon: int,
    stride: int,
    broken: np.ndarray,
    recording: np.ndarray,
    interpolated: np.ndarray,
) -> Starts:
    """Find every start of `part` from its first possible row on, `stride` rows apart.

    A forecast is issued at a measured sample: where the newest sample of a context is interpolated, its right
    neighbour is a target, and the context would hold a piece of the answer. Such windows are left out.

    Args:
        cuts: Where the parts end.
        part: Whose windows.
        context: Samples that a model sees.
        horizon: Samples that it forecasts.
        stride: Rows between candidates; the grid is not moved by a gap.
        broken: (n_rows,), bool: rows that no window may hold.
        recording: (n_rows,), int: number of the recording of each row.
        interpolated: (n_rows,), bool: a channel of this row is drawn from the rows around it.
    """
    low, high = cuts.starts(part, context=context, horizon=horizon)
    candidates = np.arange(low, high, stride, dtype=np.int64)
    length = context + horizon
    n_broken_before = np.concatenate([[0], np.cumsum(broken)])
    is_whole = (n_broken_before[candidates + length] == n_broken_before[candidates]) & (
        recording[candidates] == recording[candidates + length - 1]
    )
    is_measured = ~interpolated[candidates + context - 1]
    return Starts(
        rows=candidates[is_whole & is_measured],
        n_over_gap=int((~is_whole).sum()),
        n_unmeasured_origin=int((is_whole & ~is_measured).sum()),
    )


def count_blocks(broken: np.ndarray, recording: np.ndarray) -> int:
    """Continuous blocks: runs of unbroken rows inside one recording.

    Args:
        broken: (n_rows,), bool.
        recording: (n_rows,), int.
    """
    whole = ~broken
    follows = np.zeros(len(whole), bool)
    follows[1:] = whole[1:] & whole[:-1] & (recording[1:] == recording[:-1])
    return int((whole & ~follows).sum())
