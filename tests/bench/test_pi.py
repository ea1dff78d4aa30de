"""The smoke test of a Pi folder on this machine, and on this machine behind a real ssh server."""

import json
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from foresense.bench import openssh, pi
from foresense.bench.openssh import DeviceError, options, python_of
from foresense.bench.pi import WANTED, compare, gates_of, not_measured, run_smoke_test
from foresense.config import ConfigError, DeviceConfig, read_device

HOST = DeviceConfig(name="host", description="", reach="local", formats=("tflite",), source="test")
BOARD = HOST.model_copy(update={"name": "board", "reach": "ssh", "host": "pi@board"})


def failures(result: dict) -> list[str]:
    """One line for each test and gate that did not pass."""
    return [
        f"{kind} {row['number']}, {row['name']}: {row['verdict']}: {row['detail']}"
        for kind in ("tests", "gates")
        for row in result[kind]
        if row["verdict"] != "PASS"
    ]


@pytest.fixture(scope="session")
def quality(pi_folder: Path) -> dict:
    return json.loads((pi_folder / "quality.json").read_text())["models"]


@pytest.fixture(scope="session")
def exported(pi_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as `export` leaves it: nobody has run it, nothing is known of its quality."""
    folder = tmp_path_factory.mktemp("exported") / "pi"
    folder.mkdir()
    for path in pi_folder.iterdir():
        if path.name not in ("quality.json", "smoke_test.json"):
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="session")
def here(exported: Path, quality: dict) -> dict:
    return run_smoke_test(HOST, exported, quality)


def test_this_machine_passes_and_the_folder_stays_as_it_was(exported: Path, here: dict) -> None:
    assert here["passed"], failures(here)
    assert failures(here) == []
    assert not {"smoke_test.json", "quality.json"} & {path.name for path in exported.iterdir()}
    by_name = {gate.name: gate for gate in gates_of(here)}
    assert all(gate.passed for gate in by_name.values())
    assert (by_name["memory"].target, by_name["memory"].unit) == (512.0, "MiB peak")
    assert by_name["n_gates_not_passed"].value == 0
    assert {"thermal_size", "acoustic_size", "latency", "quality_drop", "duration"} <= set(by_name)


def test_a_device_by_ssh_finds_what_this_machine_finds(
    ssh_device: DeviceConfig, exported: Path, quality: dict, here: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[str] = []

    def scp_to(device: DeviceConfig, files: list[Path], folder: str, *, timeout_s: float) -> None:
        folders.append(folder)
        openssh.scp_to(device, files, folder, timeout_s=timeout_s)

    monkeypatch.setattr(pi, "scp_to", scp_to)
    there = run_smoke_test(ssh_device, exported, quality)
    assert there["passed"], failures(there)
    assert [Path(folder).exists() for folder in folders] == [False], "the device is left clean"
    manifest = json.loads((exported / "manifest.json").read_text())
    found = compare(manifest, here, there)
    assert set(found) == {"thermal", "acoustic"}
    for name, facts in found.items():
        assert facts["same_bits"]
        assert facts["agrees"]
        for share in ("p50", "p95", "p99"):
            times = [result["models"][name]["latency_ms"][share] for result in (there, here)]
            assert facts["latency_ratio"][share] == times[0] / times[1]


def test_a_smoke_test_that_fails_there_brings_its_reasons_back(ssh_device: DeviceConfig, exported: Path) -> None:
    there = run_smoke_test(ssh_device, exported, {})
    assert not there["passed"]
    assert failures(there) == ["gates 11, quality drop: NOT MEASURED: thermal: quality.json has no measured drop of it"]
    not_passed = next(gate for gate in gates_of(there) if gate.name == "n_gates_not_passed")
    assert (not_passed.value, not_passed.passed) == (1.0, False)


def test_a_device_without_a_host_shows_that_nothing_was_measured(exported: Path) -> None:
    device = BOARD.model_copy(update={"host": None})
    result = run_smoke_test(device, exported, {})
    assert (result["passed"], result["n_tests_passed"], result["n_gates_passed"]) == (False, 0, 0)
    rows = result["tests"] + result["gates"]
    assert {row["verdict"] for row in rows} == {"NOT MEASURED"}
    assert {row["detail"] for row in rows} == {"not measured: no host set in devices/board.yaml"}
    assert {row["actual"] for row in rows} == {None}
    assert (len(result["tests"]), len(result["gates"])) == (7, 12)
    assert [(gate.name, gate.value, gate.passed) for gate in gates_of(result)] == [
        ("n_tests_not_passed", 7.0, False),
        ("n_gates_not_passed", 12.0, False),
    ]


def test_what_was_not_measured_is_not_compared(exported: Path, here: dict) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    assert compare(manifest, here, not_measured(exported, "no device")) == {}
    untimed = json.loads(json.dumps(here))
    untimed["models"]["thermal"]["latency_ms"] = None
    assert compare(manifest, here, untimed)["thermal"]["latency_ratio"] is None
    untimed["models"]["thermal"] |= {"golden_max_abs_error": 0.5, "digest": "other"}
    found = compare(manifest, here, untimed)["thermal"]
    assert (found["agrees"], found["same_bits"]) == (False, False)


def test_a_device_with_another_key_is_refused(ssh_device: DeviceConfig, exported: Path) -> None:
    assert ssh_device.key_file is not None
    stranger = ssh_device.model_copy(update={"key_file": ssh_device.key_file.with_name("stranger")})
    text = r"(?s)board: ssh 127\.0\.0\.1 failed: .*Permission denied.*; the device does not know this key: set key_file"
    with pytest.raises(DeviceError, match=text):
        run_smoke_test(stranger, exported, {})


def test_a_host_that_is_not_the_known_one_is_refused(ssh_device: DeviceConfig, exported: Path, tmp_path: Path) -> None:
    assert ssh_device.key_file is not None
    other = ssh_device.key_file.with_name("stranger.pub").read_text()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{ssh_device.port} {other}")
    impostor = ssh_device.model_copy(update={"known_hosts": tmp_path / "known_hosts"})
    with pytest.raises(DeviceError, match=r"Host key verification failed\.; the device's key is not the one in known_"):
        run_smoke_test(impostor, exported, {})
    unknown = ssh_device.model_copy(update={"known_hosts": tmp_path / "nobody"})
    with pytest.raises(DeviceError, match="Host key verification failed"):
        run_smoke_test(unknown, exported, {})


def test_a_device_that_is_down_is_said_to_be(ssh_device: DeviceConfig, exported: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    down = ssh_device.model_copy(update={"port": port})
    with pytest.raises(DeviceError, match=r"board: ssh 127\.0\.0\.1 failed: .*[Cc]onnection refused; no ssh server"):
        run_smoke_test(down, exported, {})
    nowhere = ssh_device.model_copy(update={"host": "no-such-device.invalid"})
    with pytest.raises(DeviceError, match=r"Could not resolve hostname .*; no such name: look at host"):
        run_smoke_test(nowhere, exported, {})


def test_a_device_without_python_is_told_what_to_set(ssh_device: DeviceConfig, exported: Path) -> None:
    bare = ssh_device.model_copy(update={"python": "python-that-is-not-there"})
    text = (
        r"board: no Python there \(.*python-that-is-not-there.*\); install it, or set `python` in devices/board\.yaml"
    )
    with pytest.raises(DeviceError, match=text):
        run_smoke_test(bare, exported, {})


def test_a_device_that_hangs_is_stopped_there(ssh_device: DeviceConfig, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "python").chmod(0o755)
    hanging = ssh_device.model_copy(update={"python": str(tmp_path / "python")})
    with pytest.raises(DeviceError, match=r"board: smoke_test\.py did not end in time and was stopped there"):
        run_smoke_test(hanging, exported, {}, timeout_s=1)


def test_a_python_that_dies_says_its_last_words(ssh_device: DeviceConfig, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho 'illegal instruction' >&2\nexit 132\n")
    (tmp_path / "python").chmod(0o755)
    dying = ssh_device.model_copy(update={"python": str(tmp_path / "python")})
    text = r"board: smoke_test\.py gave no result, exit code 132: illegal instruction"
    with pytest.raises(DeviceError, match=text):
        run_smoke_test(dying, exported, {})


def test_a_result_that_is_cut_off_is_no_result(ssh_device: DeviceConfig, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nprintf '{\"passed\": tr' > smoke_test.json\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(DeviceError, match=r"board: smoke_test\.json from there is not JSON \(.*\): '{\"passed\": tr'"):
        run_smoke_test(ssh_device.model_copy(update={"python": str(tmp_path / "python")}), exported, {})
    answers = {
        json.dumps(dict.fromkeys(WANTED, True)): "board: exit code 1, but the result says passed: True",
        '{"passed": false}': r"(?s)from there has no gates, models, .*found '{\"passed\": false}.*; look at",
        "[]": r"board: smoke_test\.json from there has no keys; expected what this folder's smoke_test\.py writes",
    }
    for answer, text in answers.items():
        (tmp_path / "python").write_text(f"#!/bin/sh\necho '{answer}' > smoke_test.json\nexit 1\n")
        with pytest.raises(DeviceError, match=text):
            run_smoke_test(ssh_device.model_copy(update={"python": str(tmp_path / "python")}), exported, {})


def test_an_unknown_device_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no device 'pi7'; known: .*pi4"):
        read_device(Path(__file__).parents[2] / "devices", "pi7")


def test_a_folder_that_was_not_exported_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.json: not there; run `foresense export <pipeline>` first"):
        run_smoke_test(HOST, tmp_path, {})


def test_the_client_never_asks_and_takes_what_the_device_says() -> None:
    always = options(BOARD)
    assert {"BatchMode=yes", "ConnectTimeout=10", "StrictHostKeyChecking=yes"} < set(always)
    full = BOARD.model_copy(
        update={
            "port": 2222,
            "key_file": Path("~/.ssh/pi"),
            "known_hosts": Path("/etc/known hosts"),
            "python": "~/v/python",
        }
    )
    assert options(full) == [
        *always,
        "-o", 'UserKnownHostsFile="/etc/known hosts"',
        "-o", "IdentitiesOnly=yes", "-i", str(Path.home() / ".ssh" / "pi"),
        "-o", "Port=2222",
    ]  # fmt: skip
    assert python_of(full) == '"$HOME"/v/python'
    assert python_of(full.model_copy(update={"python": "python3; rm -rf /"})) == "'python3; rm -rf /'"


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs an OpenSSH client")
def test_a_device_gets_no_agent_port_or_screen_whatever_the_users_settings_say(tmp_path: Path) -> None:
    settings = tmp_path / "config"
    settings.write_text("Host *\n ForwardAgent yes\n ForwardX11 yes\n LocalForward 8080 127.0.0.1:80\n")
    words = ["ssh", "-F", str(settings), *options(BOARD), "-G", "board"]
    taken = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"forwardagent no", "forwardx11 no", "clearallforwardings yes"} <= set(taken)


@pytest.mark.parametrize("host", [None, "", "-oProxyCommand=x"])
def test_a_host_that_is_none_or_an_option_is_refused(host: str | None) -> None:
    with pytest.raises(DeviceError, match=r"board: no usable host in devices/board\.yaml, found"):
        openssh.host_of(BOARD.model_copy(update={"host": host}))


def test_without_a_client_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="ssh: no such program; install an OpenSSH client to reach devices"):
        openssh.ssh(BOARD, "true", timeout_s=1)
