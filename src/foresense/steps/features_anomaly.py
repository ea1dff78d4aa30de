"""Step `features` of a pipeline of anomaly detectors: spectrograms for the networks, statistics for the rivals."""

import time
from typing import Any

import numpy as np
import pandas as pd

from foresense.config.anomaly_pipeline import AnomalyFeaturesConfig
from foresense.features.logmel import LogMel
from foresense.features.picture_statistics import image_statistics, spectrogram_statistics
from foresense.signals import FeaturesReport, SignalError, replaced_folder, tree_sha256, write_json
from foresense.signals.clips import Clips, open_clips
from foresense.signals.labelled import write_array
from foresense.steps.frame import StepRun
from foresense.steps.window_anomaly import GROUP

FAMILY, SPECTROGRAM = "statistics", "spectrogram"


def features_anomaly(run: StepRun, config: AnomalyFeaturesConfig) -> FeaturesReport:
    """Make the log-mel spectrogram of every clip of sound or vibration, and statistics of every clip.

    Nothing here is fitted: each clip is looked at by itself, by the code that runs on a device.

    Args:
        run: The step's run.
        config: Section `features`.

    Returns:
        The report, written to `reports/<pipeline>/features.json`; `data/features/<pipeline>/features.parquet` has one
        row of statistics for each clip, and `levels.npy` the spectrograms, (n_clips, n_mels, n_frames), dB.

    Raises:
        FileNotFoundError: the step `window` has not finished.
        SignalError: the spectrogram is for another rate than the clips have.
    """
    clips = open_clips(run.paths.windows / GROUP)
    windows_sha256 = tree_sha256(run.paths.windows)
    begun = time.perf_counter()
    levels = None if config.spectrogram is None else _levels(clips, config)
    made = time.perf_counter()
    if levels is None:
        statistics, names = image_statistics(clips.gather(np.arange(len(clips.starts))))
    else:
        statistics, names = spectrogram_statistics(levels)
    ended = time.perf_counter()
    n = len(clips.starts)
    cost = {FAMILY: round((ended - made) / n * 1000, 4)}
    with replaced_folder(run.paths.features) as beside:
        if levels is not None:
            write_array(beside / "levels.npy", levels)
            cost[SPECTROGRAM] = round((made - begun) / n * 1000, 4)
        table = pd.DataFrame(statistics, columns=list(names))
        table.to_parquet(beside / "features.parquet", index=False, compression="zstd")
        write_json(
            beside / "manifest.json",
            {
                "schema_version": 1,
                "windows_sha256": windows_sha256,
                "names": list(names),
                "spectrogram": None if config.spectrogram is None else config.spectrogram.model_dump(mode="json"),
            },
        )
    return run.finish(
        FeaturesReport,
        data_sha256=windows_sha256,
        n_windows=n,
        ms_per_window=cost,
        features={name: _facts(column) for name, column in zip(names, statistics.T, strict=True)},
    )


def _levels(clips: Clips, config: AnomalyFeaturesConfig) -> np.ndarray:
    """(n_clips, n_mels, n_frames), float32, dB."""
    if config.spectrogram is None or config.spectrogram.rate_hz != clips.found.rate_hz:
        asked = None if config.spectrogram is None else config.spectrogram.rate_hz
        raise SignalError(
            f"features.spectrogram.rate_hz is {asked}, the clips have {clips.found.rate_hz} Hz; correct one of them"
        )
    return LogMel(**config.spectrogram.model_dump())(clips.gather(np.arange(len(clips.starts))))


def _facts(column: np.ndarray) -> dict[str, Any]:
    low, mean, high = (float(value) for value in (column.min(), column.mean(), column.max()))
    return {"family": FAMILY, "min": low, "mean": mean, "max": high, "n_missing": 0}
