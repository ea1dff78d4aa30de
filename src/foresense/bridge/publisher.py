"""The simulated plant on MQTT at QoS 1. What the broker has not acknowledged stays on disk, in order."""

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from threading import Event

from foresense.bridge.connection import Connection, is_unheard
from foresense.bridge.payload import AHEAD_NS
from foresense.bridge.plant import Message
from foresense.bridge.settings import BrokerSettings
from foresense.bridge.spool import Spool

LOG = logging.getLogger(__name__)
_FAILURE = 0x80  # MQTT v5, 2.4: reason codes from here on mean no
_TURN_S = 0.2
_GROUP = 200  # messages that are put on disk together
_N_AHEAD = 20_000  # messages on disk before a back-fill waits for the broker
_LOG_S = 10.0
_READ_BYTES = 4 << 20


class PublishError(RuntimeError):
    """The broker does not take what we publish; the message says what to do. What it did not take is on disk."""


@dataclass
class Published:
    """What a publisher has done.

    Attributes:
        messages: Acknowledged by the broker, those of an earlier run that were left on disk included.
        samples: Taken from the plant.
        unheard: Messages that the broker threw away, because nobody has subscribed.
    """

    messages: int = 0
    samples: int = 0
    unheard: int = 0


class Publisher:
    """Sends messages in the order in which they were put on disk, and drops them there when they are acknowledged."""

    def __init__(self, broker: BrokerSettings, spool: Spool, *, topic: str, client_id: str, window: int = 1000) -> None:
        """Prepare; nothing is sent yet.

        Args:
            broker: Where.
            spool: Messages on disk; what an earlier run left there goes first.
            topic: Where to publish.
            client_id: The name of the session; fixed for one spool.
            window: Messages that may be on their way at once; a broker may ask for fewer.
        """
        self._spool = spool
        self._topic = topic
        self._on_the_way: deque[tuple[int, int]] = deque()  # packet id, id on disk
        self._acknowledged: set[int] = set()
        self._sent_up_to = 0
        self._dropped_at = 0.0
        self._refusal = ""
        self.published = Published()
        self.connection = Connection(
            broker, client_id=client_id, receive_maximum=window, on_published=self._on_published
        )

    def run(self, messages: Iterable[Message], stop: Event, *, speed: float) -> Published:
        """Publish until all are acknowledged or `stop` is set; what is left then stays on disk.

        Args:
            messages: In the order of their times.
            stop: Set by another thread or a signal.
            speed: 1: each message when its time has come (at once where that has passed); more: the plant's clock runs
                so much faster, from the first message on; 0: as fast as the broker acknowledges.

        Raises:
            PublishError: the broker refuses a message, or the plant's clock has run more than a day ahead.
            SpoolError: the disk is full.
        """
        ahead = _Paced(messages, speed)
        logged_at = time.monotonic()
        while not stop.is_set() and not (ahead.is_over and not self._spool.depth):
            self._take_due(ahead)
            if self.connection.is_up:
                self._send()
            self.connection.step(min(_TURN_S, ahead.wait_s()) if not self._spool.depth else _TURN_S)
            self._drop_acknowledged()
            if self._refusal:
                raise PublishError(self._refusal)
            if time.monotonic() - logged_at >= _LOG_S:
                logged_at = time.monotonic()
                self._log()
        self._log()
        self.connection.close()
        self._drop_acknowledged(is_last=True)
        return self.published

    def _take_due(self, ahead: "_Paced") -> None:
        while self._spool.depth < _N_AHEAD or not ahead.is_unbounded:
            due = ahead.take(_GROUP)
            if not due:
                return
            now_ns = time.time_ns()
            if due[-1].due_ns > now_ns + AHEAD_NS:
                raise PublishError(
                    "the plant's clock is more than a day ahead, and the bridge refuses such times; give a --start "
                    "further in the past, or a smaller --speed"
                )
            self._spool.append([(self._topic, now_ns, message.payload) for message in due])
            self.published.samples += sum(message.n_samples for message in due)
            if ahead.is_unbounded:
                return

    def _send(self) -> None:
        room = self.connection.window - len(self._on_the_way)
        if room <= 0 or (self._sent_up_to and self._spool.depth <= len(self._on_the_way)):
            return
        for message in self._spool.oldest(room, _READ_BYTES, after=self._sent_up_to):
            packet_id = self.connection.publish(message.topic, message.payload)
            self._on_the_way.append((packet_id, message.id))
            self._sent_up_to = message.id

    def _on_published(self, packet_id: int, code: int) -> None:
        if code >= _FAILURE:
            self._refusal = (
                f"the broker refuses messages of topic {self._topic!r} (reason {code:#x}); check its rules for our "
                f"user. {self._spool.depth} messages stay in {self._spool.path}"
            )
            return
        if is_unheard(code):
            if not self.published.unheard:
                LOG.warning("nobody has subscribed to %r: the broker throws messages away", self._topic)
            self.published.unheard += 1
        self._acknowledged.add(packet_id)

    def _drop_acknowledged(self, *, is_last: bool = False) -> None:
        """Many at once, because each time waits for the disk; those that a crash leaves are published twice."""
        is_much = len(self._acknowledged) >= min(_GROUP, len(self._on_the_way))
        if not (is_last or is_much or time.monotonic() - self._dropped_at > _TURN_S):
            return
        self._dropped_at = time.monotonic()
        last = 0
        while self._on_the_way and self._on_the_way[0][0] in self._acknowledged:
            packet_id, last = self._on_the_way.popleft()
            self._acknowledged.remove(packet_id)
            self.published.messages += 1
        if last:
            self._spool.drop(last)

    def _log(self) -> None:
        LOG.info(
            "published %d messages, %d on disk, broker %s",
            self.published.messages,
            self._spool.depth,
            "connected" if self.connection.is_up else "AWAY",
        )


class _Paced:
    """Messages, each when its time has come.

    Attributes:
        is_over: All were taken.
        is_unbounded: As fast as possible.
    """

    def __init__(self, messages: Iterable[Message], speed: float) -> None:
        self._messages: Iterator[Message] = iter(messages)
        self._speed = speed
        self._next = next(self._messages, None)
        self._began_ns = time.time_ns()
        self._first_ns = self._next.due_ns if self._next is not None else 0
        self.is_unbounded = speed == 0

    @property
    def is_over(self) -> bool:
        return self._next is None

    def take(self, n: int) -> list[Message]:
        """At most `n` messages whose time has come."""
        now_ns = time.time_ns()
        taken: list[Message] = []
        while self._next is not None and len(taken) < n and self._at_ns(self._next) <= now_ns:
            taken.append(self._next)
            self._next = next(self._messages, None)
        return taken

    def wait_s(self) -> float:
        """Seconds to the next one's time."""
        if self._next is None or self.is_unbounded:
            return 0.0
        return max((self._at_ns(self._next) - time.time_ns()) / 1e9, 0.0)

    def _at_ns(self, message: Message) -> float:
        if self.is_unbounded:
            return 0
        if self._speed == 1:
            return message.due_ns
        return self._began_ns + (message.due_ns - self._first_ns) / self._speed
