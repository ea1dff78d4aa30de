"""What the bridge has done since it started; each number is written by one thread and read by others."""

import time
from collections import Counter
from dataclasses import dataclass, field

_N_NAMES = 100  # names of unknown fields that are counted one by one


@dataclass
class Counters:
    """Numbers since the start.

    Attributes:
        received: Messages that came, redelivered ones included.
        received_bytes: Their payloads.
        redelivered: Messages that the broker marked as sent before.
        acknowledged: Messages that we acknowledged.
        stale: Acknowledgements that were not sent, because the connection had changed.
        stored: Samples that the store has taken; a redelivered one counts again.
        empty: Samples without any value.
        refused: Records that schema or store refused.
        unknown: Names of fields that no channel has, and in how many records.
        store_problem: What keeps the forwarder from going on; empty where all is well.
        store_down_since: `time.monotonic()`; None where all is well.
        intake_problem: What keeps the intake from acknowledging; empty where all is well.
        refused_at: `time.monotonic()` of the last refusal.
    """

    received: int = 0
    received_bytes: int = 0
    redelivered: int = 0
    acknowledged: int = 0
    stale: int = 0
    stored: int = 0
    empty: int = 0
    refused: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    store_problem: str = ""
    store_down_since: float | None = None
    intake_problem: str = ""
    refused_at: float | None = None

    def see_unknown(self, names: Counter[str]) -> None:
        """Count names of unknown fields; a hostile sender cannot make this grow without end."""
        known = Counter(self.unknown)
        for name, n in names.items():
            short = name[:128]
            known[short if short in known or len(known) < _N_NAMES else "(others)"] += n
        self.unknown = known

    def store_failed(self, problem: str) -> None:
        """The forwarder cannot go on."""
        self.store_problem = problem
        if self.store_down_since is None:
            self.store_down_since = time.monotonic()

    def store_is_well(self) -> None:
        """The forwarder went on."""
        self.store_problem, self.store_down_since = "", None
