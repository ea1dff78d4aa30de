"""How the queue is emptied: full batches follow each other at once, the rest waits for its turn."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from foresense.bridge.counters import Counters
from foresense.bridge.delivery import Forwarder
from foresense.bridge.letters import Letters
from foresense.bridge.settings import BridgeSettings, BrokerSettings
from foresense.bridge.spool import Spool


class Recorder:
    """Takes what a store would take; says when it has had so many messages."""

    def __init__(self, n_expected: int) -> None:
        self._n_expected = n_expected
        self.sizes: list[int] = []
        self.has_all = Event()

    def deliver(self, messages: list) -> None:
        self.sizes.append(len(messages))
        if sum(self.sizes) >= self._n_expected:
            self.has_all.set()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.sqlite")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("n", "n_bytes", "limits", "at_once"),
    [
        (40, 300 << 10, {"write_mib": 2.0}, [6, 6, 6, 6, 6, 6]),  # large messages: 2 MiB hold six of them
        (40, 10, {"write_messages": 6}, [6, 6, 6, 6, 6, 6]),
        (5, 10, {"write_messages": 6}, [5]),  # less than a batch: one turn
    ],
)
def test_full_batches_follow_at_once_and_the_rest_waits(spool, tmp_path, n, n_bytes, limits, at_once) -> None:
    settings = BridgeSettings(broker=BrokerSettings(host="h"), folder=tmp_path, write_every_s=3600.0, **limits)
    spool.append([("t", 1, b"x" * n_bytes)] * n)
    recorder, stop = Recorder(sum(at_once)), Event()
    letters = Letters(tmp_path, spool_identity=spool.identity)
    forwarder = Forwarder(settings, spool, letters, recorder, Counters())
    thread = Thread(target=forwarder.run, args=(stop,))
    thread.start()
    try:
        assert recorder.has_all.wait(10)
    finally:
        stop.set()
        thread.join(10)
        letters.close()
    assert recorder.sizes == at_once
    assert spool.depth == n - sum(at_once)
