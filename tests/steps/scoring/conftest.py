"""A small fleet, and the servers of tests/stores."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from foresense.evaluate.risk import RiskRule
from foresense.steps import watch

HERE = Path(__file__).parent


def load(path: Path) -> ModuleType:
    """Load a helper by its path: a package `tests` is installed elsewhere, so it cannot be imported."""
    spec = importlib.util.spec_from_file_location(f"scoring_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """fleet.py: machines whose forecasts are known in closed form."""
    return load(HERE / "fleet.py")


@pytest.fixture
def fleet(small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty fleet, and the project that commands find."""
    monkeypatch.setenv("FORESENSE_PROJECT", str(tmp_path))
    monkeypatch.delenv("FORESENSE_STORE", raising=False)
    # a horizon of one day: the limits of long horizons would leave nothing to judge
    monkeypatch.setattr(watch, "RISK_RULE", RiskRule(newest=24, share=0.5, lead=12, n_equal=6))
    return small.Fleet(tmp_path)


@pytest.fixture
def influx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of an influxd 1.6.7 that is empty; the test is skipped where it is not installed."""
    servers = load(HERE.parents[1] / "stores" / "servers.py")
    try:
        server = servers.influxd(tmp_path / "influxd")
    except servers.MissingServerError as error:
        pytest.skip(str(error))
    with server:
        monkeypatch.setenv("FORESENSE_INFLUX_URL", server.url)
        yield server.url
