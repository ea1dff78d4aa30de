from pathlib import Path

import pytest

from foresense.config import ConfigError, read_device

ROOT = Path(__file__).parents[2]
PI = """
name: pi5
description: a board
reach: ssh
host: pi5.local
memory_mib: 8192
formats: [onnx]
source: data sheet
"""


@pytest.fixture
def devices(tmp_path):
    (tmp_path / "pi5.yaml").write_text(PI)
    return tmp_path


def test_a_device_is_read_with_its_limits(devices):
    found = read_device(devices, "pi5")
    assert (found.reach, found.host, found.memory_mib, found.formats) == ("ssh", "pi5.local", 8192, ("onnx",))


def test_how_a_device_is_reached_is_set_only_where_the_client_does_not_know(devices):
    found = read_device(devices, "pi5")
    assert (found.port, found.key_file, found.known_hosts, found.python) == (None, None, None, "python3")
    more = "port: 2222\nkey_file: ~/.ssh/pi\nknown_hosts: ~/.ssh/pis\npython: ~/venv/bin/python\n"
    (devices / "pi5.yaml").write_text(PI + more)
    found = read_device(devices, "pi5")
    assert (found.port, found.key_file, found.known_hosts) == (2222, Path("~/.ssh/pi"), Path("~/.ssh/pis"))
    assert found.python == "~/venv/bin/python"
    (devices / "pi5.yaml").write_text(PI + "port: 70000\n")
    with pytest.raises(ConfigError, match=r"port: .*less than or equal to 65535"):
        read_device(devices, "pi5")
    (devices / "pi5.yaml").write_text(PI + "password: secret\n")
    with pytest.raises(ConfigError, match="password: unknown key"):
        read_device(devices, "pi5")


def test_an_unknown_device_lists_the_known_ones(devices):
    with pytest.raises(ConfigError, match="no device 'pi6'; known: pi5"):
        read_device(devices, "pi6")


def test_a_device_in_another_encoding_is_named(devices):
    (devices / "pi5.yaml").write_bytes(PI.replace("a board", "ein Gerät").encode("latin-1"))
    with pytest.raises(ConfigError, match=r"pi5\.yaml: not YAML in UTF-8 that can be read: .*0xe4"):
        read_device(devices, "pi5")


def test_all_problems_of_a_device_come_together(devices):
    (devices / "pi5.yaml").write_text(PI.replace("memory_mib", "memory_mb").replace("ssh", "usb"))
    with pytest.raises(ConfigError, match=r"(?s)reach: .*'usb'.*memory_mb: unknown key; did you mean 'memory_mib'\?"):
        read_device(devices, "pi5")


def test_every_committed_device_is_valid():
    names = [path.stem for path in (ROOT / "devices").glob("*.yaml")]
    if not names:
        pytest.skip("no devices/*.yaml in this checkout")
    for name in names:
        assert read_device(ROOT / "devices", name).name == name
