"""Where the broker is, what is kept where, and how long to wait: typed, checked once, passwords never shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)

from foresense.bridge import TOPIC
from foresense.bridge.payload import CHANNELS
from foresense.config import ConfigError, Section

Kind = TypeVar("Kind", bound=Section)
_PORTS = {"mqtt": 1883, "mqtts": 8883}


class BrokerSettings(Section):
    """How to reach a broker, and for how long it keeps our session while we are away."""

    model_config = ConfigDict(hide_input_in_errors=True)

    host: str = Field("localhost", min_length=1)
    port: int = Field(1883, ge=1, le=65535)
    is_tls: bool = False
    ca_file: Path | None = None  # absent: the certificates of the system
    user: str | None = None
    password: SecretStr | None = None
    keepalive_s: PositiveInt = 60
    connect_timeout_s: PositiveFloat = 5.0
    session_expiry_s: PositiveInt = 7 * 86_400
    retry_first_s: PositiveFloat = 5.0
    retry_last_s: PositiveFloat = 300.0

    @property
    def address(self) -> str:
        """For messages: no password in it."""
        return f"{'mqtts' if self.is_tls else 'mqtt'}://{self.host}:{self.port}"

    @classmethod
    def from_url(cls, url: str, environment: Mapping[str, str], **others: Any) -> "BrokerSettings":
        """Read `mqtt://user@host:port` or `mqtts://...`.

        Args:
            url: Address; a password in it is taken out and never shown.
            environment: FORESENSE_MQTT_PASSWORD, or FORESENSE_MQTT_PASSWORD_FILE (its first line);
                FORESENSE_MQTT_CA_FILE.
            others: Further settings.

        Raises:
            ConfigError: no such address, or a file that cannot be read; without the password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise ConfigError("FORESENSE_MQTT_URL (--url): expected mqtt://user@host:1883 or mqtts://user@host:8883")
        password = _password(environment) or (unquote(parts.password) if parts.password else None)
        return validated(
            cls,
            {
                "host": parts.hostname,
                "port": port or _PORTS[parts.scheme],
                "is_tls": parts.scheme == "mqtts",
                "ca_file": environment.get("FORESENSE_MQTT_CA_FILE") or None,
                "user": unquote(parts.username) if parts.username else None,
                "password": password,
                **others,
            },
        )


class BridgeSettings(Section):
    """What the bridge listens to, what it keeps on disk, and when it speaks."""

    broker: BrokerSettings
    folder: Path  # spool, dead letters, state
    store: str = ""  # as `bridge run` was told; the state says it, and a backup asks for it
    topics: tuple[str, ...] = Field((TOPIC,), min_length=1)
    client_id: str = Field("foresense-bridge", min_length=1)  # fixed: the broker keeps the session under this name
    channels: tuple[str, ...] = Field(CHANNELS, min_length=1)
    receive_maximum: int = Field(
        1000, ge=1, le=65535
    )  # messages that the broker may send before the first is acknowledged
    max_packet_mib: PositiveFloat = 8.0  # a larger one is kept away by the broker; more than 1 MiB is refused by us
    batch_messages: PositiveInt = 500  # acknowledged together
    batch_mib: PositiveFloat = 4.0
    flush_s: PositiveFloat = 0.2  # none waits longer for its acknowledgement
    is_spooling: bool = (
        True  # False: acknowledged when the store has it; then the broker keeps what the store cannot take
    )
    spool_max_mib: PositiveFloat = 4096.0
    write_every_s: PositiveFloat = 1.0
    write_messages: PositiveInt = 5000  # in one batch for the store
    write_mib: PositiveFloat = 2.0
    store_retry_first_s: PositiveFloat = 5.0
    store_retry_last_s: PositiveFloat = 300.0
    letters_max_mib: PositiveFloat = 64.0  # then a new file is begun; old ones are kept
    log_every_s: PositiveFloat = 10.0
    state_every_s: PositiveFloat = 2.0
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(9464, ge=1, le=65535)
    alarm_command: tuple[str, ...] = ()
    alarm_after_s: NonNegativeFloat = 60.0  # store or broker away for so long
    alarm_spool_mib: PositiveFloat = 512.0
    alarm_quiet_s: PositiveFloat = 600.0  # no refusal for so long ends that alarm
    stop_s: PositiveFloat = 10.0  # to deliver what is left when asked to stop

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.flush_s >= self.broker.keepalive_s:
            raise ValueError(f"flush_s: must be shorter than the keep-alive of {self.broker.keepalive_s} s")
        if self.receive_maximum < 2 * self.batch_messages:
            raise ValueError(
                f"receive_maximum: must be at least twice batch_messages ({self.batch_messages}), "
                "else the broker waits for us and we for it"
            )
        if self.spool_max_mib < 2 * self.batch_mib:
            raise ValueError(f"spool_max_mib: must be at least {2 * self.batch_mib:g}, twice what comes at once")
        if len(set(self.channels)) != len(self.channels):
            raise ValueError("channels: every name once")
        return self

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> "BridgeSettings":
        """Check settings.

        Raises:
            ConfigError: every problem, one a line, without values.
        """
        return validated(cls, values)


def validated(kind: type[Kind], values: Mapping[str, Any], options: Mapping[str, str] | None = None) -> Kind:
    """Check settings.

    Args:
        kind: Which.
        values: By name of the field.
        options: Name of the option that a field was given by; what was found there is told, so none may be secret.

    Raises:
        ConfigError: every problem, one a line.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        problems = []
        for found in error.errors(include_url=False, include_context=False):
            name = ".".join(map(str, found["loc"]))
            problem = found["msg"].removeprefix("Value error, ")
            if options and name in options:
                problems.append(f"{options[name]}: {problem}, found {found['input']!r}")
            else:
                problems.append(f"{name or 'settings'}: {problem}")
        where = "options" if options else "bridge"
        raise ConfigError("\n  ".join([f"{where}: {len(problems)} problem(s)", *problems])) from None


def _password(environment: Mapping[str, str]) -> str | None:
    given = environment.get("FORESENSE_MQTT_PASSWORD")
    path = environment.get("FORESENSE_MQTT_PASSWORD_FILE")
    if given or not path:
        return given or None
    try:
        return Path(path).read_text().splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise ConfigError(f"FORESENSE_MQTT_PASSWORD_FILE: {path} cannot be read: {type(error).__name__}") from None
