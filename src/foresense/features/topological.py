"""The 24 topological features of a wrist window: 12 of dimension 0, 12 of dimension 1.

The magnitude of a window, in g, is low-passed and decimated to at most 50 Hz, and looked at in two ways:

- `dips`: the sublevel-set persistence of the magnitude itself, exact: how far each dip lies below the lowest way to a
  deeper one.
- `cloud`: the Takens embedding (3 coordinates, 100 ms apart) and the Vietoris-Rips persistence of landmarks of it, in
  the convention of ripser: two points are joined at their distance.

Of n distinct points, dimension 0 of a cloud has n - 1 finite bars, all born at 0: their number is a constant, and sum,
L2 norm, area and gap follow from their mean, deviation and ratios. These five are therefore taken from the dips; the
other seven of dimension 0, and all of dimension 1, from the cloud. `spec/activity.md`, D2 lists 13 for dimension 1: its
Betti-1 area is the sum of the lifetimes and is left out; the Betti-0 area is divided by the range for the same reason.

A bar counts when it is longer than EPSILON_G. What a window without such a bar has is 0, and the window is flagged.
Names, units and formulas: docs/glossary.md, features.json.
"""

import math
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from foresense.features.clouds import (
    DIMENSION,
    decimated,
    decimation,
    delay_samples,
    distances,
    embed,
    farthest_points,
    magnitudes,
)
from foresense.features.diagrams import entropy, landscape_norm, lifetimes, longer_than, sublevel_bars
from foresense.features.topology_cache import Found, TopologyCache

VERSION = 1
EPSILON_G = 0.001  #: far above rounding, below the step of a wrist sensor (1/256 g in the AX3 of CAPTURE-24)
N_LANDMARKS = 100
BACKENDS = ("ripser",)
FEWEST_POINTS = 10  #: of a cloud
CHUNK = 32  #: windows whose clouds and distances stay in the cache of a core
SHARED = ("n_bars", "max", "mean", "std", "sum", "l2", "entropy", "second_ratio", "third_ratio")
NAMES = (
    *(f"h0_{name}" for name in (*SHARED, "median", "gap", "betti_area")),
    *(f"h1_{name}" for name in (*SHARED, "midlife", "periodicity", "landscape_l2")),
)
_SHARED_UNITS = ("bars", "g", "g", "g", "g", "g", "nat", "1", "1")
UNITS = (*_SHARED_UNITS, "g", "g", "1", *_SHARED_UNITS, "g", "1", "g^1.5")
H1_MAX = NAMES.index("h1_max")


@dataclass(frozen=True, eq=False)
class TopologicalResult:
    """The features of some windows, and how far to trust them.

    Attributes:
        values: (n, 24), float64, finite.
        names: Of the columns.
        bound: (n,), in g: the bottleneck distance between a diagram of the landmarks and the same of the whole cloud is
            at most this, twice the covering radius of the landmarks; 0 where every point is a landmark. Landmarks that
            cover within r have a Gromov-Hausdorff distance of at most r from the cloud, and Rips diagrams differ by at
            most twice that (Chazal, de Silva and Oudot 2014, "Persistence stability for geometric complexes"). The dips
            have no such error.
        is_degenerate: (n,), bool: no bar, of the dips or of the cloud, is longer than EPSILON_G: the row is all 0.
        n_points: Points of each cloud before landmarks were chosen.
        backend: What the numbers depend on beside the window: see `require_same_backend`.
    """

    values: np.ndarray
    names: tuple[str, ...]
    bound: np.ndarray
    is_degenerate: np.ndarray
    n_points: int
    backend: str


def topological_features(
    windows: np.ndarray,
    rate_hz: float,
    *,
    n_landmarks: int = N_LANDMARKS,
    backend: str = "ripser",
    workers: int = 1,
    cache: Path | None = None,
) -> TopologicalResult:
    """The 24 features of every window; a window's numbers have the same bits in any batch, order and process.

    Args:
        windows: (n, length, 3), float, in g, gravity included.
        rate_hz: Samples per second.
        n_landmarks: Points of each cloud that the backend sees: what decides the cost, and `bound`.
        backend: Name in BACKENDS.
        workers: Processes; never more are started than this process may use cores. 1: in this process.
        cache: Folder for values by the digest of window and parameters; absent: nothing is kept.

    Raises:
        TypeError: `windows` is not an array of numbers.
        ValueError: wrong shape, too short, not finite, apparently not in g; or a parameter out of its range.
        ImportError: the backend is not installed; the message says which extra to install.
    """
    _require_parameters(rate_hz, n_landmarks, backend, workers)
    require_windows(windows, rate_hz)
    library = _ripser_version()
    n_points = _n_points(windows.shape[1], rate_hz)
    compute = partial(_in_chunks, rate_hz=rate_hz, n_landmarks=n_landmarks, workers=workers)
    if cache is None:
        found = compute(windows)
    else:
        parameters = f"{VERSION} {EPSILON_G} {float(rate_hz)} {n_landmarks} {backend} {library}"
        found = TopologyCache(cache, parameters, n_values=len(NAMES)).fill(windows, compute)
    return TopologicalResult(
        values=found.values,
        names=NAMES,
        bound=found.bound,
        is_degenerate=(found.values == 0).all(axis=1),
        n_points=n_points,
        backend=f"{backend}, {n_landmarks} landmarks, topology version {VERSION}",
    )


def landmark_diagrams(signal: np.ndarray, rate_hz: float, n_landmarks: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Diagrams of the landmarks of one signal's cloud, and the bound of both against those of the whole cloud.

    Args:
        signal: (length,), a magnitude, not decimated here.
        rate_hz: Of `signal`.
        n_landmarks: As in `topological_features`.

    Returns:
        Finite bars of dimension 0 and 1, (n_bars, 2) each, in the unit of the signal; the bound in that unit.
    """
    cloud = embed(signal[None], delay_samples(rate_hz))
    chosen, radius = farthest_points(cloud, n_landmarks)
    h0, h1 = rips_bars(distances(cloud[0][:, chosen[0]]))
    return h0, h1, 2 * float(radius[0])


def rips_bars(between: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finite Vietoris-Rips bars of dimension 0 and 1, (n_bars, 2) each, of a distance matrix (n, n), by ripser.

    The component that never dies is left out. ripser computes in float32: a bar's ends are right to 6e-8 of their size.
    Its compiled part is called as its own Python part calls it, which would import scikit-learn, scipy and pandas for a
    distance matrix that is here already: three seconds in every process, on a device too.

    Args:
        between: 0 on its diagonal.

    Raises:
        ImportError: ripser is not installed.
    """
    above = between[np.triu_indices(len(between), 1)].astype(np.float32)
    found = _compiled_ripser()(above, 1, np.inf, 2, False)["births_and_deaths_by_dim"]
    h0, h1 = (np.array(bars).reshape(-1, 2) for bars in found)
    return h0[np.isfinite(h0[:, 1])], h1


def require_same_backend(a: str, b: str) -> None:
    """Refuse numbers of two backends in one table, model or comparison.

    Args:
        a: `TopologicalResult.backend`, or the same as an artefact recorded it.
        b: The other one.

    Raises:
        ValueError: they differ.
    """
    if a != b:
        raise ValueError(
            f"topological features of two backends: {a!r} and {b!r}; their numbers are not on one scale. Compute both "
            "with one of them, or train again on the other"
        )


def bound_in_words(result: TopologicalResult) -> str:
    """Say in plain words what the bound of these windows allows to claim about loops.

    A loop of the landmarks that is longer than the bound is one of the whole cloud too: the landmarks are part of the
    cloud, and moving every point to its nearest landmark leaves these where they are and stretches no distance by more
    than the bound. Of a shorter loop the theorem says nothing.
    """
    n = len(result.values)
    if not n:
        return "No window: nothing to say about the landmarks."
    if not result.bound.any():
        return f"Every point of all {n} clouds is a landmark: the diagrams are those of the whole cloud."
    longest = result.values[:, H1_MAX]
    unsure = int((result.bound >= longest).sum())
    middle = f"median of the bound {np.median(result.bound):.3f} g, of the longest loop {np.median(longest):.3f} g"
    if not unsure:
        return f"In all {n} windows the longest loop is longer than the bound ({middle}): it is in the whole cloud too."
    return (
        f"In {unsure} of {n} windows ({unsure / n:.0%}) the bound is at least as long as the longest loop ({middle}): "
        "there the theorem does not say that the whole cloud has a loop; the features are those of the landmarks."
    )


def require_windows(windows: np.ndarray, rate_hz: float) -> None:
    """Check windows of the wrist: an array (n, length, 3) of finite numbers in g, long enough for a cloud.

    Raises:
        TypeError: not an array of numbers.
        ValueError: says what, expected, found, and in which window.
    """
    if not isinstance(windows, np.ndarray) or windows.dtype.kind not in "fiu":
        kind = f"array of {windows.dtype}" if isinstance(windows, np.ndarray) else type(windows).__name__
        raise TypeError(f"windows: expected a numpy array of numbers (n_windows, length, 3) in g, found {kind}")
    if windows.ndim != 3 or windows.shape[2] != 3:
        raise ValueError(f"windows: expected the shape (n_windows, length, 3), found {windows.shape}")
    if _n_points(windows.shape[1], rate_hz) < FEWEST_POINTS:
        raise ValueError(
            f"windows: {windows.shape[1]} samples at {rate_hz:g} Hz are too short for a cloud of {FEWEST_POINTS} "
            "points; use longer windows"
        )
    broken = np.flatnonzero(~np.isfinite(windows).all(axis=(1, 2)))
    if len(broken):
        raise ValueError(
            f"windows: {len(broken)} of {len(windows)} hold NaN or infinity, the first is window {broken[0]}; fill or "
            "drop them before"
        )
    middle = np.median(magnitudes(windows), axis=1)
    other = np.flatnonzero((middle > 7) & (middle < 13))
    if len(other):
        raise ValueError(
            f"windows: expected g (a resting sensor reads 1), found a median magnitude of {middle[other[0]]:.2f} in "
            f"window {other[0]} ({len(other)} such windows): it looks like m/s2; divide by 9.80665"
        )


def _require_parameters(rate_hz: float, n_landmarks: int, backend: str, workers: int) -> None:
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz: expected a positive number of samples per second, found {rate_hz}")
    if n_landmarks < 4:
        raise ValueError(f"n_landmarks: expected at least 4, the fewest points of a loop, found {n_landmarks}")
    if workers < 1:
        raise ValueError(f"workers: expected at least 1, found {workers}")
    if backend not in BACKENDS:
        raise ValueError(
            f"backend: no topology backend {backend!r} (known: {', '.join(BACKENDS)}); there is no approximation "
            "without one, because its numbers would be on another scale"
        )


def _n_points(length: int, rate_hz: float) -> int:
    factor = decimation(rate_hz)
    return -(-length // factor) - (DIMENSION - 1) * delay_samples(rate_hz / factor)


def _in_chunks(windows: np.ndarray, *, rate_hz: float, n_landmarks: int, workers: int) -> Found:
    chunks = [windows[first : first + CHUNK] for first in range(0, len(windows), CHUNK)]
    compute = partial(_of_chunk, rate_hz=rate_hz, n_landmarks=n_landmarks)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with _mapped(min(workers, usable, len(chunks))) as over:
        found = list(over(compute, chunks))
    return Found(
        values=np.concatenate([np.empty((0, len(NAMES))), *(one.values for one in found)]),
        bound=np.concatenate([np.empty(0), *(one.bound for one in found)]),
    )


@contextmanager
def _mapped(workers: int) -> Iterator[Any]:
    """`map`, here or over processes; they are spawned, since a fork beside threads can hang."""
    if workers <= 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool.map


def _of_chunk(windows: np.ndarray, *, rate_hz: float, n_landmarks: int) -> Found:
    factor = decimation(rate_hz)
    signals = decimated(magnitudes(windows), factor)
    clouds = embed(signals, delay_samples(rate_hz / factor))
    chosen, radius = farthest_points(clouds, n_landmarks)
    values = [_of_window(*of_one) for of_one in zip(signals, clouds, chosen, strict=True)]
    return Found(values=np.array(values), bound=2 * radius)


def _of_window(signal: np.ndarray, cloud: np.ndarray, chosen: np.ndarray) -> list[float]:
    """The 24 values of a magnitude (length,), its cloud (3, n_points) and the indices of the landmarks."""
    merges, loops = (longer_than(bars, EPSILON_G) for bars in rips_bars(distances(cloud[:, chosen])))
    dips = longer_than(sublevel_bars(signal), EPSILON_G)
    depths, lives = lifetimes(dips), lifetimes(loops)
    longest = lives[0] if len(lives) else 0.0
    h0 = {**_shared(lifetimes(merges)), **_amplitudes(depths)}
    return [
        *(h0[name] for name in SHARED),
        float(np.median(lifetimes(merges))) if len(merges) else 0.0,
        float(depths[0] - depths[1:2].sum()) if len(depths) else 0.0,
        float(depths.sum() / np.ptp(signal)) if len(depths) else 0.0,
        *_shared(lives).values(),
        float(loops[0].mean()) if len(loops) else 0.0,
        float(longest / (math.sqrt(3) * _radius(cloud))) if longest else 0.0,
        landscape_norm(loops),
    ]


def _shared(lives: np.ndarray) -> dict[str, float]:
    """The statistics of SHARED of lifetimes, the longest first; all 0 where there is none."""
    if not len(lives):
        return dict.fromkeys(SHARED, 0.0)
    amplitudes = _amplitudes(lives)
    return {
        "n_bars": amplitudes["n_bars"],
        "max": float(lives[0]),
        "mean": float(lives.mean()),
        "std": float(lives.std()),
        "sum": amplitudes["sum"],
        "l2": amplitudes["l2"],
        "entropy": entropy(lives),
        "second_ratio": float(lives[1] / lives[0]) if len(lives) > 1 else 0.0,
        "third_ratio": float(lives[2] / lives[0]) if len(lives) > 2 else 0.0,
    }


def _amplitudes(lives: np.ndarray) -> dict[str, float]:
    return {"n_bars": float(len(lives)), "sum": float(lives.sum()), "l2": math.sqrt(float(np.square(lives).sum()))}


def _radius(points: np.ndarray) -> float:
    """Root mean square distance of points (3, n) from their mean."""
    return math.sqrt(float(np.var(points, axis=1).sum()))


def _compiled_ripser() -> Any:
    try:
        from pyRipser import doRipsFiltrationDM
    except ImportError as error:
        raise ImportError(
            "topological features need the extra 'topology': pip install 'foresense[topology]'"
        ) from error
    return doRipsFiltrationDM


def _ripser_version() -> str:
    _compiled_ripser()
    return version("ripser")
