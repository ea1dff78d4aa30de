"""From the broker to the queue: nothing is acknowledged before it is kept."""

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from foresense.bridge.connection import Connection
from foresense.bridge.counters import Counters
from foresense.bridge.letters import LettersError
from foresense.bridge.settings import BridgeSettings
from foresense.bridge.spool import SpoolError
from foresense.stores import StoreUnavailableError

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

LOG = logging.getLogger(__name__)
_TURN_S = 0.5
#: Takes (topic, received_ns, payload); when it returns, the messages are safe.
Keep = Callable[[Sequence[tuple[str, int, bytes]]], None]


class _Waiting(NamedTuple):
    """A message that is not acknowledged yet.

    Attributes:
        packet_id: Of the broker; 0 for QoS 0, which has none.
        generation: Connection that it came over.
        message: Topic, received_ns, payload.
    """

    packet_id: int
    generation: int
    message: tuple[str, int, bytes]


class Intake:
    """Gathers messages, has them kept, acknowledges them. Runs in one thread, and holds one batch at most.

    Where they cannot be kept the connection is dropped, so that the broker keeps them and sends them again later.
    """

    def __init__(self, settings: BridgeSettings, keep: Keep, counters: Counters) -> None:
        self._settings = settings
        self._keep = keep
        self._counters = counters
        self._waiting: list[_Waiting] = []
        self._n_bytes = 0
        self._oldest_at = 0.0
        self.connection = Connection(
            settings.broker,
            client_id=settings.client_id,
            topics=settings.topics,
            receive_maximum=settings.receive_maximum,
            max_packet_bytes=int(settings.max_packet_mib * 2**20),
            on_message=self.take,
        )

    def run(self, stop: Event) -> None:
        """Listen until `stop` is set; then keep and acknowledge what came, and say good-bye."""
        while not stop.is_set():
            self.connection.step(self._settings.flush_s if self._waiting else _TURN_S)
            if self._waiting and time.monotonic() - self._oldest_at >= self._settings.flush_s:
                self.flush()
        self.flush()
        self.connection.close()

    def take(self, message: "MQTTMessage") -> None:
        """Put one message to the others; a full batch is kept at once."""
        if not self._waiting:
            self._oldest_at = time.monotonic()
        kept = (message.topic, time.time_ns(), bytes(message.payload))
        packet_id = message.mid if message.qos else 0
        self._waiting.append(_Waiting(packet_id, self.connection.generation, kept))
        self._n_bytes += len(message.payload)
        self._counters.received += 1
        self._counters.received_bytes += len(message.payload)
        self._counters.redelivered += bool(message.dup)
        is_full = len(self._waiting) >= self._settings.batch_messages
        if is_full or self._n_bytes >= self._settings.batch_mib * 2**20:
            self.flush()

    def flush(self) -> None:
        """Have what waits kept, then acknowledge it; where that fails, drop the connection instead."""
        waiting, self._waiting, self._n_bytes = self._waiting, [], 0
        if not waiting:
            return
        try:
            self._keep([found.message for found in waiting])
        except (SpoolError, LettersError, StoreUnavailableError) as error:
            self._counters.intake_problem = str(error)
            self.connection.drop(
                f"{len(waiting)} messages cannot be kept, so the broker keeps them: {error}",
                getattr(error, "retry_after_s", None) or 0.0,
            )
            return
        self._counters.intake_problem = ""
        for found in waiting:
            if not found.packet_id:
                continue
            if self.connection.acknowledge(found.packet_id, found.generation):
                self._counters.acknowledged += 1
            else:
                self._counters.stale += 1
