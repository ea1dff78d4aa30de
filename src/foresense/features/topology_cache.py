"""Topological features that were computed before, found again by the digest of a window and the parameters."""

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foresense.signals import write_bytes

DIGEST_BYTES = 16


@dataclass(frozen=True, eq=False)
class Found:
    """Values (n, n_values) and bounds (n,) of some windows."""

    values: np.ndarray
    bound: np.ndarray


class TopologyCache:
    """One file for one set of parameters, replaced as a whole after each call that computed something.

    Two processes that write at once do not harm the file; what the first of them added can be lost and is then computed
    again.

    Args:
        folder: Where the file lies; made when it is first written.
        parameters: All that decides the values beside the window, as text.
        n_values: Values of one window.
    """

    def __init__(self, folder: Path, parameters: str, *, n_values: int) -> None:
        self.path = folder / f"{hashlib.sha256(parameters.encode()).hexdigest()[:16]}.npz"
        self.n_values = n_values

    def fill(self, windows: np.ndarray, compute: Callable[[np.ndarray], Found]) -> Found:
        """Values of `windows`; what is not in the file is computed, each window once, and added to it.

        Args:
            windows: (n, length, n_channels); n_channels is the same in all calls.
            compute: Gives the values of those windows that are new.

        Raises:
            ValueError: the file is damaged, or of another shape; says to delete it.
        """
        digests = [_digest(window) for window in windows]
        known, kept = self._read()
        rows = {digest: row for row, digest in enumerate(known)}
        new = {digest: index for index, digest in enumerate(digests) if digest not in rows}
        if new:
            added = compute(windows[list(new.values())])
            kept = Found(np.concatenate([kept.values, added.values]), np.concatenate([kept.bound, added.bound]))
            known = [*known, *new]
            rows = {digest: row for row, digest in enumerate(known)}
            self._write(known, kept)
        wanted = [rows[digest] for digest in digests]
        return Found(kept.values[wanted], kept.bound[wanted])

    def _read(self) -> tuple[list[bytes], Found]:
        if not self.path.is_file():
            return [], Found(np.empty((0, self.n_values)), np.empty(0))
        try:
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as file:
                digests, values, bound = file["digests"], file["values"], file["bound"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.path}: not a cache of topological features ({error}); delete it") from error
        n = len(digests)
        shapes = (digests.shape, values.shape, bound.shape)
        expected = ((n, DIGEST_BYTES), (n, self.n_values), (n,))
        if shapes != expected:
            raise ValueError(f"{self.path}: expected arrays of the shapes {expected}, found {shapes}; delete it")
        return [row.tobytes() for row in digests], Found(values, bound)

    def _write(self, digests: list[bytes], found: Found) -> None:
        content = io.BytesIO()
        table = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)
        np.savez(content, digests=table, values=found.values, bound=found.bound)
        write_bytes(self.path, content.getvalue())


def _digest(window: np.ndarray) -> bytes:
    """Of the numbers of one window, whatever float type and layout they came in."""
    return hashlib.blake2b(np.ascontiguousarray(window, np.float64).tobytes(), digest_size=DIGEST_BYTES).digest()
