"""Learning rates as functions of the step, so that a resumed run needs no state of a schedule."""

import math
from typing import Literal

Schedule = Literal["constant", "onecycle", "cosine"]


def rate_at(step: int, *, n_steps: int, peak: float, schedule: Schedule) -> float:
    """Learning rate of optimizer step `step`.

    Args:
        step: 0 ... n_steps - 1.
        n_steps: Optimizer steps of the whole training.
        peak: The candidate's learning rate.
        schedule: `constant`; `cosine` from the peak to 0; `onecycle` as `torch.optim.lr_scheduler.OneCycleLR` with its
            default shape (start at peak / 25, peak after 30 % of the steps, end at peak / 250,000, cosine both ways).

    Source of `onecycle`: Smith and Topin, Super-Convergence, arXiv:1708.07120; the shape is PyTorch's.
    """
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return peak * _cosine(1.0, 0.0, step / max(1, n_steps))
    turn = 0.3 * n_steps - 1
    start, end = peak / 25, peak / 25 / 1e4
    if step <= turn:
        return _cosine(start, peak, step / turn)
    return _cosine(peak, end, (step - turn) / (n_steps - 1 - turn))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
