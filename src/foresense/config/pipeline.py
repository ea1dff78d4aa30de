"""The sections of one pipeline: one class per step, defaults in one place, every rule checked at the border."""

import re
from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from foresense.config.engine import EngineConfig
from foresense.config.section import Section

STEPS = ("ingest", "window", "features", "train", "export", "benchmark")


class ChannelConfig(Section):
    """One channel of a recording."""

    name: str = Field(min_length=1)
    unit: str = Field(min_length=1)  # UCUM-like text: "Cel", "A", "g", "1" where the source states none
    found_unit: str | None = None  # of the values in the source where it is not `unit`: ingest converts
    column: str | None = None  # name in the source file; `name` where absent


class IngestConfig(Section):
    """Section `ingest`: where recordings come from and how they are laid on one rate."""

    source: str  # a name in sources.SOURCES
    files: str | None = None  # glob below data/raw/<set>/ for `csv` and `parquet`
    raw: str | None = None  # the set's folder name under data/raw; absent for sources that need no file
    time_column: str = "date"
    time_zone: str = "UTC"  # of the timestamps in the file when they carry none, and of calendar features
    asset_column: str | None = None  # absent: one asset per file, named by `asset` or the file's stem
    asset: str | None = None
    channels: tuple[ChannelConfig, ...] = Field(min_length=1)
    interval_s: float = Field(3600.0, ge=0.001, allow_inf_nan=False)  # one sample every so many seconds after ingest
    store: str | None = None  # embedded:<folder> or influx; absent: FORESENSE_STORE, else embedded:store
    newest_rows: PositiveInt | None = None  # store only: so many rows up to the newest; absent: the whole history
    late_h: NonNegativeFloat = 168.0  # store only: the newest hours are read again each time: samples may be late
    whole_days: NonNegativeFloat = 7.0  # store only: everything is read again when the last time is so long ago
    first_rows: PositiveInt | None = None  # use only so many rows from the start (published protocols)
    min_rows: NonNegativeInt = 0  # an asset with fewer is refused
    n_assets: PositiveInt = 3  # simulate only
    n_rows: PositiveInt = 2400  # simulate only: samples per machine at `interval_s`
    start: str = "2025-01-01T00:00:00"  # simulate only, in `time_zone`
    seed: NonNegativeInt = 0  # simulate only

    @field_validator("store")
    @classmethod
    def _known_store(cls, text: str | None) -> str | None:
        if text is not None and not re.fullmatch(r"embedded:.+|influx(:.+)?", text):
            raise ValueError("expected embedded:<folder>, influx or influx:<bucket>")
        return text

    @model_validator(mode="after")
    def _channels_once(self) -> Self:
        names = [channel.name for channel in self.channels]
        if len(set(names)) != len(names):
            raise ValueError(f"channels: every name once, found {names}")
        return self


class SplitConfig(Section):
    """Shares of a recording by time, or row counts; rows after the last part are unused when counts are given."""

    unit: Literal["share", "rows"] = "share"
    train: PositiveFloat = 0.7
    validation: PositiveFloat = 0.15
    test: PositiveFloat = 0.15

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        parts = (self.train, self.validation, self.test)
        if self.unit == "share" and abs(sum(parts) - 1) > 1e-9:
            raise ValueError(f"split: shares must add up to 1, found {sum(parts):g} = {' + '.join(map(str, parts))}")
        if self.unit == "rows" and any(part != int(part) for part in parts):
            raise ValueError(f"split: row counts must be whole numbers, found {parts}")
        return self


class WindowConfig(Section):
    """Section `window`: split by time first, scale and impute from the training part, index windows."""

    context: PositiveInt = 1200  # samples that a model sees
    horizon: PositiveInt = 240  # samples that it forecasts
    split: SplitConfig = SplitConfig()
    group: Literal["asset", "all"] = "asset"  # one scaler and one model per asset, or one for all
    scaler: Literal["minmax", "standard"] = "minmax"
    max_gap: NonNegativeInt = 6  # samples: shorter gaps are interpolated, longer ones split the recording in blocks
    stride_evaluation: PositiveInt = 1  # between window starts of validation and test


class FeaturesConfig(Section):
    """Section `features`: which families are computed, once per window start `stride` samples apart."""

    families: tuple[str, ...] = ("calendar", "window_statistics")
    stride: PositiveInt = 1


class CandidateConfig(Section):
    """One model with one way of training it; the defaults are the values asked for (spec F-1 ... F-15)."""

    model: str = "patchtst"  # a name in models.MODELS
    context_length: PositiveInt | None = None  # absent: the window's whole context, else its newest part
    patch_length: PositiveInt = 12
    patch_stride: PositiveInt = 3
    end_padding: bool = False  # repeat the last sample for one more patch (paper, section 3.1)
    d_model: PositiveInt = 256
    ffn_dim: PositiveInt = 512
    n_heads: PositiveInt = 4
    n_layers: PositiveInt = 2
    head: Literal["mean", "flatten"] = "mean"
    shortcut: Literal["none", "linear"] = "none"  # linear: the network corrects the best linear forecast
    norm: Literal["batchnorm", "layernorm"] = "batchnorm"
    pre_norm: bool = True
    instance_norm: bool = False  # scale each window by its own mean and deviation, undo it on the forecast
    position_std: PositiveFloat | None = None  # absent: transformers' own start values (1.0)
    ff_dropout: float = Field(default=0.1, ge=0, lt=1)
    path_dropout: float = Field(default=0.0, ge=0, lt=1)
    head_dropout: float = Field(default=0.1, ge=0, lt=1)
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: PositiveFloat = 1e-5
    schedule: Literal["constant", "onecycle", "cosine"] = "constant"
    batch_size: PositiveInt = 128
    n_epochs: PositiveInt = 20
    clip_norm: PositiveFloat | None = 1.0
    patience: PositiveInt = 5
    train_stride: PositiveInt = 1  # between the starts of training windows

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model ({self.d_model}) must be a multiple of n_heads ({self.n_heads})")
        if self.patch_stride > self.patch_length:
            raise ValueError(f"patch_stride ({self.patch_stride}) leaves holes between patches of {self.patch_length}")
        return self


class TrainConfig(Section):
    """Section `train`: candidates are trained in turn; the best on the validation part ships."""

    candidates: dict[str, CandidateConfig] = Field(min_length=1)
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    seed: NonNegativeInt = 0
    validation_stride: PositiveInt = 1  # every so many validation windows judge an epoch; cost against noise
    season_lengths: tuple[PositiveInt, ...] = (24, 168)  # samples, for the seasonal naive baselines
    drop_last_batch: PositiveInt | None = None  # report the published drop-last variant too, for this batch size
    metrics_scale: Literal["scaled", "physical"] = "scaled"  # unit of the headline MSE and MAE
    budget_min: PositiveFloat = 90.0  # stated time budget of the whole step; exceeding it is reported as a failed gate


#: Settings of a candidate that decide how many weights its network has and what they mean.
_SHAPE = (
    "model",
    "context_length",
    "patch_length",
    "patch_stride",
    "end_padding",
    "d_model",
    "ffn_dim",
    "n_heads",
    "n_layers",
    "head",
    "shortcut",
    "norm",
    "pre_norm",
    "instance_norm",
)


class FleetConfig(TrainConfig):
    """Section `fleet`, in place of `train`: a model of its own for each asset, and one that all of them share.

    The shared model is trained first, on all assets; candidates named in `from_shared` begin with its weights. It
    forecasts for every asset that has no model of its own: too little data, not named in `assets`, a training that
    failed, or none of its candidates better on its validation part.
    """

    shared: CandidateConfig
    from_shared: tuple[str, ...] = ()  # names under `candidates`
    assets: Literal["all"] | tuple[str, ...] = "all"  # which get a model of their own
    min_rows: NonNegativeInt = 0  # an asset with fewer gets no model of its own
    at_once: PositiveInt = 16  # assets whose small networks are trained as one stack
    max_failed: float = Field(default=0.1, ge=0, le=1)  # share of the assets that may fail before a gate does
    dlinear: bool = False  # train DLinear, too, as one more baseline of each asset; two trainings of its own
    budget_min: PositiveFloat = 240.0  # a night

    @field_validator("assets", mode="before")
    @classmethod
    def _some(cls, asked: object) -> object:
        if asked != "all" and (isinstance(asked, str) or not asked):
            raise ValueError("expected `all`, or a list of the names of assets")
        return asked

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = sorted(set(self.from_shared) - set(self.candidates))
        if unknown:
            raise ValueError(f"from_shared: {unknown} are no candidates; known: {sorted(self.candidates)}")
        for name in self.from_shared:
            differs = [key for key in _SHAPE if getattr(self.candidates[name], key) != getattr(self.shared, key)]
            if differs:
                raise ValueError(
                    f"from_shared: {name} cannot begin with the weights of `shared`: {', '.join(differs)} differ"
                )
        return self


class ExportConfig(Section):
    """Section `export`: which formats, and how much calibration data the full-integer ones see."""

    variants: tuple[str, ...] = ("onnx-float32", "onnx-int8", "tflite-float32", "tflite-dynamic", "tflite-int8")
    n_calibration: PositiveInt = 64  # windows from the training part
    n_golden: PositiveInt = 4


class GateConfig(Section):
    """One named limit: exactly one of the two bounds."""

    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give exactly one of 'at_most' and 'at_least'")
        return self


class BenchmarkConfig(Section):
    """Section `benchmark`: the measuring plan and the gates that judge what is measured."""

    device: str = "host"  # a file in devices/
    n_warmup: NonNegativeInt = 10
    n_timed: int = Field(default=100, ge=1)
    n_threads: tuple[PositiveInt, ...] = (1, 2)
    n_quality: PositiveInt | None = None  # windows of the test part; absent: all of them
    gates: dict[str, GateConfig] = Field(default_factory=dict)


class PipelineConfig(Section):
    """One entry under `pipelines:` in params.yaml: a pipeline that forecasts."""

    kind: Literal["forecast"] = "forecast"
    description: str
    ingest: IngestConfig
    window: WindowConfig
    features: FeaturesConfig = FeaturesConfig()
    train: TrainConfig | None = None
    fleet: FleetConfig | None = None  # in place of `train`: one model for each asset, and one that they share
    engine: EngineConfig = EngineConfig()  # where the trainings of a fleet run; changes no result and no digest
    export: ExportConfig = ExportConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()

    @field_validator("engine", mode="before")
    @classmethod
    def _by_name(cls, asked: object) -> object:
        return {"name": asked} if isinstance(asked, str) else asked

    @property
    def training(self) -> TrainConfig:
        """The section that the step `train` reads: `train`, or `fleet` where that stands in its place."""
        found = self.fleet or self.train
        if found is None:
            raise AssertionError("unreachable: one of the two is there")
        return found

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.train is None) == (self.fleet is None):
            raise ValueError("give exactly one of the sections 'train' and 'fleet'")
        section = "train" if self.fleet is None else "fleet"
        candidates = {f"{section}.candidates.{name}": one for name, one in self.training.candidates.items()}
        if self.fleet is not None:
            candidates["fleet.shared"] = self.fleet.shared
        problems = [problem for name, one in candidates.items() for problem in self._misfits(name, one)]
        rows, asked = self.ingest.newest_rows, self.window.context + 3 * self.window.horizon
        if rows is not None and rows < asked:
            problems.append(
                f"ingest.newest_rows ({rows}) is less than window.context + 3 x window.horizon ({asked}), which one "
                "window in each part takes"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _misfits(self, name: str, candidate: CandidateConfig) -> list[str]:
        length = candidate.context_length or self.window.context
        problems = []
        if length > self.window.context:
            problems.append(f"{name}.context_length ({length}) is longer than window.context ({self.window.context})")
        if candidate.patch_length > length:
            problems.append(f"{name}.patch_length ({candidate.patch_length}) is longer than the context ({length})")
        return problems
