"""From a raw mixed recording to what kernels may see: values with holes marked, categories embedded, padding known.

Special here: NaN and +-inf meet `isfinite` and `where` and nothing else, inside the graph, so that an exported file
takes raw values; three kinds of nothing stay apart: missing (a flag beside the value), padding (a flag of the step) and
hidden by a pretraining (marked by the pretraining's own weights, the [MASK] row of a category).

Source: spec/dualpatch.md, D-13 ... D-16, DX-6 ... DX-8, DX-10; the missing flag as a second set of channels: Che et
al., Recurrent Neural Networks for Multivariate Time Series with Missing Values, Scientific Reports 2018, section 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import nn
from torch.nn.functional import pad

from foresense.config.dualpatch import DualPatchConfig
from foresense.models.wrist_parts import CLIP

MISSING, UNKNOWN, FIRST_VALUE = 0, 1, 2  # codes of a category; behind the values comes the row of [MASK]
N_SPECIAL_ROWS = 3


@dataclass(frozen=True, eq=False)
class Hidden:
    """What a pretraining does not let the encoder see, truth values.

    Attributes:
        numbers: (n, n_numeric, n_steps).
        categories: (n, n_categorical, n_steps).
    """

    numbers: torch.Tensor | None = None
    categories: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Mixed:
    """A batch as kernels may see it: every number is finite, whatever the sensors gave.

    Attributes:
        values: (n, n_numeric, n_steps), standard deviations; 0 where there is none, which is the average.
        truth: The same, with what is hidden.
        missing: Like `values`: 1 where a real step was not measured.
        observed: Like `values`, truth values: measured, whether hidden or not.
        vectors: (n, n_categorical, n_steps, value_width); 0 under padding.
        codes: (n, n_categorical, n_steps), int64, from 0 to the last value; `MISSING` under padding.
        padding: (n, n_steps), truth values; None where every step is real.
        lengths: (n,), int64, at least 1; None where every step is real.
        static_token: (n, 1, d_model), or None.
    """

    values: torch.Tensor | None
    truth: torch.Tensor | None
    missing: torch.Tensor | None
    observed: torch.Tensor | None
    vectors: torch.Tensor | None
    codes: torch.Tensor | None
    padding: torch.Tensor | None
    lengths: torch.Tensor | None
    static_token: torch.Tensor | None


class Measured(nn.Module):
    """Values of numeric channels, in their own units, to standard deviations within +-10 and what was measured.

    Attributes:
        mean: (n_channels,), of the training part, in the unit of each channel.
        deviation: (n_channels,), likewise; above 0.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("deviation", torch.ones(n_channels))

    def take(self, means: Sequence[float], deviations: Sequence[float]) -> None:
        """Standardise by these from now on.

        Raises:
            ValueError: not one of each for every channel, one that is not finite, or a deviation that is not above 0.
        """
        mean, deviation = torch.tensor(means, dtype=torch.float32), torch.tensor(deviations, dtype=torch.float32)
        n_channels = len(self.mean)
        if mean.shape != (n_channels,) or deviation.shape != (n_channels,):
            raise ValueError(
                f"means and deviations: expected {n_channels} of each, found {len(mean)} and {len(deviation)}; give "
                "them in the model's order"
            )
        bad = ~(mean.isfinite() & deviation.isfinite() & (deviation > 0))
        if bad.any():
            raise ValueError(
                f"means and deviations of channels {bad.nonzero().flatten().tolist()}: expected finite means and "
                "deviations above 0; give a channel that is constant or never measured in training a deviation of 1"
            )
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def split(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (n, n_channels, ...) to standard deviations, 0 where not measured, and to what was measured."""
        shape = (1, -1) + (1,) * (numbers.dim() - 2)
        mean, deviation = self.mean.view(shape), self.deviation.view(shape)
        measured = numbers.isfinite()
        filled = torch.where(measured, numbers, mean)
        # bounded before the division: a finite value near the largest float32 would overflow in it
        bounded = torch.maximum(torch.minimum(filled, mean + CLIP * deviation), mean - CLIP * deviation)
        return (bounded - mean) / deviation, measured


class Categories(nn.Module):
    """Codes to vectors, by one table for all channels: each has rows of its own, also for the special codes.

    Rows of a channel: missing, out of vocabulary, its values, [MASK].

    Attributes:
        first_rows: (n_channels,), int64: where the rows of each channel begin in the table.
        n_codes: (n_channels,), int64: codes of each channel.
    """

    first_rows: torch.Tensor
    n_codes: torch.Tensor

    def __init__(self, cardinalities: Sequence[int], width: int) -> None:
        super().__init__()
        n_rows = [n_values + N_SPECIAL_ROWS for n_values in cardinalities]
        first = [0, *accumulate(n_rows)][:-1]
        self.table = nn.Embedding(sum(n_rows), width)
        self.register_buffer("first_rows", torch.tensor(first), persistent=False)
        self.register_buffer("n_codes", torch.tensor([n_values + FIRST_VALUE for n_values in cardinalities]), False)

    def known(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (n, n_channels, ...); one that is none of the channel's counts as out of vocabulary."""
        n_codes = self.n_codes.view((1, -1) + (1,) * (codes.dim() - 2))
        return torch.where((codes >= 0) & (codes < n_codes), codes, UNKNOWN)

    def forward(self, codes: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """Vectors (n, n_channels, ..., width) of known codes, those of [MASK] where hidden."""
        shape = (1, -1) + (1,) * (codes.dim() - 2)
        if hidden is not None:
            codes = torch.where(hidden, self.n_codes.view(shape), codes)
        vectors: torch.Tensor = self.table(codes + self.first_rows.view(shape))
        return vectors


class StaticToken(nn.Module):
    """Static covariates to one token: numbers with their missing flags through a linear map, plus the categories."""

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        n_numeric, width = config.n_static_numeric, config.d_model
        self.with_missing = config.missing_channels
        self.measured = Measured(n_numeric) if n_numeric else None
        self.linear = nn.Linear(n_numeric * (1 + config.missing_channels), width) if n_numeric else None
        self.categories = Categories(config.static_cardinalities, width) if config.n_static_categorical else None

    def token(self, numbers: torch.Tensor | None, codes: torch.Tensor | None) -> torch.Tensor:
        """(n, n_static_numeric) in their own units and (n, n_static_categorical) to (n, 1, d_model)."""
        parts = []
        if self.measured is not None and self.linear is not None and numbers is not None:
            values, measured = self.measured.split(numbers)
            flags = [(~measured).to(values.dtype)] if self.with_missing else []
            parts.append(self.linear(torch.cat([values, *flags], dim=-1)))
        if self.categories is not None and codes is not None:
            parts.append(self.categories(self.categories.known(codes)).sum(1))
        return torch.stack(parts).sum(0)[:, None]


class MixedInputs(nn.Module):
    """Raw arrays of a batch to `Mixed`, all windows as long as the longest one may be.

    Attributes:
        steps: (n_steps,), int64: 0, 1, ...
    """

    steps: torch.Tensor

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.config = config
        self.measured = Measured(config.n_numeric) if config.n_numeric else None
        self.categories = Categories(config.cardinalities, config.value_width) if config.n_categorical else None
        self.static = StaticToken(config) if config.has_statics else None
        self.register_buffer("steps", torch.arange(config.n_steps), persistent=False)

    def mixed(
        self,
        numbers: torch.Tensor | None = None,
        categories: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
        static_numbers: torch.Tensor | None = None,
        static_categories: torch.Tensor | None = None,
        *,
        hidden: Hidden | None = None,
    ) -> Mixed:
        """See `foresense.models.dualpatch.DualPatch.forward` for the arguments.

        Raises:
            ValueError: inputs of another shape, too few or too many.
        """
        given = (numbers, categories, static_numbers, static_categories)
        n, n_given = require_inputs(self.config, *given, lengths)
        hidden = hidden or Hidden()
        if lengths is None and n_given < self.config.n_steps:
            lengths = torch.full((n,), n_given, device=self.steps.device)
        padding = None if lengths is None else self.steps >= lengths[:, None]
        truth, observed = self._numbers(numbers, padding)
        values, missing = self._seen(truth, observed, padding, hidden.numbers)
        codes, vectors = self._categories(categories, padding, hidden.categories)
        static_token = None if self.static is None else self.static.token(static_numbers, static_categories)
        at_least_one = None if lengths is None else lengths.clamp_min(1)
        return Mixed(values, truth, missing, observed, vectors, codes, padding, at_least_one, static_token)

    def _numbers(
        self, numbers: torch.Tensor | None, padding: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if self.measured is None or numbers is None:
            return None, None
        values, observed = self.measured.split(self._as_long_as_any(numbers))
        if padding is None:
            return values, observed
        observed = observed & ~padding[:, None]
        return torch.where(observed, values, 0.0), observed

    @staticmethod
    def _seen(
        truth: torch.Tensor | None,
        observed: torch.Tensor | None,
        padding: torch.Tensor | None,
        hidden: torch.Tensor | None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if truth is None or observed is None:
            return None, None
        missing = ~observed if padding is None else ~(observed | padding[:, None])
        if hidden is None:
            return truth, missing.to(truth.dtype)
        return torch.where(hidden, 0.0, truth), (missing & ~hidden).to(truth.dtype)

    def _categories(
        self, categories: torch.Tensor | None, padding: torch.Tensor | None, hidden: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if self.categories is None or categories is None:
            return None, None
        codes = self.categories.known(self._as_long_as_any(categories))
        if padding is None:
            return codes, self.categories(codes, hidden)
        codes = torch.where(padding[:, None], MISSING, codes)
        return codes, torch.where(padding[:, None, :, None], 0.0, self.categories(codes, hidden))

    def _as_long_as_any(self, rows: torch.Tensor) -> torch.Tensor:
        n_more = self.config.n_steps - rows.shape[-1]
        return pad(rows, (0, n_more)) if n_more else rows


def require_inputs(
    config: DualPatchConfig,
    numbers: torch.Tensor | None,
    categories: torch.Tensor | None,
    static_numbers: torch.Tensor | None,
    static_categories: torch.Tensor | None,
    lengths: torch.Tensor | None,
) -> tuple[int, int]:
    """Refuse inputs that the configuration does not describe; returns the windows and the steps of the batch.

    Arrays without a channel may be there or not; categories that the model does not look at, too.

    Raises:
        ValueError: another shape, an input too few or one too many, windows that are too long; names all of them.
    """
    asked = (
        ("numbers", numbers, config.n_numeric, ", n_steps"),
        ("categories", categories, len(config.cardinalities), ", n_steps"),
        ("static_numbers", static_numbers, config.n_static_numeric, ""),
        ("static_categories", static_categories, len(config.static_cardinalities), ""),
    )
    problems = []
    shapes = []
    for name, found, n_asked, steps in asked:
        if found is None:
            if n_asked and (config.use_categories or "categories" not in name):
                problems.append(f"{name} are missing: expected (n, {n_asked}{steps})")
        elif found.dim() != (3 if steps else 2) or found.shape[1] != n_asked:
            problems.append(f"{name}: expected (n, {n_asked}{steps}), found {tuple(found.shape)}")
        else:
            shapes.append((name, found.shape[0], found.shape[2] if steps else None))
    if lengths is not None and lengths.dim() != 1:
        problems.append(f"lengths: expected (n,), found {tuple(lengths.shape)}")
    elif lengths is not None:
        shapes.append(("lengths", lengths.shape[0], None))
    counts, steps_found = {n for _, n, _ in shapes}, {steps for *_, steps in shapes if steps is not None}
    if len(counts) > 1 or len(steps_found) > 1:
        problems.append(f"expected as many windows and steps in all of them, found {counts} and {steps_found}")
    if steps_found and max(steps_found) > config.n_steps:
        problems.append(f"windows of {max(steps_found)} steps: expected at most n_steps, {config.n_steps}")
    if problems:
        raise ValueError(f"{'; '.join(problems)}; give what the model's configuration names")
    return counts.pop(), steps_found.pop()
