"""Where a loop sends its numbers: a protocol, a null form, and a list for tests."""

from dataclasses import dataclass, field
from typing import Protocol


class MetricSink(Protocol):
    """Takes one number at a time; MLflow is behind it in the room `tracking`."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Record `value` of `name` at `step` (an epoch, unless the name says otherwise)."""


class NullSink:
    """Forgets everything."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Do nothing."""


@dataclass
class ListSink:
    """Keeps everything, in order."""

    rows: list[tuple[str, float, int]] = field(default_factory=list)

    def metric(self, name: str, value: float, step: int) -> None:
        """Append one row."""
        self.rows.append((name, value, step))

    def last(self, name: str) -> float:
        """The newest value of `name`.

        Raises:
            KeyError: nothing was recorded under that name.
        """
        values = [value for found, value, _ in self.rows if found == name]
        if not values:
            raise KeyError(f"no metric {name!r}; recorded: {sorted({found for found, _, _ in self.rows})}")
        return values[-1]
