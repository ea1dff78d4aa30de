"""A version from what `window` and `train` left: model, scaler, windowing, widths, drift reference and evaluation."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foresense.evaluate.conformal import fit_conformal
from foresense.evaluate.drift import TooLittleError, fit_reference
from foresense.evaluate.errors import in_batches
from foresense.registry import quoted, seal_version
from foresense.signals import Layout, Windows, open_windows, recordings_digest, replaced_folder, write_json
from foresense.steps.comparison import signature_of

LOG = logging.getLogger(__name__)
EVALUATION = "evaluation.json"


def build_version(layout: Layout, pipeline: str, group: str) -> Path:
    """Lay everything that forecasts of one group need into one folder, sealed by its manifest.

    Equal weights, windows and data give equal bytes: nothing in it holds a clock time or a run.

    Args:
        layout: Where the pipeline's folders are.
        pipeline: Its name.
        group: Folder name below models/ and data/windows/.

    Returns:
        `.foresense/built/<pipeline>/<group>`; a former one is replaced.

    Raises:
        FileNotFoundError: the group has no model or no windows; says which command writes them.
    """
    paths = layout.of(pipeline)
    trained, folder = paths.models / group, paths.windows / group
    for path, step in ((folder / "index.json", "window"), (trained / EVALUATION, "train")):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: not there; run `foresense {step} {pipeline}` first")
    windows = open_windows(folder)
    built = layout.cache / "built" / pipeline / group
    with replaced_folder(built) as beside:
        (beside / "model").mkdir()
        for path in sorted(trained.iterdir()):
            shutil.copy(path, beside if path.name == EVALUATION else beside / "model")
        windows.scaler.write(beside / "scaler.json")
        write_json(beside / "windowing.json", signature_of(windows))
        fit_conformal(validation_residuals(trained, windows), channels=windows.channels).write(
            beside / "conformal.json"
        )
        _write_references(beside, windows)
        seal_version(
            beside,
            pipeline=pipeline,
            asset=windows.group,
            data_sha256=recordings_digest(paths.windows),
            trained_until_s=trained_until_s(windows),
        )
    return built


def reference_file(asset: str, assets: Sequence[str]) -> str:
    """Name of an asset's drift reference: each machine has its own nights, also where several share a model."""
    return "reference.json" if len(assets) == 1 else f"reference-{quoted(asset)}.json"


def _write_references(folder: Path, windows: Windows) -> None:
    """A drift reference for each asset; none where its training rows are too few, and its nights stay unjudged."""
    for number, asset in enumerate(windows.assets):
        samples, times_s = training_rows(windows, number)
        try:
            reference = fit_reference(
                samples,
                times_s,
                channels=windows.channels,
                time_zone=windows.time_zone,
                interval_s=windows.interval_s,
            )
        except TooLittleError as error:
            LOG.warning("%s: no drift reference: %s", asset, error)
            continue
        reference.write(folder / reference_file(asset, windows.assets))


def validation_residuals(model: Path, windows: Windows) -> np.ndarray:
    """Truth minus forecast on the validation windows: (n_windows, horizon, n_channels), scaled units."""
    from foresense.models import load_model
    from foresense.training.forecast import forecaster

    forecast = forecaster(load_model(model))
    found = []
    for chosen in in_batches(windows.starts["validation"]):
        batch = windows.gather(chosen)
        found.append(batch[:, windows.context :] - forecast(batch[:, : windows.context], chosen))
    return np.concatenate(found)


def training_rows(windows: Windows, asset: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one asset that a training window holds, as they were measured.

    Args:
        windows: One group.
        asset: Number of the asset in `windows.assets`.

    Returns:
        Samples (n_rows, n_channels), physical units, NaN where a value was filled in; times (n_rows,), int64, seconds
        since 1970 UTC.
    """
    starts = windows.starts["train"]
    edges = np.zeros(len(windows.samples) + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + windows.length, -1)
    rows = np.flatnonzero((np.cumsum(edges[:-1]) > 0) & (windows.asset_of_row == asset))
    samples = windows.scaler.inverse(windows.samples[rows].astype(np.float64), windows.channels)
    if windows.imputed is not None:
        samples[windows.imputed[rows]] = np.nan
    return samples, np.asarray(windows.row_times_s[rows])


def trained_until_s(windows: Windows) -> int:
    """Time of the newest row that a training or validation window holds; of several assets, the newest of all."""
    last = np.concatenate([windows.starts["train"], windows.starts["validation"]]) + windows.length - 1
    return int(windows.row_times_s[last].max())
