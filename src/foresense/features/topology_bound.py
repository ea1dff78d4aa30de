"""The family `wrist_topology` with the bound of its landmarks, and what that bound says of many windows.

The family of the catalog gives numbers alone. Here the same call of `topological_features` gives both: no diagram is
computed a second time.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from foresense.features.contexts import Contexts, Features
from foresense.features.topological import (
    H1_MAX,
    TopologicalResult,
    bound_in_words,
    require_same_backend,
    topological_features,
)
from foresense.features.wrist_topology import topological


def topological_with_bound(contexts: Contexts) -> tuple[Features, TopologicalResult]:
    """What `wrist_topology` gives of these contexts, bit for bit, and the result that it comes from.

    Args:
        contexts: (n, context, 3), in g, gravity included.

    Raises:
        ValueError: what `wrist_topology` refuses.
    """
    none = topological(replace(contexts, samples=contexts.samples[:0]))  # checks the units, and names the columns
    result = topological_features(contexts.samples, 1 / contexts.interval_s)
    return replace(none, values=result.values), result


def joined(results: Sequence[TopologicalResult]) -> TopologicalResult:
    """Results of several batches of windows as one, in their order.

    Raises:
        ValueError: no result, two backends, or clouds of two sizes.
    """
    if not results:
        raise ValueError("no topological results to join; compute the features of at least one window")
    first = results[0]
    for one in results[1:]:
        require_same_backend(first.backend, one.backend)
        if one.n_points != first.n_points:
            raise ValueError(f"clouds of {first.n_points} and of {one.n_points} points: windows of one length have one")
    return replace(
        first,
        values=np.concatenate([one.values for one in results]),
        bound=np.concatenate([one.bound for one in results]),
        is_degenerate=np.concatenate([one.is_degenerate for one in results]),
    )


def bound_facts(result: TopologicalResult) -> dict[str, Any]:
    """What a report says of the landmarks of at least one window.

    Returns:
        `backend`; `n_points` of a cloud; `n_windows`; `share_within_bound`: of the windows, those whose longest loop is
        not longer than the bound; `bound_g` and `longest_loop_g`, each with `p50` and `p95`; `statement`, the same in
        words.
    """
    longest = result.values[:, H1_MAX]
    return {
        "backend": result.backend,
        "n_points": result.n_points,
        "n_windows": len(longest),
        "share_within_bound": float(np.mean(result.bound >= longest)),
        "bound_g": _percentiles(result.bound),
        "longest_loop_g": _percentiles(longest),
        "statement": bound_in_words(result),
    }


def _percentiles(values: np.ndarray) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(values, share)), 6) for share in (50, 95)}
