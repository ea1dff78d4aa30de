"""docs/plant.md, sections 1 to 4, as a reader types them: broker, bridge, machines, ingest."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]


def commands(first: int, last: int) -> str:
    """The commands of sections `first` to `last`; a block right after another one is what that printed."""
    found: list[str] = []
    section, is_inside, is_answer, follows_a_block = 0, False, False, False
    for line in (ROOT / "docs" / "plant.md").read_text().splitlines(keepends=True):
        if line.startswith("```"):
            is_inside = not is_inside
            is_answer = is_inside and follows_a_block
            follows_a_block = True
        elif is_inside:
            found += [line] if first <= section <= last and not is_answer else []
        elif line.strip():
            follows_a_block = False
            section += line.startswith("## ")
    return "".join(found)


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """A project as a reader has it, with a broker's port that nobody else has."""
    for name in ("params.yaml", "code.json"):
        shutil.copy(ROOT / name, tmp_path / name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    conf = (ROOT / "deploy/mosquitto/loopback.conf").read_text()
    (tmp_path / "deploy/mosquitto").mkdir(parents=True)
    (tmp_path / "deploy/mosquitto/loopback.conf").write_text(conf.replace("listener 1883", f"listener {port}"))
    return tmp_path


def wait_for_more_than(n_messages: int, state: Path) -> None:
    end = time.monotonic() + 60
    while json.loads(state.read_text())["received"] <= n_messages:
        assert time.monotonic() < end, "nothing was published after the back-fill"
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin"), reason="needs mosquitto")
def test_the_commands_lead_from_nothing_to_recordings(reader: Path) -> None:
    port = re.search(r"listener (\d+)", (reader / "deploy/mosquitto/loopback.conf").read_text())[1]
    script = f"set -euo pipefail\n{commands(1, 4)}"
    assert [line for line in script.splitlines() if line.startswith("foresense")] != []
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FORESENSE_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
        "FORESENSE_MQTT_URL": f"mqtt://127.0.0.1:{port}",
        "FORESENSE_METRICS_PORT": "0",
    }
    with (reader / "said.txt").open("w") as output:
        walk = subprocess.Popen(
            ["bash", "-c", script],
            cwd=reader,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # what the script leaves in the background ends with the test
        )
        try:
            code = walk.wait(240)
            if code == 0:
                wait_for_more_than(81, reader / "bridge/state.json")  # the live samples, after the back-fill
        finally:
            os.killpg(walk.pid, signal.SIGKILL)
    said = (reader / "said.txt").read_text()
    assert code == 0, said
    assert "published 81 messages; 8007 samples of the plant, 0 on disk" in said
    report = json.loads((reader / "reports/live/ingest.json").read_text())
    assert {name: facts["n_rows"] for name, facts in report["assets"].items()} == {
        "cnc-mill-5-axis": 2400, "lathe-1-spindle": 2400, "robot-arm-02": 2400
    }  # fmt: skip
    assert pq.read_table(reader / "data/recordings/live/001-lathe-1-spindle.parquet").num_rows == 2400
