"""A logistic regression that a device can compute, and what it looks at: clinical metrics, or features of a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Metrics that are a time of day, in hours: 23 and 1 are neighbours, so each becomes a sine and a cosine.
CLOCK = ("l5_onset", "m10_onset", "acrophase")


class RuleError(ValueError):
    """Numbers that are no rule; the message says why."""


@dataclass(frozen=True, eq=False)
class LogisticRule:
    """A logistic regression that a device can compute: no library, one product.

    Attributes:
        names: Of the inputs.
        fill: (n_inputs,): stands where an input is NaN: the median of the training weeks.
        mean: (n_inputs,), of the training weeks.
        deviation: (n_inputs,), > 0.
        weights: (n_inputs,), of the standardised inputs.
        bias: Log odds at the mean.
    """

    names: tuple[str, ...]
    fill: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    bias: float

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """(n, n_inputs), NaN where unknown, to the probability (n,) of the label."""
        known = np.where(np.isnan(inputs), self.fill, inputs)
        odds = (known - self.mean) / self.deviation @ self.weights + self.bias
        return np.asarray(1 / (1 + np.exp(-odds)))

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        arrays = {name: getattr(self, name).tolist() for name in ("fill", "mean", "deviation", "weights")}
        return {"names": list(self.names), **arrays, "bias": self.bias}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "LogisticRule":
        """Of what `to_json` gave.

        Raises:
            RuleError: numbers that do not belong to one rule.
        """
        arrays = {name: np.array(found[name], np.float64) for name in ("fill", "mean", "deviation", "weights")}
        rule = cls(names=tuple(found["names"]), **arrays, bias=float(found["bias"]))
        lengths = {name: len(one) for name, one in arrays.items()}
        if set(lengths.values()) != {len(rule.names)} or (rule.deviation <= 0).any():
            raise RuleError(
                f"a logistic rule of {len(rule.names)} inputs has {lengths}, and deviations from "
                f"{rule.deviation.min():g}; expected one of each, above 0: train it again"
            )
        return rule


def turned(names: Sequence[str], values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Metrics as a model takes them: a time of day becomes a sine and a cosine.

    Args:
        names: Of the columns.
        values: (n, n_names), NaN where undefined; times of day in hours.
    """
    columns: list[np.ndarray] = []
    found: list[str] = []
    for name, column in zip(names, values.T, strict=True):
        if name in CLOCK:
            angle = column * (2 * np.pi / 24)
            found += [f"{name}_sin", f"{name}_cos"]
            columns += [np.sin(angle), np.cos(angle)]
        else:
            found.append(name)
            columns.append(column)
    return tuple(found), np.stack(columns, axis=1)
