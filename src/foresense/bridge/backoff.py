"""How long to wait before the next try."""

import random


class Backoff:
    """Doubles from `first_s` to `last_s`, each time with up to a fifth more or less, so that many do not come at once.

    Attributes:
        n_failures: Since the last success.
    """

    def __init__(self, first_s: float, last_s: float, rng: random.Random | None = None) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._rng = rng or random.Random()
        self.n_failures = 0

    def failed(self, at_least_s: float = 0.0) -> float:
        """Count a failure; seconds to wait, at least what the other side asked for (its Retry-After)."""
        wait_s = min(self._first_s * 2.0 ** min(self.n_failures, 60), self._last_s)
        self.n_failures += 1
        return max(min(wait_s * self._rng.uniform(0.8, 1.2), self._last_s), at_least_s)

    def succeeded(self) -> None:
        """Begin anew with the next failure."""
        self.n_failures = 0
