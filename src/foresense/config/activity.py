"""The sections of a pipeline that says what a person is doing: `kind: activity`."""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from foresense.config.pipeline import BenchmarkConfig
from foresense.config.section import Section
from foresense.config.wrist import WristModelConfig


class ActivityIngestConfig(Section):
    """Section `ingest`: where labelled recordings come from."""

    source: str  # a name in sources.people.PEOPLE
    raw: str | None = None  # folder below data/raw; absent for a simulation
    time_zone: str = "UTC"  # of timestamps that carry none, and of features of the clock
    rate_hz: float = Field(gt=0, allow_inf_nan=False)  # of the source; another one there is an error
    found_unit: Literal["g", "m/s2"] = "g"  # of the values in the source; recordings are in g
    files: str | None = None  # csv and parquet: glob below the folder; absent: every file that ends so
    time_column: str | None = None  # csv and parquet: absent, rows follow one another at `rate_hz`
    asset_column: str | None = None  # csv and parquet: who it is; absent: one person in each file, named after it
    columns: tuple[str, str, str] = ("x", "y", "z")  # csv and parquet: of the three axes
    label_column: str = "label"  # csv and parquet: empty, or a word that `classes` leaves out: unlabelled
    labels: str = "Walmsley2020"  # capture24 only: column of its label dictionary, without `label:`
    classes: tuple[str, ...] | None = None  # which labels are used, in this order; absent: all that are found
    first_people: PositiveInt | None = None  # only so many, in the order of their names
    min_people: PositiveInt = 4  # fewer cannot be split
    n_people: PositiveInt = 12  # simulated only
    n_hours: PositiveFloat = 24.0  # simulated only
    seed: NonNegativeInt = 0  # simulated only


class ActivityWindowConfig(Section):
    """Section `window`: windows of one label, people dealt into groups."""

    length_s: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    stride_s: float = Field(default=10.0, gt=0, allow_inf_nan=False)  # between training windows; divides `length_s`
    n_folds: int = Field(default=5, ge=3)  # groups of people: one for the test, one for validation, the others train
    seed: NonNegativeInt = 0  # of the dealing

    @model_validator(mode="after")
    def _strides_meet_lengths(self) -> Self:
        times = self.length_s / self.stride_s
        if times < 1 or abs(times - round(times)) > 1e-9:
            raise ValueError(
                f"stride_s ({self.stride_s:g}) must divide length_s ({self.length_s:g}): judged windows lie end to end"
            )
        return self


class ActivityFeaturesConfig(Section):
    """Section `features`: which families describe a window."""

    families: tuple[str, ...] = ("wrist_statistics", "wrist_topology")
    max_failed: float = Field(default=0.01, ge=0, le=1)  # share of windows that may be refused before the step stops


class ActivityCandidateConfig(Section):
    """One network with one way of training it; sizes that follow from the windows are filled in."""

    network: WristModelConfig  # window_length, rate_hz and n_channels are those of the windows
    pretrain_epochs: NonNegativeInt = 0  # of masked patch reconstruction before, on the same training people
    penalties: tuple[PositiveFloat, ...] = (300.0, 1000.0, 3000.0)  # of a rocket's weights; nothing below is its
    learning_rate: PositiveFloat = 1e-4
    schedule: Literal["constant", "onecycle", "cosine"] = "cosine"
    batch_size: PositiveInt = 32
    n_epochs: PositiveInt = 30
    patience: PositiveInt = 8
    rarity: float = Field(default=1.0, ge=0, le=1)  # a class weighs 1 / count to this power
    turn_deg: NonNegativeFloat = 0.0  # training windows are turned by at most so much
    mixup: NonNegativeFloat = 0.0  # concentration of the shares that mix two training windows; 0: none


class ActivityTrainConfig(Section):
    """Section `train`: candidates and rivals on groups of people held out in turn; the best on validation ships."""

    candidates: dict[str, ActivityCandidateConfig] = Field(min_length=1)
    folds: PositiveInt | Literal["all"] = "all"  # groups that are held out in turn; the first one's model ships
    smoothing: bool = False  # a hidden Markov model over the windows of a person; asks for real time
    seed: NonNegativeInt = 0
    margin: PositiveFloat = 0.02  # macro-F1 that a network has to be ahead of the best rival, to be called better
    budget_min: PositiveFloat = 60.0


class ActivityExportConfig(Section):
    """Section `export`: which formats, and how many windows calibrate and prove them."""

    variants: tuple[str, ...] = ("onnx-float32", "onnx-int8", "tflite-float32", "tflite-int8")
    n_calibration: PositiveInt = 64
    n_golden: PositiveInt = 8


class ActivityBenchmarkConfig(BenchmarkConfig):
    """Section `benchmark`: the same plan; gates of a classifier."""


class ActivityConfig(Section):
    """A pipeline with `kind: activity`: raw wrist acceleration in, a label every window out."""

    kind: Literal["activity"]
    description: str
    ingest: ActivityIngestConfig
    window: ActivityWindowConfig = ActivityWindowConfig()
    features: ActivityFeaturesConfig = ActivityFeaturesConfig()
    train: ActivityTrainConfig
    export: ActivityExportConfig = ActivityExportConfig()
    benchmark: ActivityBenchmarkConfig = ActivityBenchmarkConfig()

    @model_validator(mode="before")
    @classmethod
    def _networks_take_the_windows(cls, given: Any) -> Any:
        """A network that says no size has that of the windows, so that its patches are checked against it."""
        match given:
            case {
                "ingest": {"rate_hz": int() | float() as rate_hz},
                "train": {"candidates": {**candidates}},
            } if rate_hz > 0:
                length_s = (given.get("window") or {}).get("length_s", ActivityWindowConfig().length_s)
                if not isinstance(length_s, int | float):
                    return given
                sizes = {"window_length": round(length_s * rate_hz), "rate_hz": rate_hz}
                filled = {
                    name: {**one, "network": {**sizes, **one["network"]}}
                    if isinstance(one, dict) and isinstance(one.get("network"), dict)
                    else one
                    for name, one in candidates.items()
                }
                return {**given, "train": {**given["train"], "candidates": filled}}
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        families = set(self.features.families)
        asked = {"wrist_statistics": "n_statistics", "wrist_topology": "n_topology", "wrist_time": "n_times"}
        problems = [
            f"train.candidates.{name}.network.{field} is {getattr(one.network, field)}, but features.families has no "
            f"{family}"
            for name, one in self.train.candidates.items()
            for family, field in asked.items()
            if getattr(one.network, field) and family not in families
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self
