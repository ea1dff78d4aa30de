"""What a model is deployed on: one YAML file per device."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError

from foresense.config.reading import read_yaml
from foresense.config.section import ConfigError, Section, problems_of


class DeviceConfig(Section):
    """One deployment device: how to reach it, and what it can hold."""

    name: str
    description: str
    reach: Literal["local", "ssh"]  # `local`: this machine; `ssh`: by `host`
    host: str | None = None  # `user@address`, or an alias of ~/.ssh/config
    port: Annotated[int, Field(ge=1, le=65535)] | None = None  # absent: ssh's own
    key_file: Path | None = None  # private key; ~ is this user's home; absent: ssh's own. There is no password
    known_hosts: Path | None = None  # keys of hosts; absent: ssh's own
    python: str = "python3"  # Python of the device that has numpy and a runtime; ~/ is the home there
    memory_mib: PositiveInt | None = None  # absent: read from the machine
    n_cores: PositiveInt | None = None
    clock_ghz: PositiveFloat | None = None
    formats: tuple[str, ...]  # formats whose runtime exists for the device
    max_model_mib: PositiveFloat | None = None
    source: str  # data sheet or URL of the numbers above


def read_device(folder: Path, name: str) -> DeviceConfig:
    """Read `<folder>/<name>.yaml`.

    Raises:
        ConfigError: no such device (with the known ones), or one line for each problem of its file.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(found.stem for found in folder.glob("*.yaml"))
        raise ConfigError(f"{path}: no device {name!r}; known: {', '.join(known) or 'none'}")
    try:
        return DeviceConfig.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError("\n  ".join([f"{path}:", *problems_of(error, DeviceConfig)])) from error
