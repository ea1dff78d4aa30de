"""Stores on real servers: influxd 1.6.7 directly and through influxdb-client, and the user's own where one is named."""

import importlib.util
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from foresense.stores.influx import InfluxSettings, InfluxStore
from foresense.stores.influxql import FIRST_NS, LAST_NS

HERE = Path(__file__).parent


def load(name: str) -> ModuleType:
    """Load a helper beside this file; a package `tests` is installed elsewhere, so its name cannot be imported."""
    known = f"store_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module
        spec.loader.exec_module(module)
    return sys.modules[known]


load("old_rows")


@pytest.fixture(scope="session")
def servers() -> ModuleType:
    """Functions that make real servers: influxd, victoria_metrics, mosquitto."""
    return load("servers")


@pytest.fixture(scope="session")
def real_server(servers: ModuleType) -> Callable[..., Any]:
    """Make a server, by name; the test is skipped where it is not installed."""

    def make(name: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(servers, name)(*arguments, **options)
        except servers.MissingServerError as error:
            pytest.skip(str(error))

    return make


@pytest.fixture(scope="session")
def influxd(real_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running influxd 1.6.7 for the whole session; tests keep apart by measurement."""
    with real_server("influxd", tmp_path_factory.mktemp("influxd")) as server:
        with InfluxStore(InfluxSettings(url=server.url, flavour="v1")) as store:
            store.prepare()
        yield server


@pytest.fixture(scope="session")
def victoria(real_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running VictoriaMetrics for the whole session."""
    with real_server("victoria_metrics", tmp_path_factory.mktemp("victoria")) as server:
        yield server


@pytest.fixture(scope="session")
def shims() -> ModuleType:
    """The module of the proxy with the write endpoint of InfluxDB 2."""
    return load("shim")


@pytest.fixture(scope="session")
def shim_url(influxd: Any, shims: ModuleType) -> Iterator[str]:
    """influxd 1.6.7 behind the write endpoint of InfluxDB 2."""
    with shims.Shim(influxd.url) as shim:
        yield shim.url


@pytest.fixture(params=["influxd-1.6.7", "influxdb-client-to-influxd-1.6.7", "yours"])
def settings(request: pytest.FixtureRequest) -> InfluxSettings:
    """Settings of one server with a measurement that no other test uses."""
    measurement = f"foresense_test_{uuid.uuid4().hex}"
    if request.param == "yours":
        if not os.environ.get("FORESENSE_INFLUX_URL"):
            pytest.skip("runs against a server of yours: set FORESENSE_INFLUX_URL (docs/stores.md)")
        return InfluxSettings.from_environment(os.environ).model_copy(update={"measurement": measurement})
    if request.param == "influxd-1.6.7":
        url = request.getfixturevalue("influxd").url
        return InfluxSettings(url=url, measurement=measurement)
    url = request.getfixturevalue("shim_url")
    return InfluxSettings(url=url, measurement=measurement, flavour="v2", org="-", token="any:thing", writer="client")


@pytest.fixture
def store(settings: InfluxSettings, request: pytest.FixtureRequest) -> Iterator[InfluxStore]:
    """An empty store on that server."""
    with InfluxStore(settings) as store:
        if store.flavour == "vm":
            pytest.skip("VictoriaMetrics can only be written to")
        is_yours = "yours" in request.node.callspec.id
        if is_yours:
            store.prepare()
        yield store
        if is_yours and store.flavour != "v3":
            store.delete(FIRST_NS, LAST_NS + 1)
