"""Classes of the air judged by station or season, with intervals by blocks of time.

The metrics are those of people (`classification`); what plays the part of a person is a block of neighbouring periods
with the rows of ALL stations in it, because stations of one city share their weather (Carlstein, The use of subseries
values for estimating the variance of a general statistic, Annals of Statistics 14, 1986: blocks that do not overlap).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foresense.evaluate.classification import (
    LEVEL,
    N_RESAMPLES,
    ClassScores,
    Difference,
    Interval,
    compare_classes,
    judge_classes,
)
from foresense.evaluate.grouped import GroupedError, TooFewBlocksError

#: A row whose class nobody knows.
UNKNOWN = -1


@dataclass(frozen=True)
class ClassGroup:
    """One group.

    Attributes:
        n: Judged rows.
        n_without_truth: Rows that were left out, because nobody knows what happened.
        n_blocks: Blocks of time that hold a judged row.
        confusion: Row = true class, column = predicted class, rows of the group.
        metrics: Name in `confusion.METRICS` -> value; empty without a row.
        intervals: Name in `confusion.METRICS` -> percentile interval by blocks of time; empty where there are fewer
            than two.
    """

    n: int
    n_without_truth: int
    n_blocks: int
    confusion: tuple[tuple[int, ...], ...]
    metrics: dict[str, float]
    intervals: dict[str, Interval]


@dataclass(frozen=True)
class GroupedClassScores:
    """How well one set of predicted classes did.

    Attributes:
        classes: Names.
        block: Periods drawn together.
        overall: All rows.
        f1: Class -> F1 over all rows.
        f1_intervals: Class -> its interval by blocks; None for a class that never occurs.
        groups: Grouping -> label -> its row.
    """

    classes: tuple[str, ...]
    block: int
    overall: ClassGroup
    f1: dict[str, float]
    f1_intervals: dict[str, Interval | None]
    groups: dict[str, dict[str, ClassGroup]]

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold, for a report."""
        return asdict(self)


def judge_grouped_classes(
    truth: np.ndarray,
    predicted: np.ndarray,
    *,
    classes: Sequence[str],
    periods: np.ndarray,
    groups: Mapping[str, np.ndarray],
    block: int,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> GroupedClassScores:
    """Every metric of one set of predicted classes, over all rows and by every grouping.

    Args:
        truth: (n,), int, index into `classes`; UNKNOWN: left out and counted.
        predicted: (n,), int.
        classes: Names of the k classes.
        periods: (n,), int: number of the period, rising with time, the same for all groups.
        groups: Grouping -> (n,) labels.
        block: Periods drawn together.
        rng: Draws the blocks.
        n_resamples: How many sets of blocks are drawn.
        level: Share of the resampled values inside an interval.

    Raises:
        GroupedError: shapes that differ; `TooFewBlocksError`.
        ValueError: classes outside of the names.
    """
    known, owners = _owners(truth, periods, block, predicted=predicted, **groups)

    def scores(rows: np.ndarray) -> ClassScores:
        names = [str(number) for number in range(owners.max() + 1)]
        mine = rows & known
        return judge_classes(
            truth[mine],
            predicted[mine],
            owners[mine],
            classes=classes,
            people=names,
            rng=rng,
            n_resamples=n_resamples,
            level=level,
        )

    def group(rows: np.ndarray) -> ClassGroup:
        n_unknown = int((rows & ~known).sum())
        if not (rows & known).any():
            return ClassGroup(0, n_unknown, 0, ((0,) * len(classes),) * len(classes), {}, {})
        return _group(scores(rows), n_unknown)

    everything = scores(np.ones(len(truth), bool))
    return GroupedClassScores(
        classes=tuple(classes),
        block=block,
        overall=_group(everything, int((~known).sum())),
        f1={name: row.f1 for name, row in everything.per_class.items()},
        f1_intervals={name: row.f1_interval for name, row in everything.per_class.items()},
        groups={
            grouping: {str(label): group(labels == label) for label in np.unique(labels)}
            for grouping, labels in groups.items()
        },
    )


def compare_grouped_classes(
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    n_classes: int,
    periods: np.ndarray,
    block: int,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Difference]:
    """Name in `confusion.METRICS` -> first minus second over all rows, with the paired interval by blocks of time.

    Args:
        truth: (n,), int; UNKNOWN: left out.
        first: (n,), int, predictions.
        second: (n,), int, other predictions for the same rows.
        n_classes: k.
        periods: As in `judge_grouped_classes`.
        block: Likewise.
        rng: Draws the blocks, the same for both.
        n_resamples: How many sets of blocks are drawn.
        level: Share of the resampled differences inside an interval.

    Raises:
        GroupedError: as `judge_grouped_classes`.
        ValueError: classes that are no integers below k.
    """
    known, owners = _owners(truth, periods, block, first=first, second=second)
    return compare_classes(
        truth[known],
        first[known],
        second[known],
        owners[known],
        n_classes=n_classes,
        rng=rng,
        n_resamples=n_resamples,
        level=level,
    )


def _group(found: ClassScores, n_unknown: int) -> ClassGroup:
    return ClassGroup(
        n=found.n_windows,
        n_without_truth=n_unknown,
        n_blocks=found.n_people,
        confusion=found.confusion,
        metrics=found.metrics,
        intervals=found.intervals if found.n_people > 1 else {},
    )


def _owners(truth: np.ndarray, periods: np.ndarray, block: int, **columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are judged (n,), and the block of time of each row (n,)."""
    shapes = {name: column.shape for name, column in (("truth", truth), ("periods", periods), *columns.items())}
    if truth.ndim != 1 or len(set(shapes.values())) != 1:
        raise GroupedError(f"expected columns of one length, one value a row, found {shapes}")
    if not np.issubdtype(periods.dtype, np.integer) or block < 1:
        raise GroupedError(
            f"periods: expected whole numbers that rise with time, and blocks of at least 1 of them, found "
            f"{periods.dtype} and {block}"
        )
    known = truth != UNKNOWN
    n_blocks = len(np.unique(periods[known] // block))
    if n_blocks < 2:
        raise TooFewBlocksError(
            f"{int(known.sum())} rows with a truth lie in {n_blocks} block(s) of {block} period(s); expected at least "
            "two; judge a longer stretch, or draw shorter blocks"
        )
    return known, (periods - periods.min()) // block
