"""Services by a docker that only writes down how it was called: no engine runs where these tests do."""

import json
import stat
import sys
from pathlib import Path

import pytest

from tools import containers, volumes
from tools.services import main

ROOT = Path(__file__).parents[2]
FAKE = """#!{python} -S
import json, os, sys
from pathlib import Path
home = Path({home!r})
words = sys.argv[1:]
with (home / "calls").open("a") as file:
    file.write(json.dumps(words) + chr(10))
with (home / "environment").open("w") as file:
    json.dump(dict(os.environ), file)
for needle, (code, out, err) in json.loads((home / "answers").read_text()).items():
    if needle in " ".join(words):
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.exit(code)
if "tar" in words:
    sys.stdout.write("bytes of " + words[words.index("--mount") + 1])
if "-tar" in " ".join(words) or "-xpf" in " ".join(words):
    (home / "given").write_bytes(sys.stdin.buffer.read())
"""


class FakeDocker:
    """A program `docker` on PATH; `answers` maps a part of the words to exit code, stdout and stderr."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "docker").write_text(FAKE.format(python=sys.executable, home=str(home)))
        (home / "docker").chmod(0o755)
        self.answer({})

    def answer(self, answers: dict[str, tuple[int, str, str]]) -> None:
        (self.home / "answers").write_text(json.dumps(answers))

    @property
    def calls(self) -> list[str]:
        path = self.home / "calls"
        return [" ".join(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []

    def words_that_remove_data(self) -> list[str]:
        lines = [json.loads(line) for line in (self.home / "calls").read_text().splitlines()]
        forbidden = {"-v", "--volumes", "--volume", "prune", "rmi"}
        return [
            " ".join(words)
            for words in lines
            if forbidden & set(words) or words[:2] in (["volume", "rm"], ["volume", "prune"])
        ]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    home = tmp_path / "bin"
    home.mkdir()
    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")
    return FakeDocker(home)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "store").mkdir(parents=True)
    (root / "store" / "part").write_text("samples")
    (root / "compose.yaml").write_text((ROOT / "compose.yaml").read_text())
    return root


def test_up_makes_passwords_and_volumes_and_shows_no_password(
    docker: FakeDocker, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["up"], project) == 0
    secrets = project / "deploy" / ".env"
    values = [line.partition("=")[2] for line in secrets.read_text().splitlines()[1:]]
    said = "".join(capfd.readouterr())
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert not [value for value in values if value in said or value in " ".join(docker.calls)]
    assert [call for call in docker.calls if call.startswith("volume create foresense-influxdb")]
    assert docker.calls[-1].endswith("compose.yaml up --detach --build --wait --wait-timeout 900")
    before = secrets.read_text()
    assert main(["up", "--no-build", "mosquitto"], project) == 0
    assert docker.calls[-1].endswith("up --detach --no-build --wait --wait-timeout 900 mosquitto")
    assert secrets.read_text() == before
    assert json.loads((docker.home / "environment").read_text())["FORESENSE_TAG"] == "dev"  # no git in this folder


def test_down_keeps_data(docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["up"], project)
    assert main(["down"], project) == 0
    assert docker.calls[-1].endswith("compose.yaml down")
    n_calls = len(docker.calls)
    for word in ("-v", "--volumes", "--rmi=all"):
        assert main(["down", word], project) == 2
        assert f"down takes nothing more, found ['{word}']; nothing here removes data" in capsys.readouterr().err
    assert len(docker.calls) == n_calls
    assert docker.words_that_remove_data() == []


def test_up_that_does_not_become_healthy_says_where_to_look(
    docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.answer({"up --detach": (1, "", "")})
    assert main(["up"], project) == 1
    message = "not everything became healthy (docker compose ended with 1); see: tools.services logs"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("as_list", [True, False])
def test_status_names_what_is_not_well(
    docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str], as_list: bool
) -> None:
    main(["up"], project)
    rows = [{"Service": "influxdb", "State": "running", "Health": "healthy"}, {"Service": "bridge", "State": "exited"}]
    text = json.dumps(rows) if as_list else "\n".join(json.dumps(row) for row in rows)
    docker.answer({"ps --all": (0, text, ""), "config --services": (0, "influxdb\nbridge\nmlflow\n", "")})
    capsys.readouterr()
    assert main(["status"], project) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["bridge", "exited", "-"],
        ["influxdb", "running", "healthy"],
        ["mlflow", "absent", "-"],
    ]
    docker.answer({"ps --all": (0, json.dumps(rows[:1]), ""), "config --services": (0, "influxdb\n", "")})
    assert main(["status"], project) == 0


def test_logs_follow(docker: FakeDocker, project: Path) -> None:
    main(["up"], project)
    assert main(["logs", "--follow", "bridge"], project) == 0
    assert docker.calls[-1].endswith("logs --tail 200 --follow bridge")


def test_nothing_was_started_here(docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"], project) == 1
    message = "no deploy/.env here, so nothing was started from this folder; run: tools.services up"
    assert message in capsys.readouterr().err


def test_without_docker_the_message_says_what_works(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["up"], project) == 1
    assert "docker not found on PATH: the services of compose.yaml need Docker Engine" in capsys.readouterr().err
    assert not (project / "deploy").exists()


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"compose version": (1, "", "unknown command")},
            "has no `compose`: install Docker's compose plugin, version 2.17",
        ),
        (
            {"version --format": (1, "", "no socket")},
            r"no Docker engine answers \(no socket\): start it, and see that you may",
        ),
    ],
)
def test_half_a_docker_is_named(docker: FakeDocker, project: Path, answers, message: str) -> None:
    docker.answer(answers)
    with pytest.raises(containers.ServiceError, match=message):
        containers.Docker.find(project)


def test_a_call_that_fails_shows_what_docker_said(docker: FakeDocker, project: Path) -> None:
    docker.answer({"volume create": (1, "", "no space left\n")})
    with pytest.raises(containers.ServiceError, match=r"docker volume create x \.\.\. ended with 1: no space left"):
        containers.Docker.find(project).must("volume", "create", "x")


def test_images_carry_the_commit_they_were_built_from() -> None:
    assert containers.tag(ROOT).removesuffix("-dirty").isalnum()
    assert len(containers.tag(ROOT).removesuffix("-dirty")) == 12


def test_backup_stops_what_runs_copies_every_volume_and_starts_it_again(docker: FakeDocker, project: Path) -> None:
    main(["up"], project)
    docker.answer({"ps --filter": (0, "influxdb\nbridge\n", ""), "exec -T influxdb": (0, "a dump", "")})
    n_calls = len(docker.calls)
    assert main(["backup"], project) == 0
    calls = docker.calls[n_calls:]
    order = [
        next(i for i, call in enumerate(calls) if word in call)
        for word in ("influx backup", "stop influxdb bridge", "src=foresense-influxdb,", "start influxdb bridge")
    ]
    assert order == sorted(order)
    (folder,) = (project / "backups").iterdir()
    assert (folder / "influx-dump.tar").read_text() == "a dump"
    assert (
        folder / "foresense-bridge.tar"
    ).read_text() == "bytes of type=volume,src=foresense-bridge,dst=/from,readonly"
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = {part["name"] for part in manifest["parts"]}
    assert kept == {"secrets", "store", "influx-dump", *containers.volumes(project)}
    assert docker.words_that_remove_data() == []


def test_a_copy_that_fails_leaves_no_backup_and_starts_the_services_again(
    docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["up"], project)
    docker.answer({"ps --filter": (0, "bridge\n", ""), "src=foresense-mlflow": (2, "", "disk full")})
    assert main(["backup"], project) == 1
    assert "ended with 2: disk full" in capsys.readouterr().err
    assert docker.calls[-1].endswith("start bridge")
    assert list((project / "backups").iterdir()) == []


def test_restore_copies_what_a_volume_held_before_it_fills_it(
    docker: FakeDocker, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["up"], project)
    main(["backup"], project)
    (folder,) = (project / "backups").iterdir()
    docker.answer({"ps --filter": (0, "bridge\n", "")})
    assert main(["restore", str(folder), "--replace"], project) == 1
    assert "bridge: still running; run `tools.services down` first (it removes no data)" in capsys.readouterr().err
    docker.answer({"ls -A": (0, "influxd.bolt\n", "")})
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "compose.yaml").write_text((ROOT / "compose.yaml").read_text())
    assert main(["restore", str(folder)], fresh) == 1
    assert "there is data already in the volumes ['foresense-mosquitto'" in capsys.readouterr().err
    n_calls = len(docker.calls)
    assert main(["restore", str(folder), "--replace"], fresh) == 0
    calls = [call for call in docker.calls[n_calls:] if "foresense-prefect" in call and "ls -A" not in call]
    created, copied, filled = calls[-3:]
    assert created.startswith("volume create foresense-prefect.before-")
    assert copied.endswith("cp -a /from/. /to/")
    assert "src=foresense-prefect,dst=/to" in filled
    assert (docker.home / "given").read_text() == "bytes of type=volume,src=foresense-prefect,dst=/from,readonly"
    assert (fresh / "deploy" / ".env").read_text() == (project / "deploy" / ".env").read_text()
    assert docker.words_that_remove_data() == []
    assert "put aside: foresense-prefect.before-" in capsys.readouterr().out


def test_restore_of_folders_alone_says_what_it_left_out(
    docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["up"], project)
    main(["backup"], project)
    (folder,) = (project / "backups").iterdir()
    n_calls = len(docker.calls)
    assert main(["restore", str(folder), "--embedded", "--replace"], project) == 0
    assert "restored; 6 volumes left out (--embedded)" in capsys.readouterr().out
    assert len(docker.calls) == n_calls


def test_a_volume_that_is_not_ours_is_refused(docker: FakeDocker, project: Path) -> None:
    from tools.backups import Part

    with pytest.raises(containers.ServiceError, match=r"has the volumes \['other'\], which compose.yaml does not"):
        volumes.check_volumes(containers.Docker.find(project), [Part("other", "volume", "", 0, "")], replace=True)


def test_the_helper_is_the_base_of_our_images() -> None:
    assert f"FROM {volumes.HELPER}" in (ROOT / "deploy" / "Dockerfile").read_text()
