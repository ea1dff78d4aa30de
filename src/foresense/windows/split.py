"""Split an asset's rows by time, before anything is fitted or cut."""

from dataclasses import dataclass
from math import floor

from foresense.config import SplitConfig
from foresense.signals import PARTS, Part, SignalError


@dataclass(frozen=True)
class Cuts:
    """Where the parts of one asset end, in rows; rows from `test_end` on are unused.

    Attributes:
        train_end: First row of the validation part.
        validation_end: First row of the test part.
        test_end: First row that belongs to no part.
    """

    train_end: int
    validation_end: int
    test_end: int

    def rows(self, part: Part) -> tuple[int, int]:
        """First row of `part`, and the first row after it."""
        return {
            "train": (0, self.train_end),
            "validation": (self.train_end, self.validation_end),
            "test": (self.validation_end, self.test_end),
        }[part]

    def starts(self, part: Part, *, context: int, horizon: int) -> tuple[int, int]:
        """First row where a window of `part` may begin, and the first row where none may begin any more.

        Targets lie wholly in their part. A context of validation or test may reach back over the cut; a training
        window lies wholly in the training part.
        """
        first, end = self.rows(part)
        low = first if part == "train" else max(0, first - context)
        return low, max(low, end - context - horizon + 1)


def cut_rows(n_rows: int, split: SplitConfig, *, context: int, horizon: int, asset: str) -> Cuts:
    """Cut the rows of one asset, in order of time, into train, validation and test.

    Args:
        n_rows: Rows of the asset.
        split: Shares of `n_rows` (cuts rounded down), or row counts.
        context: Samples that a model sees.
        horizon: Samples that it forecasts.
        asset: Named in errors.

    Raises:
        SignalError: too few rows for one leak-free window in each part (context + 3 x horizon), fewer rows than
            the split counts, or a part that no window's target fits in.
    """
    needed = context + 3 * horizon
    if n_rows < needed:
        raise SignalError(
            f"asset {asset!r}: {n_rows} rows, but {needed} are needed for one window in each of train, validation and "
            f"test (context {context} + 3 x horizon {horizon}); bring {needed - n_rows} more rows, or make "
            "window.context or window.horizon shorter"
        )
    cuts = _cuts(n_rows, split, asset)
    for part in PARTS:
        length = context + horizon if part == "train" else horizon
        first, end = cuts.rows(part)
        if end - first < length:
            raise SignalError(
                f"asset {asset!r}: the {part} part has {end - first} of {n_rows} rows, but one window needs {length} "
                f"there; enlarge window.split.{part}, or shorten window.{'context' if part == 'train' else 'horizon'}"
            )
    return cuts


def _cuts(n_rows: int, split: SplitConfig, asset: str) -> Cuts:
    if split.unit == "share":
        tiny = 1e-9  # 0.7 + 0.15 is 0.85 - 1e-16: a whole number of rows must not lose one
        return Cuts(floor(n_rows * split.train + tiny), floor(n_rows * (split.train + split.validation) + tiny), n_rows)
    train, validation, test = int(split.train), int(split.validation), int(split.test)
    if train + validation + test > n_rows:
        raise SignalError(
            f"asset {asset!r}: window.split counts {train} + {validation} + {test} = {train + validation + test} rows, "
            f"found {n_rows}; lower the counts, or use unit: share"
        )
    return Cuts(train, train + validation, train + validation + test)
