"""Windows of mixed recordings as a training takes them: channels, real lengths, static covariates, labels."""

from dataclasses import dataclass, fields

import numpy as np
import torch

VALIDATION_BATCH = 256  # windows at once: bounds the memory of an epoch's end


@dataclass(frozen=True, eq=False)
class MixedItems:
    """Mixed windows; arrays may be memory-mapped, and one without a channel may be left out.

    Attributes:
        numbers: (n, n_numeric, n_steps), each channel in its own unit; NaN: not measured.
        categories: (n, n_categorical, n_steps), codes.
        lengths: (n,): real steps of each window; None where all are.
        static_numbers: (n, n_static_numeric); NaN: not measured.
        static_categories: (n, n_static_categorical), codes.
        labels: Whole numbers of classes, below 0 where nobody has said, (n,) or (n, n_steps); or float values, NaN
            where nobody has said, (n,), (n, n_outputs), or (n, n_steps, n_outputs).
    """

    numbers: np.ndarray | None = None
    categories: np.ndarray | None = None
    lengths: np.ndarray | None = None
    static_numbers: np.ndarray | None = None
    static_categories: np.ndarray | None = None
    labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        rows = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: len(values) for name, values in rows.items() if values is not None}
        if "numbers" not in given and "categories" not in given:
            raise ValueError("mixed windows: expected numbers or categories, found neither; give at least one channel")
        if len(set(given.values())) != 1:
            counts = ", ".join(f"{n} {name}" for name, n in given.items())
            raise ValueError(f"expected one row for each window, found {counts}; cut them alike")

    def __len__(self) -> int:
        rows = self.numbers if self.numbers is not None else self.categories
        assert rows is not None
        return len(rows)

    @property
    def n_steps(self) -> int:
        """Steps of the arrays, padding included."""
        rows = self.numbers if self.numbers is not None else self.categories
        assert rows is not None
        return int(rows.shape[-1])

    def inputs(self, rows: np.ndarray | slice, device: str = "cpu") -> dict[str, torch.Tensor]:
        """What a model's `forward` takes of these rows, by name; no lengths where every step of them is real."""
        kinds = {"numbers": np.float32, "categories": np.int64, "lengths": np.int64}
        kinds |= {"static_numbers": np.float32, "static_categories": np.int64}
        found = {}
        for name, kind in kinds.items():
            values: np.ndarray | None = getattr(self, name)
            if values is None or values.shape[1:2] == (0,):
                continue
            chosen = np.asarray(values[rows], kind)
            if name != "lengths" or (chosen < self.n_steps).any():
                found[name] = torch.from_numpy(np.ascontiguousarray(chosen)).to(device)
        return found


def require_some(items: MixedItems, part: str) -> None:
    """Refuse a part without windows.

    Raises:
        ValueError: there are none.
    """
    if not len(items):
        raise ValueError(f"no {part} windows; give the {part} part more recordings, or cut them closer together")
