"""One metric of several people: values, their unit, and why a value is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


class ActigraphyError(ValueError):
    """Activity that a method does not hold for; the message says what, expected, found, and what to do."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One metric of several people.

    Attributes:
        name: As reports and features call it.
        unit: `1` for a plain number, `min`, `h`, `%`, or the unit of the activity.
        values: (n_people,), float64; NaN where the metric is undefined.
        reasons: (n_people,), str: why it is; empty where there is a value.
    """

    name: str
    unit: str
    values: np.ndarray
    reasons: np.ndarray

    def __post_init__(self) -> None:
        undefined = np.isnan(self.values)
        unexplained = np.flatnonzero(undefined != (self.reasons != ""))
        if len(unexplained):
            row = int(unexplained[0])
            raise ActigraphyError(
                f"{self.name}: person {row} has the value {self.values[row]} and the reason {self.reasons[row]!r}; "
                "expected a value or a reason"
            )


#: Where a metric is undefined, and why; the first one that holds is told.
Rule = tuple[np.ndarray, str | np.ndarray]


def measured(name: str, unit: str, values: np.ndarray, rules: Sequence[Rule]) -> Measured:
    """A metric that is undefined where a rule says so.

    Args:
        name: Of the metric.
        unit: Of the values.
        values: (n_people,), anything where a rule holds.
        rules: Masks (n_people,) and reasons, one for all or (n_people,); an earlier one goes before a later one.

    Raises:
        ActigraphyError: a value is NaN, and no rule says why.
    """
    reasons = np.full(len(values), "", dtype=object)
    for mask, reason in reversed(rules):
        reasons = np.where(mask, reason, reasons)
    undefined = reasons != ""
    return Measured(name, unit, np.where(undefined, np.nan, values), reasons)
