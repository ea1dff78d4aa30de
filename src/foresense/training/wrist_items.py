"""Windows of people as a training takes them: samples, features beside them, labels."""

from dataclasses import dataclass

import numpy as np
import torch

VALIDATION_BATCH = 256  # windows at once: bounds the memory of an epoch's end

Inputs = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]


@dataclass(frozen=True, eq=False)
class WristItems:
    """Windows of people with what a classifier takes beside them; arrays may be memory-mapped.

    Attributes:
        windows: (n, length, n_channels), g.
        statistics: (n, n_statistics), in their own units.
        topology: (n, n_topology), in their own units.
        times: (n, n_times).
        labels: (n,) int64, numbers of classes.
    """

    windows: np.ndarray
    statistics: np.ndarray | None = None
    topology: np.ndarray | None = None
    times: np.ndarray | None = None
    labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.windows)
        beside = {"statistics": self.statistics, "topology": self.topology, "times": self.times, "labels": self.labels}
        wrong = [f"{len(rows)} {name}" for name, rows in beside.items() if rows is not None and len(rows) != n]
        if wrong:
            raise ValueError(f"expected one row for each of {n} windows, found {', '.join(wrong)}; cut them alike")

    def __len__(self) -> int:
        return len(self.windows)

    def inputs(self, rows: np.ndarray | slice, device: str = "cpu") -> Inputs:
        """What a classifier's `forward` takes of these rows, float32."""
        windows, *features = (
            None if values is None else torch.from_numpy(np.asarray(values[rows], np.float32)).to(device)
            for values in (self.windows, self.statistics, self.topology, self.times)
        )
        assert windows is not None
        return windows, features[0], features[1], features[2]


def require_some(items: WristItems, part: str = "validation") -> None:
    """Refuse a part without windows.

    Raises:
        ValueError: there are none.
    """
    if not len(items):
        raise ValueError(f"no {part} windows; give more people to the {part} part, or bring more data")
