"""A version of a model as it lies in a folder: verified file by file, then loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foresense.registry.folder import VersionError, verify_version
from foresense.signals import Scaler, read_json, read_scaler

if TYPE_CHECKING:
    from torch import nn

    from foresense.evaluate.conformal import Conformal


@dataclass(frozen=True)
class VersionRef:
    """Which version, and where it lies.

    Attributes:
        label: What every forecast says of it: the number of a registered version, `latest-<digest>` for one that
            nobody promoted.
        folder: Holds model/, scaler.json, windowing.json, conformal.json, manifest.json.
    """

    label: str
    folder: Path


@dataclass(frozen=True, eq=False)
class Version:
    """A model with all that a forecast needs.

    Attributes:
        label: As of its `VersionRef`.
        channels: In the order of training.
        units: Of each channel.
        context: Rows that the model sees.
        horizon: Rows that it forecasts.
        interval_s: Seconds from one row to the next.
        scaler: Fitted on its training part.
        conformal: Half widths of the interval, scaled units.
        model: Maps (n, context, n_channels) to (n, horizon, n_channels), scaled, float32.
    """

    label: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    context: int
    horizon: int
    interval_s: float
    scaler: Scaler
    conformal: Conformal
    model: nn.Module

    def require(self, channels: tuple[str, ...], units: tuple[str, ...], interval_s: float) -> None:
        """Refuse samples of another layout.

        Raises:
            VersionError: says what differs.
        """
        asked = {"channels": self.channels, "units": self.units, "interval_s": self.interval_s}
        found = {"channels": channels, "units": units, "interval_s": interval_s}
        differs = [name for name in asked if asked[name] != found[name]]
        if differs:
            told = "; ".join(f"{name} {_shown(asked[name])}, found {_shown(found[name])}" for name in differs)
            raise VersionError(
                f"version {self.label} was trained on {told}; train again on what is measured now, or correct ingest"
            )

    def forecast(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Forecast from one context.

        Args:
            scaled: (context, n_channels), float32.

        Returns:
            (horizon, n_channels) three times, physical units: the forecast, the lower and the upper bound.

        Raises:
            VersionError: the forecast is not finite.
        """
        import torch

        with torch.inference_mode():
            found = self.model(torch.from_numpy(np.ascontiguousarray(scaled))[None])[0].numpy().astype(np.float64)
        if not np.isfinite(found).all():
            raise VersionError(f"version {self.label} forecasts values that are not finite; promote another version")
        half = self.conformal.half_width
        predicted, lower, upper = (
            self.scaler.inverse(one, self.channels) for one in (found, found - half, found + half)
        )
        return predicted, lower, upper


def read_version(ref: VersionRef) -> Version:
    """Verify and load a version.

    Raises:
        VersionError: a file is missing, altered or not listed, or its parts do not fit together.
        FileNotFoundError: no version lies there.
    """
    from foresense.evaluate.conformal import read_conformal
    from foresense.models import load_model

    verify_version(ref.folder)
    windowing = read_json(ref.folder / "windowing.json")
    version = Version(
        label=ref.label,
        channels=tuple(windowing["channels"]),
        units=tuple(windowing["units"]),
        context=windowing["context"],
        horizon=windowing["horizon"],
        interval_s=windowing["interval_s"],
        scaler=read_scaler(ref.folder / "scaler.json"),
        conformal=read_conformal(ref.folder / "conformal.json"),
        model=load_model(ref.folder / "model"),
    )
    version.scaler.require(version.channels)
    asked, found = (version.horizon, len(version.channels)), version.conformal.half_width.shape
    if version.conformal.channels != version.channels or found != asked:
        raise VersionError(
            f"{ref.folder}: conformal.json has channels {list(version.conformal.channels)} and half widths {found}, "
            f"windowing.json asks for {list(version.channels)} and {asked}; build the version again"
        )
    return version


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
