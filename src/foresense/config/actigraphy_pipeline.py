"""The sections of a pipeline of minute actigraphy: `kind: actigraphy`."""

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from foresense.config.actigraphy import ActigraphyIngestConfig, WearConfig, WeekConfig
from foresense.config.actigraphy_model import PatFineTuningConfig, PatPretrainingConfig
from foresense.config.pipeline import BenchmarkConfig
from foresense.config.section import Section

#: Sizes that a candidate can have; `config.pat` says what they are. Those with a convolution cannot leave.
PatName = Literal["S", "M", "L", "Huge"]


class ActigraphyWindowConfig(Section):
    """Section `window`: which weeks count, who is held out when, and the reference of every minute of the week."""

    positive: str  # the label that is predicted; every other one is not it
    device: str  # which counter, and where it was worn: a reference holds for no other
    wear: WearConfig = WearConfig()
    weeks: WeekConfig = WeekConfig()
    pool_min: PositiveInt = 31  # a minute's mean and deviation are those of so many around it; the paper's is 1
    n_folds: int = Field(default=5, ge=3)  # groups of people: one tests, the next chooses, the others train
    n_repeats: PositiveInt = 2  # dealings of the people into groups
    seed: NonNegativeInt = 0  # of the dealing


class ActigraphyFeaturesConfig(Section):
    """Section `features`: how sleep is scored for the clinical metrics of each week."""

    method: Literal["cole_kripke", "sadeh"] = "cole_kripke"
    variant: str | None = None  # of the method; null: its first one
    share_asleep: float | None = Field(default=None, gt=0, lt=1)  # of units that are no counts: the flagged quantile
    rest_threshold: float = Field(default=0.0, ge=0)  # activity up to here is rest: what an idle counter shows


class OfficialWeightsConfig(Section):
    """Published weights to begin with; `foresense weights fetch` brings, checks and pins them."""

    name: str  # as `foresense weights list` has it: PAT-S_29k, ...
    sha256: str = Field(pattern="^[0-9a-f]{64}$")  # as weights.lock.json has it: another file makes a training old


class ActigraphyCandidateConfig(Section):
    """One network with one way of training it."""

    size: PatName = "S"
    weights: OfficialWeightsConfig | None = None  # what it begins with; null: new ones
    pretraining: PatPretrainingConfig | None = None  # masked weeks of the training people, before; null: none
    fine_tuning: PatFineTuningConfig = PatFineTuningConfig()

    @model_validator(mode="after")
    def _begins_once(self) -> Self:
        if self.weights is not None and self.pretraining is not None:
            raise ValueError("weights and pretraining: published weights are pretrained; give one of the two")
        return self

    @property
    def is_pretrained(self) -> bool:
        """Whether its encoder has seen weeks without labels before."""
        return self.weights is not None or self.pretraining is not None


class ActigraphyTrainConfig(Section):
    """Section `train`: candidates and rivals; a network ships where it is ahead by more than chance, else a rival."""

    candidates: dict[str, ActigraphyCandidateConfig] = Field(min_length=1)
    turns: PositiveInt | Literal["all"] = "all"  # of `n_folds` x `n_repeats`; the first one's model ships
    seed: NonNegativeInt = 0
    budget_min: PositiveFloat = 60.0


class ActigraphyExportConfig(Section):
    """Section `export`: which formats, and how many weeks prove and calibrate them."""

    variants: tuple[str, ...] = ("onnx-float32", "tflite-float32", "tflite-dynamic", "tflite-int8")
    n_calibration: PositiveInt = 32
    n_golden: PositiveInt = 4


class ActigraphyBenchmarkConfig(BenchmarkConfig):
    """Section `benchmark`: the same plan; gates of a model of weeks."""


class ActigraphyConfig(Section):
    """A pipeline with `kind: actigraphy`: a week of minutes in; features, clinical metrics, a probability out."""

    kind: Literal["actigraphy"]
    description: str
    ingest: ActigraphyIngestConfig
    window: ActigraphyWindowConfig
    features: ActigraphyFeaturesConfig = ActigraphyFeaturesConfig()
    train: ActigraphyTrainConfig
    export: ActigraphyExportConfig = ActigraphyExportConfig()
    benchmark: ActigraphyBenchmarkConfig = ActigraphyBenchmarkConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        n_turns = self.window.n_folds * self.window.n_repeats
        if self.train.turns != "all" and self.train.turns > n_turns:
            problems.append(
                f"train.turns is {self.train.turns}, but people are held out in {n_turns} "
                "(window.n_folds x window.n_repeats)"
            )
        if self.ingest.unit != "counts" and self.features.share_asleep is None:
            problems.append(
                f"ingest.unit is {self.ingest.unit}, for which no sleep score was published: give "
                "features.share_asleep, the flagged quantile rule"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self
