"""What every feature family takes and returns."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from foresense.signals import Windows


@dataclass(frozen=True, eq=False)
class Contexts:
    """A batch of contexts: what is known when a forecast is issued, and nothing later.

    Attributes:
        samples: (n, context, n_channels), float64, physical units.
        imputed: (n, context, n_channels), bool: not measured but filled in.
        issued_s: (n,), int64: seconds since 1970 UTC of the newest sample of each context.
        channels: Name of each channel.
        units: Physical unit of each channel.
        interval_s: Seconds from one sample to the next.
        time_zone: IANA name of local time.
    """

    samples: np.ndarray
    imputed: np.ndarray
    issued_s: np.ndarray
    channels: tuple[str, ...]
    units: tuple[str, ...]
    interval_s: float
    time_zone: str


@dataclass(frozen=True, eq=False)
class Features:
    """Named numbers, one row per context.

    Attributes:
        names: (n_features), each once.
        units: Unit of each name.
        values: (n, n_features), float64, finite.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray


class Family(Protocol):
    """One family of features: a pure function, vectorised over contexts."""

    def __call__(self, contexts: Contexts) -> Features:
        """Features of every context of the batch."""


def read_contexts(windows: Windows, starts: np.ndarray, *, chunk_values: int = 2**20) -> Iterator[Contexts]:
    """Contexts of the windows that begin at `starts`, in chunks, back in physical units.

    Args:
        windows: One group.
        starts: (n,), int64, rows of `windows.samples`.
        chunk_values: Most values (windows x samples x channels) of one chunk; bounds the memory held.

    Yields:
        One chunk after the other, in the order of `starts`.
    """
    n_channels = len(windows.channels)
    size = max(1, chunk_values // (windows.length * n_channels))
    rows = np.arange(windows.context)
    for first in range(0, len(starts), size):
        chunk = starts[first : first + size]
        scaled = windows.gather(chunk)[:, : windows.context]
        imputed = np.zeros(scaled.shape, bool) if windows.imputed is None else windows.imputed[chunk[:, None] + rows]
        yield Contexts(
            samples=windows.scaler.inverse(scaled.astype(np.float64), windows.channels),
            imputed=imputed,
            issued_s=windows.row_times_s[chunk + windows.context - 1],
            channels=windows.channels,
            units=windows.units,
            interval_s=windows.interval_s,
            time_zone=windows.time_zone,
        )
