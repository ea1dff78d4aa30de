"""One MQTT v5 connection that comes back by itself, turned by its user's own loop, so that nothing needs a lock."""

from __future__ import annotations

import logging
import select
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresense.bridge.backoff import Backoff
from foresense.bridge.settings import BrokerSettings

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

LOG = logging.getLogger(__name__)
_READS = 256  # packets that are read before the others get their turn
_NO_SUBSCRIBER = 0x10
_TAKEN_OVER = 0x8E
_STEADY_S = 60.0
_N_SHORT = 3  # connections closed soon, one after the other, before another client is suspected
_WRONG_CERTIFICATE = (
    "; the broker's certificate is for another host, or of a CA that we do not know: set FORESENSE_MQTT_CA_FILE"
)


class Connection:
    """A persistent session: fixed client id, no clean start; acknowledgements are ours to send.

    `on_message` and `on_published` are called from within `step`, in the thread of the caller.

    Attributes:
        is_up: Connected, and subscribed where topics were given.
        generation: Rises with every loss: a packet id of an earlier one means another message now.
        n_losses: Connections that were lost or refused.
        down_since: `time.monotonic()` of the loss; None while up.
        window: Messages that the broker takes before it has acknowledged the first.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        *,
        client_id: str,
        topics: Sequence[str] = (),
        receive_maximum: int = 1000,
        max_packet_bytes: int | None = None,
        on_message: Callable[[MQTTMessage], None] | None = None,
        on_published: Callable[[int, int], None] | None = None,
    ) -> None:
        """Prepare; the first `step` connects.

        Args:
            broker: Where.
            client_id: The name of the session.
            topics: What to subscribe to, at QoS 1.
            receive_maximum: Messages that the broker may send before the first is acknowledged.
            max_packet_bytes: The broker keeps larger ones away.
            on_message: Takes each message.
            on_published: Takes packet id and reason code of each acknowledgement by the broker.

        Raises:
            ImportError: paho-mqtt is missing.
        """
        self._broker = broker
        self._client_id = client_id
        self._topics = list(topics)
        self._receive_maximum = receive_maximum
        self._max_packet_bytes = max_packet_bytes
        self._backoff = Backoff(broker.retry_first_s, broker.retry_last_s)
        self._next_try = 0.0
        self._opened_at = 0.0
        self._up_at = 0.0
        self._n_short = 0
        self._was_up = False
        self._is_closing = False
        self._n_packets = 0
        self.is_up = False
        self.generation = 0
        self.n_losses = 0
        self.down_since: float | None = time.monotonic()
        self.window = receive_maximum
        self.client = self._made(on_message, on_published)

    def step(self, timeout_s: float) -> None:
        """Connect when it is time, or read, write and keep alive; returns after `timeout_s` at the latest.

        Opening a connection may take longer, by the broker's connect_timeout_s.
        """
        if self.client.socket() is None:
            wait_s = self._next_try - time.monotonic()
            if wait_s > 0:
                time.sleep(min(wait_s, timeout_s))
                return
            self._connect()
        if self.client.socket() is not None:
            self._turn(timeout_s)

    def acknowledge(self, packet_id: int, generation: int) -> bool:
        """Acknowledge a message of this connection; False where it came over an earlier one.

        Not only while `is_up`: a broker that knows our session sends before it has answered our subscription.
        """
        if generation != self.generation or self.client.socket() is None:
            return False
        self.client.ack(packet_id, 1)
        return True

    def publish(self, topic: str, payload: bytes) -> int:
        """Send at QoS 1; returns the packet id. Unacknowledged ones are sent again after a loss."""
        return int(self.client.publish(topic, payload, qos=1).mid)

    def drop(self, reason: str, at_least_s: float = 0.0) -> None:
        """Cut the connection, and come back after the back-off; what is unacknowledged is sent again then.

        Args:
            reason: For the log.
            at_least_s: Seconds to stay away, where the back-off is shorter.
        """
        LOG.warning("%s: connection dropped: %s", self._broker.address, reason)
        self._close()
        self._lost(at_least_s)

    def close(self) -> None:
        """Say good-bye and close; the broker keeps the session."""
        self._is_closing = True
        if self.is_up:
            self.client.disconnect()
            end = time.monotonic() + 2
            while self.client.socket() is not None and time.monotonic() < end:
                if self.client.want_write():
                    self.client.loop_write()
                self._turn(0.05)
        self._close()
        self.is_up = False

    def _made(
        self,
        on_message: Callable[[MQTTMessage], None] | None,
        on_published: Callable[[int, int], None] | None,
    ) -> Client:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
        except ImportError as error:
            raise ImportError("MQTT needs the extra 'mqtt': pip install foresense[mqtt]") from error
        client = Client(
            CallbackAPIVersion.VERSION2, self._client_id, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
        )
        if self._broker.user is not None:
            password = self._broker.password
            client.username_pw_set(self._broker.user, password.get_secret_value() if password else None)
        if self._broker.is_tls:
            _trust(client, self._broker.ca_file)
        # 0: who publishes keeps to `window`; paho 2.2 would look through all that is on the way at each acknowledgement
        client.max_inflight_messages_set(0)
        client.connect_timeout = self._broker.connect_timeout_s
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        if on_message is not None:

            def taken(_client: Client, _userdata: Any, message: MQTTMessage) -> None:
                self._n_packets += 1
                on_message(message)

            client.on_message = taken
        if on_published is not None:

            def published(_client: Client, _userdata: Any, packet_id: int, code: Any, _properties: Any) -> None:
                self._n_packets += 1
                on_published(packet_id, int(code.value))

            client.on_publish = published
        return client

    def _connect(self) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._broker.session_expiry_s
        properties.ReceiveMaximum = self._receive_maximum
        if self._max_packet_bytes is not None:
            properties.MaximumPacketSize = self._max_packet_bytes
        self._opened_at = time.monotonic()
        try:
            self.client.connect(
                self._broker.host,
                self._broker.port,
                self._broker.keepalive_s,
                clean_start=False,
                properties=properties,
            )
        except (OSError, ValueError) as error:
            self._close()
            self._lost()
            hint = _WRONG_CERTIFICATE if isinstance(error, ssl.SSLCertVerificationError) else ""
            LOG.warning(
                "%s: cannot connect (%s)%s; next try in %.0f s",
                self._broker.address,
                error,
                hint,
                self._seconds_to_next_try(),
            )

    def _turn(self, timeout_s: float) -> None:
        found = self.client.socket()
        if found is None:
            return
        if not self.is_up and time.monotonic() > self._opened_at + 2 * self._broker.connect_timeout_s:
            self.drop("the broker does not answer")
            return
        # A TLS layer may hold what a select does not see; then the timeout, not the data, would wake us.
        waits_s = 0.0 if getattr(found, "pending", int)() else timeout_s
        readable, writable, _ = select.select([found], [found] if self.client.want_write() else [], [], waits_s)
        if writable:
            self.client.loop_write()
        if readable or not waits_s:
            for _ in range(_READS):
                before = self._n_packets
                self.client.loop_read()
                if self._n_packets == before or self.client.socket() is None:
                    break
        if self.client.socket() is not None:
            self.client.loop_misc()

    def _on_connect(self, client: Client, _userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            LOG.error(
                "%s: the broker refuses us: %s; check user, password (FORESENSE_MQTT_PASSWORD) and its rules",
                self._broker.address,
                code,
            )
            return
        self.window = min(self._receive_maximum, getattr(properties, "ReceiveMaximum", 65535))
        if self._was_up and not flags.session_present:
            LOG.error(
                "%s: the broker has forgotten our session, and with it what it had acknowledged and not sent; "
                "let it keep sessions on disk (persistence true, autosave_interval 1: docs/bridge.md)",
                self._broker.address,
            )
        if self._topics:
            from paho.mqtt.subscribeoptions import SubscribeOptions

            client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._topics])
        else:
            self._up()

    def _on_subscribe(self, _client: Client, _userdata: Any, _packet_id: int, codes: Any, _properties: Any) -> None:
        refused = [topic for topic, code in zip(self._topics, codes, strict=False) if code.is_failure]
        if refused:
            self.drop(f"the broker lets us not listen to {', '.join(refused)}; check its rules")
        else:
            self._up()

    def _up(self) -> None:
        LOG.info("%s: connected", self._broker.address)
        self.is_up, self._was_up, self.down_since = True, True, None
        self._up_at = time.monotonic()

    def _on_disconnect(self, _client: Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if self._is_closing:
            return
        hint = self._hint(code.value)
        self._lost()
        LOG.warning(
            "%s: connection lost (%s)%s; next try in %.0f s",
            self._broker.address,
            code,
            hint,
            self._seconds_to_next_try(),
        )

    def _hint(self, code: int) -> str:
        """Whether another client uses our id; mosquitto 2.0.11 does not say so, it just closes the connection."""
        self._n_short = 0 if self._is_steady else self._n_short + self.is_up
        if code == _TAKEN_OVER:
            return f"; another client has our id {self._client_id!r}: is a second one running?"
        if self._n_short >= _N_SHORT:
            return (
                f"; {self._n_short} connections in a row that the broker closed soon: has another client our id "
                f"{self._client_id!r}, is a second one running?"
            )
        return ""

    @property
    def _is_steady(self) -> bool:
        """Up for so long that the next loss is a new one: two clients with one id throw each other out before that."""
        return self.is_up and time.monotonic() - self._up_at > min(self._broker.retry_last_s, _STEADY_S)

    def _lost(self, at_least_s: float = 0.0) -> None:
        if self._is_steady:
            self._backoff.succeeded()
        self.generation += 1
        self.n_losses += 1
        self.is_up = False
        if self.down_since is None:
            self.down_since = time.monotonic()
        self._next_try = time.monotonic() + self._backoff.failed(at_least_s)

    def _seconds_to_next_try(self) -> float:
        return max(self._next_try - time.monotonic(), 0.0)

    def _close(self) -> None:
        # paho 2.2 has no public way to close a socket without a good-bye
        self.client._sock_close()


def _trust(client: Client, ca_file: Path | None) -> None:
    try:
        client.tls_set(ca_certs=str(ca_file) if ca_file else None)
    except OSError as error:
        raise OSError(
            f"FORESENSE_MQTT_CA_FILE: {ca_file} cannot be read: {error}; give the certificate of the broker's CA (PEM)"
        ) from error


def is_unheard(code: int) -> bool:
    """Whether a broker's acknowledgement says that nobody has subscribed to the topic: it threw the message away."""
    return code == _NO_SUBSCRIBER
