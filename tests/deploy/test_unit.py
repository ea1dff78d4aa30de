"""The systemd unit of the bridge."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "foresense-bridge.service"


def settings() -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, strict=False)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read(UNIT)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """The program is installed on the target only, so another one that is there stands in for it."""
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    about_it = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert about_it == []
    assert done.returncode == 0, done.stderr


def test_it_starts_again_always_and_stops_cleanly() -> None:
    service = settings()["Service"]
    assert (service["Restart"], service["KillSignal"], service["StateDirectory"]) == ("always", "SIGTERM", "foresense")
    assert int(service["TimeoutStopSec"]) >= 10
    assert settings()["Unit"]["StartLimitIntervalSec"] == "0"


def test_it_is_not_root_and_has_no_password_in_it() -> None:
    service = settings()["Service"]
    assert service["User"] not in ("root", "0")
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["EnvironmentFile"] == "/etc/foresense/bridge.env"
    assert not re.search(r"(PASSWORD|TOKEN)\S*=", UNIT.read_text())
