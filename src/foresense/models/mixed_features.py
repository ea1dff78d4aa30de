"""The features of a rival inside its graph: raw windows with NaN to what `features.mixed_summary` computes with numpy.

Special here: float32 throughout, because edge runtimes have nothing wider. So everything is computed about one measured
value of the window: a channel that never changes has a deviation and a slope of exactly 0, and the mean of a pressure
does not lose its digits to its level. Holes meet `isfinite` and `where` and nothing else.
"""

from typing import Literal, Self

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import nn

from foresense.config.section import Section
from foresense.models.dualpatch_inputs import FIRST_VALUE, MISSING, UNKNOWN

#: Sine and cosine of local hour and month: the last static numbers of windows with a clock.
N_CLOCK = 4
N_STATISTICS = 10
_NAN, _INF = float("nan"), float("inf")


class MixedFeatureConfig(Section):
    """What windows hold, as a network's `DualPatchConfig` says it, and which features are made of them."""

    family: Literal["summary", "lagged"]
    n_numeric: NonNegativeInt
    cardinalities: tuple[NonNegativeInt, ...] = ()  # values in the vocabulary of each categorical channel
    n_static_numeric: NonNegativeInt = 0  # those of the clock included
    static_cardinalities: tuple[NonNegativeInt, ...] = ()
    n_steps: PositiveInt  # of every window
    interval_h: PositiveFloat = 1.0
    has_clock: bool = False  # the last four static numbers are the clock; `summary` does not look at them
    lags: tuple[NonNegativeInt, ...] = ()  # of `lagged`: steps before the newest one
    means: tuple[PositiveInt, ...] = ()  # of `lagged`: newest steps that a mean is taken over

    @property
    def n_own_static(self) -> int:
        """Static numbers of the recording: all but the clock."""
        return self.n_static_numeric - N_CLOCK * self.has_clock

    @property
    def n_features(self) -> int:
        """Columns of what `WindowFeatures` gives."""
        n_codes = sum(n_values + FIRST_VALUE for n_values in self.cardinalities)
        static = self.n_own_static + sum(n_values + FIRST_VALUE for n_values in self.static_cardinalities)
        if self.family == "summary":
            return N_STATISTICS * self.n_numeric + 2 * n_codes + static
        return (len(self.lags) + len(self.means)) * self.n_numeric + n_codes + N_CLOCK + static

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        if self.n_own_static < 0:
            problems.append(f"has_clock with n_static_numeric {self.n_static_numeric}: the clock alone is {N_CLOCK}")
        if self.family == "lagged" and not self.has_clock:
            problems.append("family lagged looks at the clock: set has_clock, and count its four static numbers")
        if max([*self.lags, *(span - 1 for span in self.means)], default=0) >= self.n_steps:
            problems.append(f"lags {self.lags} and means {self.means} look beyond windows of {self.n_steps} steps")
        if not self.n_numeric and not self.cardinalities:
            problems.append("no channel that changes in time; give n_numeric or cardinalities")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class WindowFeatures(nn.Module):
    """Raw windows to features, in the order of the numpy functions.

    Attributes:
        config: What it was built from.
        steps: (n_steps,): 0, 1, ...
        codes: (n_codes,), int64: those of the channel that has most.
    """

    steps: torch.Tensor
    codes: torch.Tensor

    def __init__(self, config: MixedFeatureConfig) -> None:
        super().__init__()
        self.config = config
        most_codes = max((*config.cardinalities, *config.static_cardinalities, 0)) + FIRST_VALUE
        self.register_buffer("steps", torch.arange(config.n_steps, dtype=torch.float32), persistent=False)
        self.register_buffer("codes", torch.arange(most_codes), persistent=False)

    def forward(
        self,
        numbers: torch.Tensor | None = None,
        categories: torch.Tensor | None = None,
        static_numbers: torch.Tensor | None = None,
        static_categories: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Look at full windows; see `foresense.models.dualpatch.DualPatch.forward` for the arguments.

        Returns:
            (n, n_features), float32, never infinite; NaN: not measured, or more than float32 holds.

        Raises:
            ValueError: inputs of another shape, too few or too many; names all of them.
        """
        config = self.config
        _require_inputs(config, numbers, categories, static_numbers, static_categories)
        columns = []
        if config.n_numeric and numbers is not None:
            family = self._summary if config.family == "summary" else self._lags_and_means
            columns.append(family(numbers).flatten(1))
        for at, n_values in enumerate(config.cardinalities if categories is not None else ()):
            assert categories is not None
            columns += self._of_categories(categories[:, at], n_values)
        if config.family == "lagged" and static_numbers is not None:
            columns.append(static_numbers[:, config.n_own_static :])
        if config.n_own_static and static_numbers is not None:
            columns.append(static_numbers[:, : config.n_own_static])
        for at, n_values in enumerate(config.static_cardinalities if static_categories is not None else ()):
            assert static_categories is not None
            columns.append(self._is_code(static_categories[:, at], n_values).to(torch.float32))
        found = torch.cat(columns, dim=1)
        return torch.where(found.isfinite(), found, _NAN)

    def _summary(self, numbers: torch.Tensor) -> torch.Tensor:
        """(n, n_numeric, n_steps) to (n, n_numeric, n_statistics)."""
        n_steps, interval_h = self.config.n_steps, self.config.interval_h
        measured = numbers.isfinite()
        count = measured.to(torch.float32).sum(-1)
        at_least_one = count.clamp_min(1.0)
        oldest = torch.where(measured, self.steps, n_steps - 1.0).amin(-1)
        newest = torch.where(measured, self.steps, 0.0).amax(-1)
        first, last = (self._at(numbers, measured, step) for step in (oldest, newest))
        relative = torch.where(measured, numbers - first[..., None], 0.0)
        mean = relative.sum(-1) / at_least_one
        centred = torch.where(measured, relative - mean[..., None], 0.0)
        hours = self.steps * interval_h
        mean_hour = torch.where(measured, hours, 0.0).sum(-1) / at_least_one
        from_mean = torch.where(measured, hours - mean_hour[..., None], 0.0)
        spread = torch.where(count > 1, from_mean.square().sum(-1), _NAN)
        of_measured = [
            first,
            last,
            (n_steps - 1 - newest) * interval_h,
            first + mean,
            (centred.square().sum(-1) / at_least_one).sqrt(),
            torch.where(measured, numbers, _INF).amin(-1),
            torch.where(measured, numbers, -_INF).amax(-1),
            (from_mean * centred).sum(-1) / spread,
        ]
        some = (count > 0)[..., None]
        share_missing = (n_steps - count) / n_steps
        return torch.cat(
            [torch.where(some, torch.stack(of_measured, -1), _NAN), torch.stack([count, share_missing], -1)], dim=-1
        )

    def _lags_and_means(self, numbers: torch.Tensor) -> torch.Tensor:
        """(n, n_numeric, n_steps) to (n, n_numeric, n_lags + n_means)."""
        measured = numbers.isfinite()
        newest = self._at(numbers, measured, torch.where(measured, self.steps, 0.0).amax(-1))
        relative = torch.where(measured, numbers - newest[..., None], 0.0)
        columns = [numbers[..., self.config.n_steps - 1 - lag] for lag in self.config.lags]  # forward() drops infinite
        for span in self.config.means:
            count = measured[..., -span:].to(torch.float32).sum(-1)
            mean = newest + relative[..., -span:].sum(-1) / count.clamp_min(1.0)
            columns.append(torch.where(count > 0, mean, _NAN))
        return torch.stack(columns, dim=-1)

    def _at(self, numbers: torch.Tensor, measured: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """(n, n_numeric): the value at one step of each channel; 0 where it was not measured."""
        return torch.where(measured & (self.steps == step[..., None]), numbers, 0.0).sum(-1)

    def _of_categories(self, codes: torch.Tensor, n_values: int) -> list[torch.Tensor]:
        """(n, n_steps) to the share of each code, where it is asked for, and the newest one that was measured."""
        is_code = self._is_code(codes, n_values)
        newest = torch.where(codes != MISSING, self.steps, -1.0).amax(-1)
        newest = torch.where(newest < 0, self.config.n_steps - 1.0, newest)  # none: any step says <missing>
        is_last = is_code & (self.steps == newest[:, None])[..., None]
        last = is_last.to(torch.float32).sum(1)
        shares = is_code.to(torch.float32).sum(1) / self.config.n_steps
        return [shares, last] if self.config.family == "summary" else [last]

    def _is_code(self, codes: torch.Tensor, n_values: int) -> torch.Tensor:
        """(n, ...) to truth values (n, ..., n_values + 2); a code that is none of them is out of vocabulary."""
        known = torch.where((codes >= 0) & (codes < n_values + FIRST_VALUE), codes, UNKNOWN)
        return known[..., None] == self.codes[: n_values + FIRST_VALUE]


def _require_inputs(config: MixedFeatureConfig, *given: torch.Tensor | None) -> None:
    """Arrays without a channel may be there or not."""
    asked = (
        ("numbers", (config.n_numeric, config.n_steps)),
        ("categories", (len(config.cardinalities), config.n_steps)),
        ("static_numbers", (config.n_static_numeric,)),
        ("static_categories", (len(config.static_cardinalities),)),
    )
    problems = []
    for (name, shape), found in zip(asked, given, strict=True):
        expected = f"expected (n, {', '.join(map(str, shape))})"
        if found is None and shape[0]:
            problems.append(f"{name} are missing: {expected}")
        elif found is not None and tuple(found.shape[1:]) != shape:
            problems.append(f"{name}: {expected}, found {tuple(found.shape)}")
    counts = {len(found) for found in given if found is not None}
    if len(counts) > 1:
        problems.append(f"expected as many windows in all of them, found {sorted(counts)}")
    if problems:
        raise ValueError(f"{'; '.join(problems)}; give full windows of the channels that the model was trained on")
