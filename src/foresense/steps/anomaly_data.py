"""What the steps of an anomaly pipeline have to work with: clips, their pictures and statistics, inputs of networks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foresense.config.anomaly import AnomalyNetworkConfig, DenseAutoencoderConfig, SpectrogramConfig
from foresense.features.grey_images import resized_images
from foresense.features.logmel import LogMel
from foresense.models.anomaly import Scaling, is_autoencoder
from foresense.signals import SignalError, read_json, tree_sha256
from foresense.signals.clip_turns import ClipTurns, open_turns
from foresense.signals.clips import NORMAL
from foresense.steps.frame import StepRun
from foresense.steps.window_anomaly import GROUP
from foresense.training.anomaly import Examples
from foresense.training.anomaly_rivals import RivalInputs


@dataclass(frozen=True, eq=False)
class ClipData:
    """Clips of one pipeline.

    Attributes:
        turns: The clips, and who is held out when.
        levels: (n_clips, n_mels, n_frames), float32, dB; None where the clips are images.
        statistics: (n_clips, n_features), float32: what rivals look at.
    """

    turns: ClipTurns
    levels: np.ndarray | None
    statistics: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """(n_clips,), int64: condition of each, or UNKNOWN."""
        return self.turns.clips.labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the conditions, the normal one first."""
        return self.turns.clips.found.classes

    def pictures(self, numbers: np.ndarray) -> np.ndarray:
        """(k, height, width), float32: grey levels, or dB of (bands, frames).

        Args:
            numbers: (k,), int: which clips.
        """
        if self.levels is None:
            return self.turns.clips.gather(numbers).astype(np.float32)
        return np.asarray(self.levels[numbers])

    def resized(self, numbers: np.ndarray, *, height: int, width: int, n_channels: int) -> np.ndarray:
        """(k, height, width, n_channels), float32: clips as a network of images gets them."""
        return resized_images(self.pictures(numbers), height=height, width=width, n_channels=n_channels)

    def scaling(self, config: AnomalyNetworkConfig, numbers: np.ndarray) -> Scaling:
        """Mean and deviation of the training clips `numbers`; of the normal ones where a network learns from these."""
        if is_autoencoder(config):
            numbers = numbers[self.labels[numbers] == NORMAL]
        return Scaling.of(self.pictures(numbers))

    def inputs(self, config: AnomalyNetworkConfig, numbers: np.ndarray) -> np.ndarray:
        """(k, ...), float32: clips as a network gets them, (k x vectors, ...) where it looks at vectors of frames."""
        return self.examples(config, numbers).everything()

    def examples(self, config: AnomalyNetworkConfig, numbers: np.ndarray) -> Examples:
        """Clips as a network gets them, made when they are needed: `n_views` examples of each, one after the other."""
        labels = self.labels[numbers]
        if isinstance(config, DenseAutoencoderConfig):
            return self._vectors(config, numbers)
        height, width, n_channels = config.shape

        def gather(chosen: np.ndarray) -> np.ndarray:
            return self.resized(numbers[chosen], height=height, width=width, n_channels=n_channels)

        return Examples(gather, labels)

    def n_views(self, config: AnomalyNetworkConfig) -> int:
        """Examples of each clip."""
        if not isinstance(config, DenseAutoencoderConfig):
            return 1
        return int(self._levels().shape[2]) - config.n_stacked + 1

    def rival_inputs(self, numbers: np.ndarray) -> RivalInputs:
        """What rivals look at."""
        return RivalInputs(self.pictures(numbers), self.statistics[numbers], self.labels[numbers])

    def _levels(self) -> np.ndarray:
        if self.levels is None:
            raise SignalError("the clips are images, which have no frames; use another network")
        return self.levels

    def _vectors(self, config: DenseAutoencoderConfig, numbers: np.ndarray) -> Examples:
        """Some frames side by side, frame after frame, as the baseline of DCASE 2020 Task 2 lays them."""
        stacked = np.lib.stride_tricks.sliding_window_view(self._levels(), config.n_stacked, axis=2)
        n_views = stacked.shape[2]

        def gather(chosen: np.ndarray) -> np.ndarray:
            frames = stacked[numbers[chosen // n_views], :, chosen % n_views]  # (k, n_mels, n_stacked)
            return np.asarray(frames.transpose(0, 2, 1).reshape(len(chosen), -1), np.float32)

        return Examples(gather, np.repeat(self.labels[numbers], n_views))


def open_data(run: StepRun) -> ClipData:
    """Open what the steps before have written.

    Raises:
        FileNotFoundError: one of them has not finished; says which command runs it.
        SignalError: features of other clips.
    """
    turns = open_turns(run.paths.windows / GROUP)
    manifest = run.paths.features / "manifest.json"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: not there; run `foresense features {run.pipeline}` first")
    content = read_json(manifest)
    if content["windows_sha256"] != tree_sha256(run.paths.windows):
        raise SignalError(
            f"{run.paths.features}: features of other clips than {run.paths.windows / GROUP} holds now; run `foresense "
            f"features {run.pipeline}` again"
        )
    statistics = pd.read_parquet(run.paths.features / "features.parquet")[content["names"]].to_numpy(np.float32)
    levels = _open_levels(run.paths.features / "levels.npy")
    return ClipData(turns, levels, statistics)


def open_clip_data(run: StepRun, spectrogram: SpectrogramConfig | None) -> ClipData:
    """The clips alone, their pictures made anew as a device makes them; without statistics.

    Args:
        run: The step that is running.
        spectrogram: That the model was trained on; None where the clips are images.

    Raises:
        FileNotFoundError: the step `window` has not finished.
    """
    turns = open_turns(run.paths.windows / GROUP)
    numbers = np.arange(len(turns.clips.starts))
    levels = None if spectrogram is None else LogMel(**spectrogram.model_dump())(turns.clips.gather(numbers))
    return ClipData(turns, levels, np.empty((len(numbers), 0), np.float32))


def spectrogram_of(content: dict[str, Any] | None) -> SpectrogramConfig | None:
    """As `manifest.json` of the features and `evaluation.json` hold it."""
    return None if content is None else SpectrogramConfig.model_validate(content)


def _open_levels(path: Path) -> np.ndarray | None:
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None
