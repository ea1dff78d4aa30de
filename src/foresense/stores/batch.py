"""What goes into a store and comes out of one: samples of any assets, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    import numpy as np


class StoreError(RuntimeError):
    """A store cannot do what was asked; the message says what, where, and what to do."""


class StoreUnavailableError(StoreError):
    """The store did not answer, is overloaded, or does not let us in: keep what was to be written, and try later.

    Attributes:
        retry_after_s: Seconds that the store asked to be left alone; None where it did not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NoDatabaseError(StoreUnavailableError):
    """The server is there, and the database or bucket is not; `Store.prepare` makes it."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of any assets; one row for each asset and time, in any order.

    Attributes:
        assets: Names.
        asset_index: (n_rows,), int32: which of `assets`.
        times_ns: (n_rows,), int64: nanoseconds since 1970 UTC.
        channels: Names.
        values: (n_rows, n_channels), float64, finite; NaN where not measured, which is never written.

    Raises:
        ValueError: shapes that do not fit together.
    """

    assets: tuple[str, ...]
    asset_index: np.ndarray
    times_ns: np.ndarray
    channels: tuple[str, ...]
    values: np.ndarray

    def __post_init__(self) -> None:
        n_rows = len(self.times_ns)
        if self.asset_index.shape != (n_rows,) or self.values.shape != (n_rows, len(self.channels)):
            raise ValueError(
                f"a batch of {n_rows} times and {len(self.channels)} channels needs asset_index ({n_rows},) and values "
                f"({n_rows}, {len(self.channels)}), found {self.asset_index.shape} and {self.values.shape}"
            )

    def __len__(self) -> int:
        return len(self.times_ns)

    @property
    def n_points(self) -> int:
        """Values that are there."""
        import numpy as np

        return int((~np.isnan(self.values)).sum())

    def rows(self, keep: np.ndarray | slice) -> Batch:
        """The rows `keep` (positions, a mask or a slice), in that order."""
        return Batch(self.assets, self.asset_index[keep], self.times_ns[keep], self.channels, self.values[keep])

    @classmethod
    def of_asset(cls, asset: str, times_ns: np.ndarray, channels: tuple[str, ...], values: np.ndarray) -> Batch:
        """Samples of one asset: `times_ns` (n,), int64; `values` (n, n_channels), as in `Batch`.

        Raises:
            ValueError: shapes that do not fit together.
        """
        import numpy as np

        return cls((asset,), np.zeros(len(times_ns), np.int32), times_ns, channels, values)


class RefusedRow(NamedTuple):
    """A row that the store will never take, none of its channels.

    Attributes:
        row: Position in the batch.
        reason: What the store said.
    """

    row: int
    reason: str


class Store(Protocol):
    """Keeps samples by asset, time and channel; of two values for one of these the one written last holds."""

    def prepare(self) -> None:
        """Make the database or bucket where there is none; an existing one is never changed.

        Raises:
            StoreUnavailableError: no answer; try later.
            StoreError: it cannot be made.
        """
        ...

    def write(self, batch: Batch) -> list[RefusedRow]:
        """Keep every row for good before returning; writing a batch twice is the same as once.

        Returns:
            The rows that were not taken and never will be, with the reason; all others are kept.

        Raises:
            NoDatabaseError: there is no such database or bucket; nothing was kept.
            StoreUnavailableError: nothing is known of this batch; write it again later.
        """
        ...

    def read(
        self,
        asset: str,
        start_ns: int,
        end_ns: int,
        *,
        channels: tuple[str, ...],
        every_ns: int | None = None,
        origin_ns: int = 0,
    ) -> Batch:
        """Samples of one asset with `start_ns` <= time < `end_ns`, in order of time.

        Args:
            asset: Name.
            start_ns: Nanoseconds since 1970 UTC.
            end_ns: The same.
            channels: Which; one that the store does not know is NaN throughout.
            every_ns: Means over intervals so long, at the time of their beginning; absent: the samples themselves.
                The first may begin before `start_ns`; it is the mean of what lies after that. An interval without a
                sample has no row, and a channel without one is NaN: gaps stay gaps.
            origin_ns: Intervals begin here and every `every_ns` before and after.

        Raises:
            StoreError: no such asset is an empty batch, everything else that keeps the answer away is an error.
        """
        ...

    def assets(self) -> dict[str, tuple[int, int]]:
        """Every asset that has samples, with the times of its first and last one (nanoseconds since 1970 UTC)."""
        ...

    def delete(self, start_ns: int, end_ns: int, asset: str | None = None) -> None:
        """Remove samples with `start_ns` <= time < `end_ns`, of one asset or of all."""
        ...

    def close(self) -> None:
        """Let go of connections and locks."""
        ...


class SeriesStore(Store, Protocol):
    """A store that can be looked into series by series, and lose single channels; what a migration needs."""

    @property
    def place(self) -> str:
        """Where the samples are, in words; equal for two that are the same store."""
        ...

    def exists(self) -> bool:
        """Whether it can be read; a store that does not exist has no samples."""
        ...

    def sensor_types(self) -> tuple[str | None, ...]:
        """Values of the tag `sensor_type`, "" for series without it; a store without tags has None alone."""
        ...

    def view(self, sensor_type: str | None) -> Self:
        """The store with that value of the tag alone, for reading, writing and removing; None is the store itself.

        It is closed with the store.
        """
        ...

    def channels(self) -> tuple[str, ...]:
        """Every channel of numbers that the store has a place for, in order of the alphabet."""
        ...

    def n_values(self, asset: str, start_ns: int, end_ns: int, channels: Sequence[str]) -> int:
        """How many values are there; at least as many as `read` gives."""
        ...

    def erase(self, asset: str, times_ns: np.ndarray, channels: Sequence[str]) -> None:
        """Remove the values of `channels` at these times; every other value stays, also after a crash in the middle.

        Args:
            asset: Name.
            times_ns: (n,), int64, in order of time.
            channels: Names; one that the store does not know has nothing to remove.

        Raises:
            StoreError: the store cannot do this and keep the rest; then nothing was removed.
        """
        ...

    def mend(self, *, apply: bool = True) -> int:
        """Bring to an end what a killed `erase` left; the store must have no other writer meanwhile.

        Args:
            apply: False changes nothing.

        Returns:
            How many rows were waiting for it.
        """
        ...
