"""Passwords and tokens of the services of compose.yaml: made once, kept in deploy/.env, never shown."""

import os
import secrets
import stat
from pathlib import Path

PLACE = Path("deploy") / ".env"
NAMES = (
    "FORESENSE_INFLUX_PASSWORD",
    "FORESENSE_INFLUX_TOKEN",
    "FORESENSE_MQTT_BRIDGE_PASSWORD",
    "FORESENSE_MQTT_MACHINES_PASSWORD",
)
HEAD = "# Passwords of the services in compose.yaml, written by `foresense up`. Never commit this file.\n"


def names_in(path: Path) -> set[str]:
    """Names that the file gives a value.

    Raises:
        PermissionError: others than the owner may read or write the file.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise PermissionError(
            f"{path}: holds passwords, and its mode {mode:04o} lets others at it; run: chmod 600 {path}"
        )
    pairs = (line.partition("=") for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    return {name.strip() for name, _, value in pairs if value.strip()}


def ensure(path: Path) -> tuple[str, ...]:
    """Give every name in `NAMES` that has no value yet a random one; what stands in the file stays as it is.

    Returns:
        The names that were added, never a value.

    Raises:
        PermissionError: others than the owner may read or write the file.
    """
    there = names_in(path) if path.exists() else set()
    missing = tuple(name for name in NAMES if name not in there)
    if not missing:
        return ()
    old = path.read_bytes() if path.exists() else HEAD.encode()
    if not old.endswith(b"\n"):
        old += b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    # Hexadecimal: the values travel through URLs, shells and env files, where other characters mean something.
    lines = "".join(f"{name}={secrets.token_hex(32)}\n" for name in missing)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(old + lines.encode())
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    return missing
