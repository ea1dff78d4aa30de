"""`foresense bridge run`, `foresense bridge status`, `foresense simulate`."""

import os
import shlex
import signal
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import typer

from foresense.bridge import TOPIC

bridge = typer.Typer(name="bridge", help="MQTT to a store, losing nothing that was acknowledged.", no_args_is_help=True)

Url = Annotated[
    str,
    typer.Option(
        help="mqtt://user@host:1883 or mqtts://user@host:8883; the password from FORESENSE_MQTT_PASSWORD.",
        envvar="FORESENSE_MQTT_URL",
        show_envvar=True,
    ),
]
Folder = Annotated[
    Path, typer.Option(help="Spool, dead letters and state; below the project.", envvar="FORESENSE_BRIDGE_FOLDER")
]
Json = Annotated[bool, typer.Option("--json-logs", help="Log JSON lines.", envvar="FORESENSE_JSON_LOGS")]
_URL = "mqtt://localhost:1883"
_SPOOL = "plant.sqlite"
_STALE_S = 15.0
_PLANT_OPTIONS = {
    "n_assets": "--machines",
    "n_rows": "--rows",
    "interval_s": "--interval",
    "seed": "--seed",
    "batch": "--batch",
}


@bridge.command()
def run(
    url: Url = _URL,
    topic: Annotated[list[str] | None, typer.Option(help="What to listen to.", envvar="FORESENSE_MQTT_TOPIC")] = None,
    client_id: Annotated[
        str, typer.Option(help="The broker keeps our session under it.", envvar="FORESENSE_MQTT_CLIENT_ID")
    ] = "foresense-bridge",
    store: Annotated[
        str, typer.Option(help="embedded:<folder> or influx.", envvar="FORESENSE_STORE", show_envvar=True)
    ] = "embedded:store",
    channel: Annotated[list[str] | None, typer.Option(help="A field to store; for each one.")] = None,
    folder: Folder = Path("bridge"),
    spool: Annotated[bool, typer.Option(help="Keep on disk what the store cannot take now.")] = True,
    spool_mib: Annotated[float, typer.Option(help="The spool grows no larger.")] = 4096.0,
    metrics_host: Annotated[
        str, typer.Option(help="Where /metrics listens.", envvar="FORESENSE_METRICS_HOST")
    ] = "127.0.0.1",
    metrics_port: Annotated[
        int, typer.Option(help="Port of /metrics; 0: none.", envvar="FORESENSE_METRICS_PORT")
    ] = 9464,
    alarm: Annotated[
        str, typer.Option(help="Command for alarms; gets JSON on its input.", envvar="FORESENSE_ALARM_COMMAND")
    ] = "",
    alarm_after_s: Annotated[float, typer.Option(help="Store or broker away for so long is an alarm.")] = 60.0,
    alarm_spool_mib: Annotated[float, typer.Option(help="More than this in the spool is an alarm.")] = 512.0,
    retry_first_s: Annotated[float, typer.Option(help="Back-off: first wait.")] = 5.0,
    retry_last_s: Annotated[float, typer.Option(help="Back-off: longest wait.")] = 300.0,
    json_logs: Json = False,
) -> None:
    """Listen until SIGTERM or Ctrl-C; then keep and acknowledge what came, and leave."""
    stop = stopped_by_signals()
    from foresense.bridge.bridge import run_bridge
    from foresense.bridge.memory import keep_memory_small
    from foresense.bridge.settings import BridgeSettings, BrokerSettings
    from foresense.stores import check_channels, open_store

    _log_as(json_logs)
    waits: dict[str, Any] = {"retry_first_s": retry_first_s, "retry_last_s": retry_last_s}
    values: dict[str, Any] = {
        "broker": BrokerSettings.from_url(url, os.environ, **waits),
        "client_id": client_id,
        "folder": _below_project(folder),
        "store": store,
        "is_spooling": spool,
        "spool_max_mib": spool_mib,
        "metrics_host": metrics_host,
        "metrics_port": metrics_port or None,
        "alarm_command": tuple(shlex.split(alarm)),
        "alarm_after_s": alarm_after_s,
        "alarm_spool_mib": alarm_spool_mib,
        **{f"store_{key}": value for key, value in waits.items()},
    }
    values |= {"topics": tuple(topic)} if topic else {}
    values |= {"channels": tuple(channel)} if channel else {}
    settings = BridgeSettings.checked(values)
    check_channels(store, settings.channels)
    keep_memory_small()
    opened = open_store(store, os.environ, _project())
    try:
        run_bridge(settings, opened, stop)
    finally:
        opened.close()


@bridge.command()
def status(
    folder: Folder = Path("bridge"),
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as one JSON object.")] = False,
) -> None:
    """Say how the bridge is; exits 1 when it is not at work (broker or store being away is not that)."""
    import json

    from foresense.bridge.watch import problem_of, read_state

    state = read_state(_below_project(folder))
    problem = problem_of(state, _STALE_S)
    if as_json:
        typer.echo(json.dumps({**state, "problem": problem}, indent=1))
    else:
        broker = "connected" if state["is_connected"] else "AWAY"
        store = f"AWAY ({state['store_problem']})" if state["store_problem"] else "ok"
        typer.echo(f"bridge: {problem or 'at work'}, process {state['pid']}, since {state['started_utc']}")
        typer.echo(f"broker: {state['broker']} {broker}, {state['n_connection_losses']} losses")
        typer.echo(f"store: {store}")
        if state["intake_problem"]:
            typer.echo(f"intake: {state['intake_problem']}")
        typer.echo(
            f"received {state['received']}, stored {state['stored']}, refused {state['refused']}, "
            f"spooled {state['spooled']} ({state['spool_bytes'] / 2**20:.1f} MiB), lag {state['lag_s']:.1f} s"
        )
        typer.echo(f"alarms: {', '.join(state['alarms_on']) or 'none'}")
    if problem:
        raise typer.Exit(1)


def simulate(
    url: Url = _URL,
    topic: Annotated[str, typer.Option(help="Where to publish.", envvar="FORESENSE_MQTT_TOPIC")] = TOPIC,
    machines: Annotated[int, typer.Option(help="How many.")] = 3,
    rows: Annotated[int, typer.Option(help="Samples of each machine.")] = 43_200,
    interval: Annotated[float, typer.Option(help="Seconds between samples, 2 to 3600.")] = 2.0,
    start: Annotated[str, typer.Option(help="First sample: `now`, or a time like 2025-01-01T00:00:00Z.")] = "now",
    time_zone: Annotated[str, typer.Option(help="Shifts follow this clock.")] = "UTC",
    seed: Annotated[int, typer.Option(help="Of the plant.")] = 0,
    speed: Annotated[
        float, typer.Option(help="1: real time; 60: a minute takes a second; 0: as fast as acknowledged.")
    ] = 1.0,
    batch: Annotated[int, typer.Option(help="Samples of one machine in one message.")] = 1,
    client_id: Annotated[str, typer.Option(help="The broker keeps our session under it.")] = "foresense-simulate",
    folder: Annotated[Path, typer.Option(help="What the broker has not acknowledged; below the project.")] = Path(
        "bridge/plant"
    ),
    json_logs: Json = False,
) -> None:
    """Publish the simulated plant over MQTT (QoS 1), in real time, faster, or as a back-fill of the past."""
    from foresense.bridge.plant import PlantSettings, plant_messages
    from foresense.bridge.publisher import Publisher
    from foresense.bridge.settings import BrokerSettings, validated
    from foresense.bridge.spool import Spool
    from foresense.sources.clock import check_zone

    _log_as(json_logs)
    if not (isfinite(speed) and speed >= 0):
        raise ValueError(f"--speed: expected a number, 0 or more, found {speed:g}")
    check_zone(time_zone, "--time-zone")
    given = {"n_assets": machines, "n_rows": rows, "interval_s": interval, "seed": seed, "batch": batch}
    plant = validated(PlantSettings, {**given, "start_ns": 0, "time_zone": time_zone}, _PLANT_OPTIONS)
    plant = plant.model_copy(update={"start_ns": _start_ns(start, time_zone, interval)})
    broker = BrokerSettings.from_url(url, os.environ)
    spool = Spool(_below_project(folder) / _SPOOL)
    try:
        publisher = Publisher(broker, spool, topic=topic, client_id=client_id)
        done = publisher.run(plant_messages(plant), stopped_by_signals(), speed=speed)
        typer.echo(f"published {done.messages} messages; {done.samples} samples of the plant, {spool.depth} on disk")
    finally:
        spool.close()


def stopped_by_signals() -> Event:
    """An event that SIGTERM and SIGINT set."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _start_ns(text: str, time_zone: str, interval_s: float) -> int:
    """Nanoseconds since 1970 UTC; `now` is laid on a whole interval."""
    from zoneinfo import ZoneInfo

    if text == "now":
        return int(datetime.now(UTC).timestamp() // interval_s * interval_s) * 10**9
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--start: expected `now` or a time like 2025-01-01T00:00:00Z, found {text!r}") from None
    start = start if start.tzinfo is not None else start.replace(tzinfo=ZoneInfo(time_zone))
    since = start - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def _log_as(json_logs: bool) -> None:
    if json_logs:
        from foresense.bridge.logs import use_json_lines

        use_json_lines()


def _project() -> Path:
    return Path(os.environ.get("FORESENSE_PROJECT", "."))


def _below_project(folder: Path) -> Path:
    return _project() / folder
