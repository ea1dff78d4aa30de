"""Which server answers at an address."""

import json
import re
from dataclasses import dataclass

from foresense.stores.batch import StoreError
from foresense.stores.influx_http import Session, problem
from foresense.stores.influx_settings import Flavour, InfluxSettings


@dataclass(frozen=True)
class Health:
    """What a server says of itself.

    Attributes:
        flavour: Which kind of server.
        version: As it says, "unknown" where it does not.
        is_ready: It answers to us; for 2.x influxdb-client must say so too.
    """

    flavour: Flavour
    version: str
    is_ready: bool


def seen(session: Session, settings: InfluxSettings) -> tuple[Flavour, str]:
    """Tell servers apart by what they answer to /ping; VictoriaMetrics says nothing there and has metrics.

    Returns:
        The kind of server, and its version, "unknown" where it does not say.

    Raises:
        StoreUnavailableError: no answer.
        StoreError: an answer of no server that we know.
    """
    ping = session.request("GET", "/ping", {})
    if not ping.is_ok:
        raise problem(settings, ping)
    version = ping.headers.get("X-Influxdb-Version") or _version_in(ping.words)
    flavours: dict[str, Flavour] = {"1": "v1", "2": "v2", "3": "v3"}
    flavour = flavours.get(version.lstrip("v").partition(".")[0])
    if flavour is not None:
        return flavour, version.lstrip("v")
    metrics = session.request("GET", "/metrics", {}, limit=None)
    found = re.search(r'vm_app_version\{version="([^"]*)"', metrics.words)
    if found:
        return "vm", found[1] or "unknown"
    if settings.flavour != "auto":
        return settings.flavour, version or "unknown"
    raise StoreError(
        f"{settings.url} does not say which server it is; set FORESENSE_INFLUX_FLAVOUR to v1, v2, v3 or vm"
    )


def _version_in(body: str) -> str:
    """Version in the JSON with which 3 answers /ping."""
    try:
        content = json.loads(body)
    except ValueError:
        return ""
    return str(content.get("version", "")) if isinstance(content, dict) else ""
