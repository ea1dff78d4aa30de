"""A real mosquitto, and a store in memory that can be away."""

import ipaddress
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
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


@pytest.fixture
def certificates() -> Callable[[Path, str], tuple[Path, Path, Path]]:
    """Makes a CA, and a certificate of it with its key for 127.0.0.1, as PEM files in a folder, of a name."""
    return make_certificates


def make_certificates(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """A CA, and a certificate of it with its key for 127.0.0.1, as PEM files."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{name} {part}")]) for part in ("CA", "broker")]
    now = datetime.now(UTC)
    found = []
    for part in range(2):
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[part])
            .issuer_name(names[0])
            .public_key(keys[part].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=part == 0, path_length=None), critical=True)
        )
        if part:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        found.append(folder / f"{name}-{part}.crt")
        certificate = builder.sign(keys[0], hashes.SHA256())
        found[-1].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    found.append(folder / f"{name}.key")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    found[-1].write_bytes(keys[1].private_bytes(pem, form, serialization.NoEncryption()))
    return found[0], found[1], found[2]
