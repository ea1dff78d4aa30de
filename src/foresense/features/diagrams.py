"""Numbers of persistence diagrams, and the diagram of a function on a line.

A diagram is an array (n_bars, 2) of births and deaths, both finite, in the unit of what was filtered. The lifetime of a
bar is its death minus its birth.
"""

import numpy as np


def sublevel_bars(values: np.ndarray) -> np.ndarray:
    """Finite bars of the connected components of the sublevel sets {values <= level} on a path, exactly.

    Every local minimum (an end of the path can be one) is born at its value and dies at the lowest maximum over which
    it meets a lower one: the elder rule (Edelsbrunner and Harer 2010, VII.1). The lowest minimum never dies and is left
    out. Vectorised down to the alternating extrema; these pass a stack whose maxima fall, so the whole is O(n).

    Args:
        values: (n,), finite.

    Returns:
        (n_bars, 2), in the order of death along the path; one bar fewer than there are local minima.
    """
    steps = np.concatenate([[True], values[1:] != values[:-1]])
    course = values[steps]
    rises = np.concatenate([[False], course[1:] > course[:-1], [True]])  # as if walls stood at both ends
    minima = course[~rises[:-1] & rises[1:]].tolist()
    maxima = course[1:-1][rises[1:-2] & ~rises[2:-1]].tolist()
    bars: list[tuple[float, float]] = []
    alive: list[float] = minima[:1]
    walls: list[float] = []
    for wall, minimum in zip([*maxima, np.inf], [*minima[1:], np.inf], strict=True):
        while walls and walls[-1] <= wall:
            right, left = alive.pop(), alive.pop()
            bars.append((max(left, right), walls.pop()))
            alive.append(min(left, right))
        walls.append(wall)
        alive.append(minimum)
    return np.array(bars, float).reshape(-1, 2)


def longer_than(bars: np.ndarray, epsilon: float) -> np.ndarray:
    """Bars (n_bars, 2) with a lifetime above `epsilon`, the longest first; equal ones by birth."""
    kept = bars[lifetimes(bars) > epsilon]
    found: np.ndarray = kept[np.lexsort((kept[:, 0], -lifetimes(kept)))]
    return found


def lifetimes(bars: np.ndarray) -> np.ndarray:
    """Death minus birth of each of (n_bars, 2)."""
    found: np.ndarray = bars[:, 1] - bars[:, 0]
    return found


def entropy(lives: np.ndarray) -> float:
    """Persistence entropy, nats, of lifetimes (n_bars,) as shares of their sum (Atienza et al. 2020); 0 for no bar."""
    if not len(lives):
        return 0.0
    shares = lives / lives.sum()
    return float(-(shares * np.log(shares)).sum()) + 0.0  # one bar: 0, not -0


def landscape_norm(bars: np.ndarray) -> float:
    """L2 norm of the first persistence landscape (Bubenik 2015), in closed form; 0 for no bar.

    The landscape is the upper envelope of one tent for each bar, min(t - birth, death - t). A bar inside of another
    adds nothing. In the chain of the others births and deaths both rise, so at any level the tents first rise and then
    fall along the chain, and the square of the largest is the sum of all squares less the squares of the smaller of
    each two neighbours, which is the tent over their overlap. A tent of length l has the squared integral l^3 / 12.

    Args:
        bars: (n_bars, 2).

    Returns:
        In the unit of the bars to the power 3/2.
    """
    by_birth = bars[np.lexsort((-bars[:, 1], bars[:, 0]))]
    births, deaths = by_birth[:, 0], by_birth[:, 1]
    reached = np.maximum.accumulate(np.concatenate([[-np.inf], deaths]))[:-1]
    births, deaths = births[deaths > reached], deaths[deaths > reached]
    overlaps = np.maximum(deaths[:-1] - births[1:], 0)
    return float(np.sqrt(max(((deaths - births) ** 3).sum() - (overlaps**3).sum(), 0) / 12))
