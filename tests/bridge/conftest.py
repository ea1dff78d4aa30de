"""A real mosquitto, and a store in memory that can be away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.rig import servers
from foresense.bridge.settings import BridgeSettings, BrokerSettings
from foresense.stores import Batch, RefusedRow, StoreUnavailableError


class MemoryStore:
    """What it was given, by asset, time and channel; `problem` keeps it from taking anything."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, int, str], float] = {}
        self.n_writes = 0
        self.problem: Exception | None = None
        self.refuses: set[str] = set()  # assets

    def write(self, batch: Batch) -> list[RefusedRow]:
        self.n_writes += 1
        if self.problem is not None:
            raise self.problem
        refused = []
        for row, (index, at, values) in enumerate(zip(batch.asset_index, batch.times_ns, batch.values, strict=True)):
            asset = batch.assets[index]
            if asset in self.refuses:
                refused.append(RefusedRow(row, "no such asset here"))
                continue
            for channel, value in zip(batch.channels, values, strict=True):
                if not np.isnan(value):
                    self.values[asset, int(at), channel] = float(value)
        return refused

    def read(self, *_: Any, **__: Any) -> Batch:
        raise StoreUnavailableError("the store in memory is not read")

    def assets(self) -> dict[str, tuple[int, int]]:
        return {}

    def delete(self, start_ns: int, end_ns: int, asset: str | None = None) -> None:
        raise StoreUnavailableError("the store in memory is not read")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Any]:
    try:
        server = servers().mosquitto(tmp_path / "mosquitto")
    except servers().MissingServerError as error:
        pytest.skip(str(error))
    with server:
        yield server


def quick(port: int, folder: Path, **others: Any) -> BridgeSettings:
    """Settings that wait tenths of seconds where real ones wait minutes."""
    broker = BrokerSettings(host="127.0.0.1", port=port, retry_first_s=0.1, retry_last_s=0.3, connect_timeout_s=2.0)
    return BridgeSettings(
        **{
            "broker": broker, "folder": folder, "metrics_port": None, "flush_s": 0.05, "write_every_s": 0.05,
            "store_retry_first_s": 0.1, "store_retry_last_s": 0.3, "state_every_s": 0.2, **others,
        }
    )  # fmt: skip


@pytest.fixture
def settings_of() -> Any:
    return quick
