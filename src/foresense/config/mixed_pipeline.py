"""The sections of a pipeline of mixed recordings: `kind: mixed`."""

from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from foresense.config.dualpatch import DualPatchConfig
from foresense.config.mixed import MixedIngestConfig, MixedSchemaConfig
from foresense.config.pipeline import BenchmarkConfig
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


class MixedFeaturesConfig(Section):
    """Section `features`: what the rivals of a network look at."""

    family: Literal["summary", "lagged"]  # of a whole recording, or of the newest steps and the local clock


class MixedCandidateConfig(Section):
    """One network with one way of training it; sizes that follow from windows are filled in. Defaults: D-8 to D-11."""

    network: DualPatchConfig = DualPatchConfig()
    pretrain_epochs: NonNegativeInt = 0  # of rebuilding what is hidden, before, on the same training windows
    hidden_share: float = Field(default=0.4, gt=0, lt=1)  # of what a pretraining sees
    probe_epochs: NonNegativeInt = 0  # after a pretraining: the head alone learns so long
    layer_decay: float = Field(default=1.0, gt=0, le=1)  # rate of a layer over that of the layer above it
    optimizer: Literal["adamw", "adam"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    schedule: Literal["constant", "onecycle", "cosine"] = "constant"
    batch_size: PositiveInt = 32
    n_epochs: PositiveInt = 10
    patience: PositiveInt = 10
    rarity: float = Field(default=0.0, ge=0, le=1)  # a class weighs 1 / count to this power
    removed_share: float = Field(default=0.0, ge=0, lt=1)  # of the measured values, another one in each batch

    @model_validator(mode="after")
    def _what_a_pretraining_needs(self) -> Self:
        if self.pretrain_epochs == 0 and (self.probe_epochs or self.layer_decay < 1):
            raise ValueError(
                "probe_epochs and layer_decay below 1 keep what a pretraining has learnt, and pretrain_epochs is 0: "
                "give some, or leave both out"
            )
        return self


class MixedStudiesConfig(Section):
    """Curves of a training: what more holes cost, and what few labels cost."""

    candidate: str  # a name in `candidates`: the network of both curves
    without_mask: str  # another one: the same network with missing values at their mean and nothing that says so
    pretrained: str  # another one: the same network after a pretraining
    removed: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = (0.0, 0.1, 0.3, 0.5, 0.7)  # of the measured values
    labels: tuple[PositiveInt, ...] = (25, 50, 100, 200)  # training windows that keep their label; then all of them
    n_draws: PositiveInt = 3  # of labels, for each fold


class MixedTrainConfig(Section):
    """Section `train`: candidates and rivals; whatever is best on validation ships, a rival too.

    `common`, a mapping that is read before anything else, says what all candidates have; each says what it has instead.
    """

    predicts: Literal["value", "class"]
    candidates: dict[str, MixedCandidateConfig] = Field(min_length=1)
    calendar: bool = False  # local hour and month of the newest step as four more static numbers; needs real time
    folds: PositiveInt | Literal["all"] = "all"  # groups that are held out in turn; the first one's model ships
    rivals: tuple[str, ...] | None = Field(default=None, min_length=1)  # names in training.mixed_rivals; null: all
    block_weeks: PositiveInt = 2  # of an interval over time: weeks drawn together
    studies: MixedStudiesConfig | None = None
    seed: NonNegativeInt = 0
    budget_min: PositiveFloat = 60.0

    @model_validator(mode="before")
    @classmethod
    def _what_all_candidates_have(cls, given: Any) -> Any:
        match given:
            case {"common": {**common}, "candidates": {**candidates}, **others}:
                return {**others, "candidates": {name: _merged(common, one) for name, one in candidates.items()}}
        return given


def _merged(common: Mapping[object, Any], own: Any) -> Any:
    if not isinstance(own, dict):
        return own
    found = {**common, **own}
    both = common.get("network"), own.get("network")
    if all(isinstance(network, dict) for network in both):
        found["network"] = {**common["network"], **own["network"]}
    return found


class MixedExportConfig(Section):
    """Section `export`: which formats, and how many windows prove them."""

    variants: tuple[str, ...] = ("onnx-float32", "tflite-float32")
    n_calibration: PositiveInt = 64
    n_golden: PositiveInt = 8


class MixedBenchmarkConfig(BenchmarkConfig):
    """Section `benchmark`: the same plan; gates of a model of mixed recordings."""


def _problems_of_studies(train: MixedTrainConfig) -> list[str]:
    if train.studies is None:
        return []
    found, names = [], list(train.candidates)
    for field in ("candidate", "without_mask", "pretrained"):
        if getattr(train.studies, field) not in names:
            found.append(f"train.studies.{field}: no candidate {getattr(train.studies, field)!r} (known: {names})")
    blind, taught = (train.candidates.get(name) for name in (train.studies.without_mask, train.studies.pretrained))
    if blind is not None and blind.network.missing_channels:
        found.append(f"train.studies.without_mask: {train.studies.without_mask!r} has network.missing_channels")
    if taught is not None and not taught.pretrain_epochs:
        found.append(f"train.studies.pretrained: {train.studies.pretrained!r} has no pretrain_epochs")
    return found


class MixedConfig(Section):
    """A pipeline with `kind: mixed`: numbers full of holes beside categories in, a value or a class out."""

    kind: Literal["mixed"]
    description: str
    ingest: MixedIngestConfig
    window: MixedWindowConfig
    features: MixedFeaturesConfig
    train: MixedTrainConfig
    export: MixedExportConfig = MixedExportConfig()
    benchmark: MixedBenchmarkConfig = MixedBenchmarkConfig()

    @model_validator(mode="before")
    @classmethod
    def _networks_take_the_windows(cls, given: Any) -> Any:
        """A network that says no length has that of the windows, so that its patches are checked against it."""
        match given:
            case {"ingest": {**ingest}, "window": {**window}, "train": {**train}}:
                length = window.get("length") or ingest.get("n_hours") or ingest.get("n_steps")
                if isinstance(length, int) and isinstance(train.get("common", {}), dict):
                    common = _merged({"network": {"n_steps": length}}, train.get("common", {}))
                    return {**given, "train": {**train, "common": common}}
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = _problems_of_studies(self.train)
        n_turns = self.window.n_folds or 1
        if self.train.folds != "all" and self.train.folds > n_turns:
            problems.append(f"train.folds is {self.train.folds}, but these windows have {n_turns} (window.n_folds)")
        if self.train.predicts == "class" and not self.window.bin_names:
            problems.append("train.predicts is class, but window has no bin_names: name the classes")
        if self.features.family == "lagged" and not self.train.calendar:
            problems.append("features.family lagged looks at the local clock: set train.calendar to true")
        if problems:
            raise ValueError("; ".join(problems))
        return self
