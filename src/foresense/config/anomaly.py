"""Parts of a pipeline of anomaly detectors: where clips come from, how they are cut, split, seen and learnt."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from foresense.config.section import Section
from foresense.config.tables import TableFilesConfig

Share = Annotated[float, Field(gt=0, lt=1)]


class InfraredModulesConfig(Section):
    """Thermal images of photovoltaic modules, in the layout of InfraredSolarModules."""

    source: Literal["infrared_modules"]
    raw: str = "infrared_solar_modules"  # folder below data/raw


class BearingsConfig(Section):
    """MATLAB files of a bearing test rig, in the layout of Case Western Reserve University."""

    source: Literal["cwru_bearing"]
    raw: str = "cwru_bearing"
    channel: Literal["DE", "FE", "BA"] = "DE"  # accelerometer: drive end, fan end, base
    rate_hz: PositiveFloat = 12_000.0  # that all records are brought to
    candidates_hz: tuple[PositiveFloat, ...] = Field(default=(12_000.0, 48_000.0), min_length=2)  # a file may have
    line_hz: PositiveFloat = 60.0  # mains of the rig


class DcaseConfig(Section):
    """WAV files named as in DCASE 2020 Task 2."""

    source: Literal["dcase2020_task2"]
    raw: str = "dcase2020_task2_audio"
    channel: NonNegativeInt = 0


class MimiiConfig(Section):
    """WAV files in the layout of MIMII, whose microphone array has eight channels.

    Its levels hold the same sounds with more or less noise of a factory: one of them is read.
    """

    source: Literal["mimii"]
    raw: str = "mimii"
    channel: NonNegativeInt = 0
    level_db: int | None = None  # signal to noise, where there are folders of several


class ConditionTablesConfig(TableFilesConfig):
    """Rows of one's own machines, a sample each, with a column that says the condition."""

    rate_hz: PositiveFloat  # of the samples; where there is a clock, it must agree
    value_column: str
    unit: str = "1"
    found_unit: str | None = None  # of the values in the files where it is not `unit`
    condition_column: str
    normal: str = "normal"  # the condition that is no anomaly
    group_columns: tuple[str, ...] = ()  # what a split can hold out, such as the load
    time_column: str | None = None  # absent: rows follow one another at `rate_hz`


class WavFoldersConfig(Section):
    """WAV files of one's own machines: `<condition>/<asset>/<any>.wav`, or `<condition>/<asset>.wav`."""

    source: Literal["wav_folders"]
    raw: str  # folder below data/raw
    normal: str = "normal"  # the condition that is no anomaly
    channel: NonNegativeInt = 0


class ImageFoldersConfig(Section):
    """Grey images of one's own things: `<condition>/<asset>/<any>.png`, or `<condition>/<asset>.png`."""

    source: Literal["image_folders"]
    raw: str  # folder below data/raw
    normal: str = "normal"  # the condition that is no anomaly


class SyntheticImagesConfig(Section):
    """Grey images, warm in the middle of nowhere: a hot spot or none."""

    source: Literal["synthetic_images"]
    raw: None = None  # a simulation reads nothing
    n_recordings: int = Field(default=120, ge=4)
    height: int = Field(default=40, ge=8)
    width: int = Field(default=24, ge=8)
    rule: Literal["hot_spot", "none"] = "hot_spot"  # none: labels are dealt out anew, so that nothing can be learnt
    seed: NonNegativeInt = 0


class SyntheticVibrationConfig(Section):
    """Vibration of a shaft: periodic impacts or none."""

    source: Literal["synthetic_vibration"]
    raw: None = None  # a simulation reads nothing
    n_recordings: int = Field(default=120, ge=4)
    rate_hz: PositiveFloat = 12_000.0
    n_samples: int = Field(default=2048, ge=64)
    rule: Literal["impacts", "none"] = "impacts"
    seed: NonNegativeInt = 0


AnomalyIngestConfig = Annotated[
    InfraredModulesConfig
    | BearingsConfig
    | DcaseConfig
    | MimiiConfig
    | ConditionTablesConfig
    | WavFoldersConfig
    | ImageFoldersConfig
    | SyntheticImagesConfig
    | SyntheticVibrationConfig,
    Field(discriminator="source"),
]


class ClipConfig(Section):
    """How recordings are cut; an image is a clip as it is."""

    length: PositiveInt = 1  # samples of a clip
    hop: PositiveInt = 1  # samples from one clip to the next


class AssetSplitConfig(Section):
    """Assets are dealt into three parts, condition by condition: all recordings of one land in one part."""

    kind: Literal["assets"]
    unit: Literal["asset", "recording"] = "asset"  # recording: of the same few machines, as MIMII is published
    train: Share = 0.6
    validation: Share = 0.2
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _test_is_left(self) -> Self:
        if self.train + self.validation > 1 - 1e-9:
            raise ValueError(
                f"train ({self.train:g}) and validation ({self.validation:g}) leave nothing for the test part: "
                "their sum must be below 1"
            )
        return self


class FoldSplitConfig(Section):
    """Assets are dealt into groups, condition by condition; one group tests, the next chooses, the others train.

    With every `turn` from 0 to `n_folds` - 1 each asset is judged once: for sets with few normal ones.
    """

    kind: Literal["folds"]
    unit: Literal["asset", "recording"] = "asset"
    n_folds: int = Field(default=5, ge=3)
    turn: NonNegativeInt = 0
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _turn_is_a_group(self) -> Self:
        if self.turn >= self.n_folds:
            raise ValueError(f"turn {self.turn}: there are {self.n_folds} groups, counted from 0")
        return self


class HeldOutConfig(Section):
    """Recordings with certain values of a group are the test part, others the validation part, the rest trains.

    A condition with too few recordings for that is cut by time instead (`by_time`): training first, test last, and
    after each cut nothing is used for `guard_s`.
    """

    kind: Literal["held_out"]
    test: Mapping[str, tuple[str, ...]] = Field(min_length=1)  # group -> values; a recording must match in each group
    validation: Mapping[str, tuple[str, ...]] | Share  # likewise of what is left, or a share of its recordings
    by_time: tuple[str, ...] = ()  # conditions, by name
    time_train: Share = 0.6  # of the time of their recordings
    time_validation: Share = 0.2
    guard_s: NonNegativeFloat = 0.5
    seed: NonNegativeInt = 0  # of a share

    @model_validator(mode="after")
    def _test_is_left(self) -> Self:
        if self.time_train + self.time_validation > 1 - 1e-9:
            raise ValueError(
                f"time_train ({self.time_train:g}) and time_validation ({self.time_validation:g}) leave nothing for "
                "the test part: their sum must be below 1"
            )
        return self


ClipSplitConfig = Annotated[AssetSplitConfig | FoldSplitConfig | HeldOutConfig, Field(discriminator="kind")]


class SpectrogramConfig(Section):
    """Parameters of `features.logmel.LogMel`, which says what each is."""

    rate_hz: PositiveFloat
    n_fft: PositiveInt
    hop: PositiveInt
    n_mels: PositiveInt
    fmin_hz: NonNegativeFloat = 0.0
    fmax_hz: PositiveFloat
    power: PositiveFloat = 2.0
    floor_db: float = -100.0
    top_db: PositiveFloat | None = None


class ParityConfig(Section):
    """The published network: two convolutions, one wide dense layer. 11,963,457 or 3,705,345 parameters."""

    network: Literal["parity"] = "parity"
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (224, 224, 3)  # height, width, channels
    dropout: float = Field(default=0.5, ge=0, lt=1)


class SmallConfig(Section):
    """The default: depth-wise separable convolutions, then a mean.

    Over the whole image a network cannot say where something is. In a spectrogram where is which frequency: there the
    mean over time alone (`pool: time`) keeps the bands apart. With `blocks` the last layer sees statistics of the image
    beside the convolutions: on a few hundred images it finds them there sooner than it learns them.
    """

    network: Literal["small"] = "small"
    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    n_outputs: PositiveInt = 1  # 1: probability of an anomaly; else one of each condition
    widths: tuple[PositiveInt, ...] = Field(default=(16, 32, 64, 96), min_length=1)
    strides: tuple[PositiveInt, ...] = (1, 2, 2, 1)
    pool: Literal["image", "time"] = "image"  # time: over the width alone
    dropout: float = Field(default=0.2, ge=0, lt=1)
    blocks: tuple[PositiveInt, PositiveInt] | None = None  # rows and columns of blocks; height and width divide by them

    @model_validator(mode="after")
    def _blocks_are_equal(self) -> Self:
        if self.blocks is not None and (self.shape[0] % self.blocks[0] or self.shape[1] % self.blocks[1]):
            raise ValueError(
                f"blocks {self.blocks} do not divide {self.shape[0]} rows and {self.shape[1]} columns; give numbers "
                "that do"
            )
        return self

    @model_validator(mode="after")
    def _one_stride_a_width(self) -> Self:
        if len(self.widths) != len(self.strides):
            raise ValueError(f"{len(self.widths)} widths, {len(self.strides)} strides; give one of each for a layer")
        return self


class ConvAutoencoderConfig(Section):
    """Convolutions down to a narrow grid and up again."""

    network: Literal["conv_autoencoder"] = "conv_autoencoder"
    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    widths: tuple[PositiveInt, ...] = Field(default=(16, 24, 32), min_length=1)  # each halves height and width
    latent_channels: PositiveInt = 4

    @model_validator(mode="after")
    def _halves_exactly(self) -> Self:
        factor = 2 ** len(self.widths)
        if self.shape[0] % factor or self.shape[1] % factor:
            raise ValueError(
                f"{len(self.widths)} widths halve height and width as often, so that both must divide by {factor}; "
                f"found {self.shape[0]} x {self.shape[1]}: give fewer widths, or resize"
            )
        return self


class DenseAutoencoderConfig(Section):
    """The baseline of DCASE 2020 Task 2 and MLPerf Tiny: vectors of some frames through a bottleneck of 8."""

    network: Literal["dense_autoencoder"] = "dense_autoencoder"
    n_mels: PositiveInt = 128
    n_stacked: PositiveInt = 5  # frames side by side
    width: PositiveInt = 128
    n_hidden: PositiveInt = 4  # layers before and after the bottleneck
    latent: PositiveInt = 8

    @property
    def shape(self) -> tuple[int]:
        """Values of one vector."""
        return (self.n_mels * self.n_stacked,)


AnomalyNetworkConfig = Annotated[
    ParityConfig | SmallConfig | ConvAutoencoderConfig | DenseAutoencoderConfig, Field(discriminator="network")
]


class DetectorFitConfig(Section):
    """How a network is trained. Defaults are those with which the parity networks learn: 1e-3 kills their ReLUs."""

    learning_rate: PositiveFloat = 3e-4
    batch_size: PositiveInt = 16
    n_epochs: PositiveInt = 2
    patience: PositiveInt = 3  # epochs without a better validation loss
    balance: bool = True  # each condition weighs the same in the loss
    flips: tuple[Literal["vertical", "horizontal"], ...] = ()  # of training images, each by chance one half
    shift_rows: NonNegativeInt = 0  # up or down, by chance up to so many; in a spectrogram another speed of a machine
    seed: NonNegativeInt = 42
