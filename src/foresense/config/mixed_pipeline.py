"""The sections of a pipeline of mixed recordings: `kind: mixed`.

A step that a pipeline of this kind has no use for has no section here, and stands in no mapping of `stages`.
"""

from datetime import date
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from foresense.config.mixed import MixedIngestConfig, MixedSchemaConfig
from foresense.config.section import Section


class MixedSplitConfig(Section):
    """Training, then validation, then the test up to the end; local dates, each the first of the next part."""

    train_until: date
    validation_until: date

    @model_validator(mode="after")
    def _dates_rise(self) -> Self:
        if self.train_until >= self.validation_until:
            raise ValueError(
                f"train_until ({self.train_until}) must be before validation_until ({self.validation_until}): the "
                "validation part lies between them"
            )
        return self


class MixedWindowConfig(Section):
    """Section `window`: of a channel some steps ahead, parts by time; of an outcome, whole recordings in groups."""

    channels: MixedSchemaConfig = MixedSchemaConfig()  # what a model sees
    target: str  # a numeric channel, or an outcome
    ahead: PositiveInt | None = None  # steps from the last one of a window to its target; null: an outcome
    length: PositiveInt | None = None  # steps; null: the whole recording
    stride: PositiveInt = 1  # steps between training windows
    stride_evaluation: PositiveInt = 1  # steps between those of validation and test
    bins: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = ()  # a class is above one, up to and with the next
    bin_names: tuple[str, ...] = ()  # one more than bins; of an outcome without bins: its numbers 0, 1, ... by name
    split: MixedSplitConfig | None = None
    n_folds: int | None = Field(default=None, ge=3)  # groups of recordings: one tests, the next chooses, others train
    seed: NonNegativeInt = 0  # of the dealing

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = [*self._problems_of_target(), *self._problems_of_bins()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def is_outcome(self) -> bool:
        """Whether a recording has one target, which is no channel."""
        return self.ahead is None

    def _problems_of_target(self) -> list[str]:
        if self.is_outcome:
            given = {
                "length": self.length is not None,
                "stride": self.stride != 1,
                "stride_evaluation": self.stride_evaluation != 1,
                "split": self.split is not None,
            }
            found = [
                f"{name} with `ahead: null`: an outcome belongs to a whole recording; leave {name} out, or say how "
                f"many steps `ahead` the channel {self.target!r} is asked for"
                for name, is_given in given.items()
                if is_given
            ]
            if self.n_folds is None:
                found.append("an outcome without n_folds: say into how many groups recordings are dealt, 3 or more")
            return found
        found = [
            f"ahead without {name}: a channel some steps ahead needs it"
            for name in ("length", "split")
            if getattr(self, name) is None
        ]
        if self.n_folds is not None or self.seed:
            found.append(
                "n_folds and seed deal recordings by an outcome; with `ahead` parts are of time: leave them out"
            )
        return found

    def _problems_of_bins(self) -> list[str]:
        found = []
        if any(low >= high for low, high in pairwise(self.bins)):
            found.append(f"bins must rise, each edge once; found {list(self.bins)}")
        if len(set(self.bin_names)) < len(self.bin_names):
            found.append(f"bin_names must differ; found {list(self.bin_names)}")
        n_asked = len(self.bins) + 1
        if self.bins and len(self.bin_names) != n_asked:
            found.append(f"{len(self.bins)} bins make {n_asked} classes; found {len(self.bin_names)} bin_names")
        if self.bin_names and not self.bins and not self.is_outcome:
            found.append("bin_names without bins: the classes of a channel lie between edges; give bins")
        if len(self.bin_names) == 1:
            found.append(f"one class ({self.bin_names[0]}) tells nothing; name at least two, or none")
        return found


class MixedConfig(Section):
    """A pipeline with `kind: mixed`: numbers full of holes beside categories in, a value or a class out."""

    kind: Literal["mixed"]
    description: str
    ingest: MixedIngestConfig
    window: MixedWindowConfig
