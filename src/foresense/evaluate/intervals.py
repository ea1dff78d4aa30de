"""Intervals for means of dependent errors."""

import numpy as np

N_RESAMPLES = 2000


def block_bootstrap(
    values: np.ndarray,
    *,
    block: int,
    rng: np.random.Generator,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
) -> tuple[float, float]:
    """Percentile interval of the mean of a dependent sequence, by the circular block bootstrap.

    Overlapping windows have dependent errors, so whole blocks of neighbours are drawn, not single windows.

    Args:
        values: (n,), in order of time.
        block: Neighbours drawn together; at least the number of windows that share a target.
        rng: Where the randomness comes from.
        level: Share of the resampled means inside the interval.
        n_resamples: How many means are drawn.

    Returns:
        Lower and upper bound, in the unit of `values`.

    Raises:
        ValueError: no values, or a block that is shorter than 1 or longer than the sequence.

    Source: Politis and Romano, A circular block-resampling procedure for stationary data, 1992.
    """
    n = len(values)
    if n == 0 or not 1 <= block <= n:
        raise ValueError(
            f"a bootstrap needs values and a block of 1 to all of them, found {n} values and block {block}"
        )
    n_blocks = -(-n // block)
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[: block - 1]]))])
    of_block = (sums[block:] - sums[:-block])[:n] / block  # mean of the block that begins at each value, around the end
    means = of_block[rng.integers(0, n, (n_resamples, n_blocks))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
