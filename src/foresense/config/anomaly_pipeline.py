"""The sections of a pipeline of anomaly detectors: `kind: anomaly`."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from foresense.config.anomaly import (
    AnomalyIngestConfig,
    AnomalyNetworkConfig,
    ClipConfig,
    ClipSplitConfig,
    DenseAutoencoderConfig,
    DetectorFitConfig,
    ImageFoldersConfig,
    InfraredModulesConfig,
    ParityConfig,
    Share,
    SmallConfig,
    SpectrogramConfig,
    SyntheticImagesConfig,
)
from foresense.config.pipeline import BenchmarkConfig
from foresense.config.section import Section

Turns = Annotated[tuple[ClipSplitConfig, ...], Field(min_length=1)]


class AnomalyWindowConfig(Section):
    """Section `window`: how recordings are cut, and who is held out when.

    The turns of one split are judged together: each has its own models, and its own clips to test them. The first
    split chooses, and the model of its first turn ships; the others say how much harder another question is.
    """

    clips: ClipConfig = ClipConfig()
    splits: dict[str, Turns] = Field(min_length=1)


class AnomalyFeaturesConfig(Section):
    """Section `features`: how a clip of sound or vibration becomes an image; an image stays what it is."""

    spectrogram: SpectrogramConfig | None = None  # null: the clips are images


class AnomalyCandidateConfig(Section):
    """One network with one way of training it."""

    network: AnomalyNetworkConfig
    fit: DetectorFitConfig = DetectorFitConfig()
    density: bool = False  # judge also how far its embeddings lie from those of normal clips, as `<name> density`

    @model_validator(mode="after")
    def _turns_images_only(self) -> Self:
        if isinstance(self.network, DenseAutoencoderConfig) and (self.fit.flips or self.fit.shift_rows):
            raise ValueError("fit.flips and fit.shift_rows move images, and a dense autoencoder has vectors; leave out")
        return self

    @property
    def n_outputs(self) -> int:
        """1: a probability of an anomaly, or a rebuilt input; else one probability of each condition."""
        return self.network.n_outputs if isinstance(self.network, SmallConfig) else 1

    @property
    def can_ship(self) -> bool:
        """Whether it answers with one probability of an anomaly, which is what an artefact gives."""
        return isinstance(self.network, ParityConfig | SmallConfig) and self.n_outputs == 1


class AnomalyTrainConfig(Section):
    """Section `train`: candidates and rivals; the default ships unless another candidate is surely ahead of it."""

    candidates: dict[str, AnomalyCandidateConfig] = Field(min_length=1)
    default: str  # the candidate that ships unless another one is surely ahead on the clips that choose
    false_alarm_rate: Share = 0.05  # of normal clips; sets the threshold of each model on normal validation clips
    unit_s: PositiveFloat = 0.5  # of a kind with one asset, stretches of so long are drawn for intervals
    turns: PositiveInt | Literal["all"] = "all"  # of each split
    seed: NonNegativeInt = 0
    budget_min: PositiveFloat = 60.0

    @model_validator(mode="after")
    def _default_can_ship(self) -> Self:
        able = [name for name, one in self.candidates.items() if one.can_ship]
        if self.default not in able:
            raise ValueError(
                f"default is {self.default!r}, which is no candidate with one probability of an anomaly as its output "
                f"(these are: {', '.join(able) or 'none'})"
            )
        return self


class PiLimitsConfig(Section):
    """What the smoke test of a device asks for; `export.pi.PiLimits` says what each is."""

    latency_ms: PositiveFloat = 200.0
    memory_mib: PositiveFloat = 512.0
    growth_mib: PositiveFloat = 4.0
    quality_drop: PositiveFloat = 0.01
    duration_s: PositiveFloat = 60.0


class AnomalyExportConfig(Section):
    """Section `export`: which formats, how many clips calibrate and prove them, and what goes to a device."""

    variants: tuple[str, ...] = (
        "tflite-float32",
        "tflite-float16",
        "tflite-dynamic",
        "tflite-int8",
        "tflite-int8-float-io",
        "onnx-float32",
    )
    also: tuple[str, ...] = ()  # candidates that are exported beside what ships, to be compared with it
    n_calibration: PositiveInt = 128
    n_golden: PositiveInt = 4
    pi_variants: tuple[str, ...] = Field(  # the first that loses no more than `limits.quality_drop` on validation
        default=("tflite-int8", "tflite-float32"), min_length=1
    )
    pi_first: dict[str, str] = Field(default_factory=dict)  # candidate -> the variant that is tried before those for it
    max_size_mib: PositiveFloat = 50.0  # of each file on a device
    limits: PiLimitsConfig = PiLimitsConfig()


class AnomalyBenchmarkConfig(BenchmarkConfig):
    """Section `benchmark`: the plan of one measuring process, and gates of what ships."""

    n_warmup: int = Field(default=10, ge=10)
    n_timed: int = Field(default=100, ge=50)
    n_threads: tuple[PositiveInt, ...] = Field(default=(1, 4), min_length=2, max_length=2)  # timed; same bits
    n_quality: None = None  # always the whole test part


class AnomalyConfig(Section):
    """A pipeline with `kind: anomaly`: a thermal image or a clip of vibration in, how anomalous it is out."""

    kind: Literal["anomaly"]
    description: str
    ingest: AnomalyIngestConfig
    window: AnomalyWindowConfig
    features: AnomalyFeaturesConfig = AnomalyFeaturesConfig()
    train: AnomalyTrainConfig
    export: AnomalyExportConfig = AnomalyExportConfig()
    benchmark: AnomalyBenchmarkConfig = AnomalyBenchmarkConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        spectrogram = self.features.spectrogram
        if self.is_image != (spectrogram is None):
            what = "images, which have no spectrogram: leave" if self.is_image else "sound or vibration: give"
            problems.append(f"ingest.source {self.ingest.source} gives {what} features.spectrogram")
        for name, candidate in self.train.candidates.items():
            problem = self._misfit(candidate)
            if problem:
                problems.append(f"train.candidates.{name}.network: {problem}")
        unknown = [name for name in self.export.also if name not in self.train.candidates]
        unable = [name for name in self.export.also if name not in unknown and not self._able(name)]
        if unknown or unable:
            problems.append(
                f"export.also: {', '.join([*unknown, *unable])} is no candidate with one probability of an anomaly"
            )
        on_devices = (*self.export.pi_variants, *self.export.pi_first.values())
        missing = [name for name in on_devices if name not in self.export.variants]
        if missing or any(not name.startswith("tflite-") for name in on_devices):
            problems.append("export.pi_variants: expected names of export.variants that begin with tflite-")
        strangers = [name for name in self.export.pi_first if name not in self.train.candidates]
        if strangers:
            problems.append(
                f"export.pi_first: no candidate {', '.join(strangers)} (known: {', '.join(self.train.candidates)})"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def is_image(self) -> bool:
        """Whether recordings are images."""
        return isinstance(self.ingest, InfraredModulesConfig | ImageFoldersConfig | SyntheticImagesConfig)

    def _able(self, name: str) -> bool:
        return self.train.candidates[name].can_ship

    def _misfit(self, candidate: AnomalyCandidateConfig) -> str:
        """Why a network cannot see the clips; empty where it can."""
        network, spectrogram = candidate.network, self.features.spectrogram
        if isinstance(network, DenseAutoencoderConfig):
            if spectrogram is None:
                return "a dense autoencoder looks at frames of a spectrogram, and images have none"
            if network.n_mels != spectrogram.n_mels:
                return f"n_mels is {network.n_mels}, the spectrogram has {spectrogram.n_mels}"
            return ""
        if spectrogram is not None:
            expected = (spectrogram.n_mels, 1 + self.window.clips.length // spectrogram.hop, 1)
            if network.shape != expected:
                return f"shape is {network.shape}, a spectrogram of a clip has {expected}"
        return ""
