"""Sections of the Pretrained Actigraphy Transformer's two trainings; what is not given is the official value."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from foresense.config.pat import PatSize
from foresense.config.section import Section


@dataclass(frozen=True)
class PatSchedule:
    """How fast a training learns, and when it slows down and stops.

    Attributes:
        learning_rate: Of Adam, at the start.
        patience: Stop after so many epochs without a better validation number.
        plateau_patience: Halve the rate after so many; None: never.
        min_learning_rate: Never below.
    """

    learning_rate: float
    patience: int
    plateau_patience: int | None
    min_learning_rate: float


#: Source: the pretraining notebooks of njacobsonlab, "For Pretraining".
OFFICIAL_PRETRAINING = {
    "S": PatSchedule(1e-3, 250, 75, 1e-4),
    "M": PatSchedule(1e-3, 250, 75, 1e-4),
    "L": PatSchedule(1e-4, 500, 100, 1e-5),
    "Huge": PatSchedule(1e-5, 500, 100, 1e-6),
}
#: Source: the fine-tuning notebooks, "For Finetuning"; they leave the plateau rule out ("buggy").
OFFICIAL_FINE_TUNING = {
    "S": PatSchedule(1e-5, 250, None, 0.0),
    "M": PatSchedule(1e-5, 250, None, 0.0),
    "L": PatSchedule(1e-6, 250, None, 0.0),
    "Huge": PatSchedule(5e-7, 250, None, 0.0),
}


class _Training(Section):
    n_epochs: PositiveInt = 10_000
    learning_rate: PositiveFloat | None = None  # None, here and below: the official value of the size
    patience: PositiveInt | None = None  # epochs

    def _over(self, official: PatSchedule) -> PatSchedule:
        return PatSchedule(
            learning_rate=self.learning_rate or official.learning_rate,
            patience=self.patience or official.patience,
            plateau_patience=official.plateau_patience,
            min_learning_rate=official.min_learning_rate,
        )


class PatPretrainingConfig(_Training):
    """Masked autoencoding of weeks without labels (paper, section 3.2; mask ratio: its ablation)."""

    mask_ratio: float = Field(default=0.90, gt=0, lt=1)  # share of the patches that the encoder does not see
    loss: Literal["all", "masked"] = "all"  # minutes that count; the official models were trained on all
    batch_size: PositiveInt = 128
    plateau_patience: PositiveInt | None = None  # epochs without a better validation number that halve the rate
    min_learning_rate: NonNegativeFloat | None = None

    def schedule(self, size: PatSize) -> PatSchedule:
        """What is given here, else the official value of a size."""
        found = self._over(OFFICIAL_PRETRAINING[size.base])
        return PatSchedule(
            learning_rate=found.learning_rate,
            patience=found.patience,
            plateau_patience=self.plateau_patience or found.plateau_patience,
            min_learning_rate=found.min_learning_rate if self.min_learning_rate is None else self.min_learning_rate,
        )


class PatFineTuningConfig(_Training):
    """Learning one label of a week (paper, section 3.3): `full` trains every weight, `linear_probe` only the head."""

    style: Literal["full", "linear_probe"] = "full"
    batch_size: PositiveInt = 64  # each week of L holds 60 MiB of attention for each block, several times over

    def schedule(self, size: PatSize) -> PatSchedule:
        """What is given here, else the official value of a size."""
        return self._over(OFFICIAL_FINE_TUNING[size.base])
