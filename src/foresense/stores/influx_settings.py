"""Where the InfluxDB is, who we are there, and how samples are laid out in it."""

import re
from collections.abc import Mapping
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from foresense.config import ConfigError, Section
from foresense.stores.lines import Layout, name_problem

Flavour = Literal["v1", "v2", "v3", "vm"]

_PREFIX = "FORESENSE_INFLUX_"
_VARIABLES = {key: _PREFIX + key.upper() for key in ("url", "token", "org", "bucket", "flavour")}


class InfluxSettings(Section):
    """How to reach an InfluxDB (1.x, 2.x, 3) or a VictoriaMetrics, and the layout of samples there.

    One sample is a line of `measurement` with the tags `asset_tag`=<asset> and sensor_type=`sensor_type`, and one float
    field for each channel.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    url: str  # http://host:8086, with a path where a proxy asks for one
    token: SecretStr | None = None  # 2.x and 3: the token; 1.x: user:password
    org: str | None = None  # 2.x only
    bucket: str = Field("New_Sensor", min_length=1)  # 1.x: the database
    measurement: str = "sensor_data"
    asset_tag: str = "workspace_id"
    sensor_type: str = "machine"
    flavour: Literal["auto", "v1", "v2", "v3", "vm"] = "auto"
    writer: Literal["session", "client"] = "session"  # client: influxdb-client, which needs /api/v2/write
    timeout_s: PositiveFloat = 30.0  # to connect, and between two pieces of an answer
    batch_rows: PositiveInt = 10_000  # written by one request at most
    chunk_rows: PositiveInt = 10_000  # read in one piece

    @field_validator("url")
    @classmethod
    def _is_plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("expected an address like http://localhost:8086")
        if parts.username is not None or parts.password is not None:
            raise ValueError("no user and password in the address; give them as the token, user:password")
        return url.rstrip("/")

    @field_validator("token")
    @classmethod
    def _is_one_line(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and re.search(r"[^\x21-\x7e]", token.get_secret_value()):
            raise ValueError("a token has neither blanks nor letters beyond ASCII")
        return token

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for key in ("measurement", "asset_tag", "sensor_type"):
            problem = name_problem(getattr(self, key))
            if problem:
                raise ValueError(f"{key}: {problem}")
        if self.measurement.startswith("#"):
            raise ValueError("measurement: a line that begins with # is a comment")
        if self.asset_tag in ("sensor_type", "time"):
            raise ValueError(f"asset_tag: {self.asset_tag!r} has a meaning of its own")
        return self

    @property
    def layout(self) -> Layout:
        """How one sample becomes one line."""
        return Layout(self.measurement, self.asset_tag, self.sensor_type)

    def missing_for(self, flavour: Flavour) -> list[str]:
        """Environment variables of what a server of this `flavour` asks for and these settings lack."""
        needed = {"v2": ("org", "token")}.get(flavour, ())
        return [_VARIABLES[key] for key in needed if getattr(self, key) is None]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "InfluxSettings":
        """Read FORESENSE_INFLUX_URL, _TOKEN, _ORG, _BUCKET and _FLAVOUR; an empty one is an absent one.

        Raises:
            ConfigError: the URL is absent, a value is wrong, or 2.x is asked for without organisation and token;
                every problem on a line of its own, and never a value.
        """
        given = {key: environ[name] for key, name in _VARIABLES.items() if environ.get(name)}
        if "url" not in given:
            raise ConfigError(
                f"{_VARIABLES['url']} is not set; give the address of the store, like http://localhost:8086"
            )
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            problems = [_line(str(found["loc"][0]) if found["loc"] else "", found["msg"]) for found in error.errors()]
            raise ConfigError("\n  ".join([f"environment: {len(problems)} problem(s)", *problems])) from None
        missing = settings.missing_for(settings.flavour) if settings.flavour != "auto" else []
        if missing:
            raise ConfigError(f"InfluxDB 2.x needs an organisation and a token; not set: {', '.join(missing)}")
        return settings


def _line(key: str, message: str) -> str:
    return f"{_VARIABLES.get(key, 'settings')}: {message.removeprefix('Value error, ')}"
