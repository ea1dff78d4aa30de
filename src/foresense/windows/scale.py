"""Fit scalers on rows of the training part."""

from typing import Literal

import numpy as np

from foresense.signals import Scaler, SignalError


def fit_scaler(
    train: np.ndarray, channels: tuple[str, ...], kind: Literal["minmax", "standard"], *, group: str
) -> Scaler:
    """Fit one affine map per channel, ignoring NaN; a constant channel gets scale 1.

    Args:
        train: (n_rows, n_channels), physical units: rows of the training part, and no others.
        channels: Name of each column.
        kind: `minmax` maps the training part to 0..1, `standard` to mean 0 and (population) deviation 1.
        group: Named in errors.

    Returns:
        The scaler; its maps are those of scikit-learn's MinMaxScaler and StandardScaler.

    Raises:
        SignalError: a channel has no value in the training part.
    """
    empty = [name for name, column in zip(channels, train.T, strict=True) if np.isnan(column).all()]
    if empty:
        raise SignalError(
            f"group {group!r}: channel(s) {empty} have no value in the {len(train)} rows of the training part; "
            "leave them out of ingest.channels, or make window.split.train larger"
        )
    mean = np.nanmean(train, axis=0)
    if kind == "minmax":
        shift = np.nanmin(train, axis=0)
        scale = np.nanmax(train, axis=0) - shift
    else:
        shift = mean
        scale = np.nanstd(train, axis=0)
    scale = np.where(_is_constant(train), 1.0, scale)
    return Scaler(kind=kind, channels=channels, shift=shift, scale=scale, mean=mean)


def constant_channels(train: np.ndarray, channels: tuple[str, ...]) -> list[str]:
    """Names of the channels that hold one value all through `train`, (n_rows, n_channels); NaN is ignored."""
    return [name for name, constant in zip(channels, _is_constant(train), strict=True) if constant]


def _is_constant(train: np.ndarray) -> np.ndarray:
    return np.asarray(np.nanmax(train, axis=0) == np.nanmin(train, axis=0))
