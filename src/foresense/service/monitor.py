"""How fast the service has answered lately, and how often it has not."""

import logging
from collections import deque
from statistics import fmean
from typing import Literal, NamedTuple, TypedDict

import numpy as np

log = logging.getLogger(__name__)

#: Answered predictions that the warning looks at; it comes only after more than so many.
N_RECENT = 100


class NoData(TypedDict):
    """Nothing has been logged yet."""

    status: Literal["no_data"]


class MonitorStats(TypedDict):
    """What the window of the newest predictions says.

    Attributes:
        avg_latency_ms: Mean over answered predictions; None where the window holds none.
        p95_latency_ms: 95th percentile of the same, linear between two of them.
        error_rate: Share of the predictions that failed, 0 to 1.
        total_predictions: All since the start, answered or failed; not only those of the window.
    """

    avg_latency_ms: float | None
    p95_latency_ms: float | None
    error_rate: float
    total_predictions: int


class _Prediction(NamedTuple):
    latency_ms: float
    success: bool


class ActigraphyMonitor:
    """Latency and failures of the newest predictions; its memory does not grow.

    Latencies of failures are kept out of the latency figures: one that fails at once would make the service look fast,
    one that ran into the time limit is a failure and not a slow answer.

    Args:
        window: Newest predictions that the figures are about.
        slow_ms: A mean over the last 100 answered predictions above it is warned of: once, and again only after the
            mean has been at or below it.
    """

    def __init__(self, window: int = 1000, slow_ms: float = 1000.0) -> None:
        if window < 1:
            raise ValueError(f"window: expected at least 1 prediction, found {window}")
        self._slow_ms = slow_ms
        self._predictions: deque[_Prediction] = deque(maxlen=window)
        self._recent_ms: deque[float] = deque(maxlen=N_RECENT)
        self._n_answered = 0
        self._n_failed = 0
        self._is_slow = False

    def log_prediction(self, latency_ms: float, success: bool) -> None:
        """Take one prediction into account.

        Raises:
            ValueError: a latency that is negative or no number.
        """
        if not 0 <= latency_ms < float("inf"):
            raise ValueError(f"latency_ms: expected a finite time of at least 0 ms, found {latency_ms}")
        self._predictions.append(_Prediction(latency_ms, success))
        if not success:
            self._n_failed += 1
            return
        self._n_answered += 1
        self._recent_ms.append(latency_ms)
        if self._n_answered > N_RECENT:
            self._warn_if_slow()

    def get_stats(self) -> MonitorStats | NoData:
        """The figures of the window; `{"status": "no_data"}` before the first prediction."""
        if not self._predictions:
            return {"status": "no_data"}
        answered_ms = [one.latency_ms for one in self._predictions if one.success]
        n_failed = len(self._predictions) - len(answered_ms)
        return {
            "avg_latency_ms": fmean(answered_ms) if answered_ms else None,
            "p95_latency_ms": float(np.percentile(answered_ms, 95)) if answered_ms else None,
            "error_rate": n_failed / len(self._predictions),
            "total_predictions": self._n_answered + self._n_failed,
        }

    def _warn_if_slow(self) -> None:
        mean_ms = fmean(self._recent_ms)
        was_slow, self._is_slow = self._is_slow, mean_ms > self._slow_ms
        if self._is_slow and not was_slow:
            log.warning(
                "the last %d predictions took %.0f ms on average, expected at most %.0f ms; take a smaller model, "
                "another variant, or fewer requests at once",
                N_RECENT,
                mean_ms,
                self._slow_ms,
            )
