"""Services by a docker that only writes down how it was called: no engine runs where these tests do."""

import json
import stat
import sys
import tarfile
from pathlib import Path

import pytest

from foresense.services import containers, volumes
from foresense.services.backups import Part

ROOT = Path(__file__).parents[2]
FAKE = """#!{python} -S
import io, json, os, sys, tarfile
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
if "tar" in words or "exec -T influxdb" in " ".join(words):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        text = ("a dump" if "exec" in words else "bytes of " + words[words.index("--mount") + 1]).encode()
        info = tarfile.TarInfo("./content")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    sys.stdout.buffer.write(made.getvalue())
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


def content(path: Path) -> str:
    with tarfile.open(path) as tar:
        (member,) = tar
        return tar.extractfile(member).read().decode()


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
    foresense, docker: FakeDocker, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert foresense(["up"], project) == 0
    secrets = project / "deploy" / ".env"
    values = [line.partition("=")[2] for line in secrets.read_text().splitlines()[1:]]
    said = "".join(capfd.readouterr())
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert not [value for value in values if value in said or value in " ".join(docker.calls)]
    assert [call for call in docker.calls if call.startswith("volume create foresense-influxdb")]
    assert docker.calls[-1].endswith("compose.yaml up --detach --build --wait --wait-timeout 900")
    before = secrets.read_text()
    assert foresense(["up", "--no-build", "mosquitto"], project) == 0
    assert docker.calls[-1].endswith("up --detach --no-build --wait --wait-timeout 900 mosquitto")
    assert secrets.read_text() == before
    assert json.loads((docker.home / "environment").read_text())["FORESENSE_TAG"] == "dev"  # no git in this folder


def test_down_keeps_data(foresense, docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foresense(["up"], project)
    assert foresense(["down"], project) == 0
    assert docker.calls[-1].endswith("compose.yaml down")
    n_calls = len(docker.calls)
    for word in ("-v", "--volumes", "--rmi=all"):
        assert foresense(["down", word], project) == 2
        assert f"No such option: {word.partition('=')[0]}" in capsys.readouterr().err
    assert len(docker.calls) == n_calls
    assert docker.words_that_remove_data() == []


def test_up_that_does_not_become_healthy_says_where_to_look(
    foresense, docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.answer({"up --detach": (1, "", "")})
    assert foresense(["up"], project) == 1
    message = "not everything became healthy (docker compose ended with 1); see: foresense logs"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("as_list", [True, False])
def test_status_names_what_is_not_well(
    foresense, docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str], as_list: bool
) -> None:
    foresense(["up"], project)
    rows = [{"Service": "influxdb", "State": "running", "Health": "healthy"}, {"Service": "bridge", "State": "exited"}]
    text = json.dumps(rows) if as_list else "\n".join(json.dumps(row) for row in rows)
    docker.answer({"ps --all": (0, text, ""), "config --services": (0, "influxdb\nbridge\nmlflow\n", "")})
    capsys.readouterr()
    assert foresense(["status"], project) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["bridge", "exited", "-"],
        ["influxdb", "running", "healthy"],
        ["mlflow", "absent", "-"],
    ]
    docker.answer({"ps --all": (0, json.dumps(rows[:1]), ""), "config --services": (0, "influxdb\n", "")})
    assert foresense(["status"], project) == 0


def test_logs_follow(foresense, docker: FakeDocker, project: Path) -> None:
    foresense(["up"], project)
    assert foresense(["logs", "--follow", "bridge"], project) == 0
    assert docker.calls[-1].endswith("logs --tail 200 --follow bridge")


def test_nothing_was_started_here(
    foresense, docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foresense(["status"], project) == 1
    message = "no deploy/.env here, so nothing was started from this folder; run: foresense up"
    assert message in capsys.readouterr().err


def test_without_docker_the_message_says_what_works(
    foresense, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for word in ("up", "status", "logs", "down"):
        assert foresense([word], project) == 1
        assert capsys.readouterr().err == (
            "foresense: docker not found on PATH: the services of compose.yaml need Docker Engine with its compose "
            "plugin; install it, or go on with files and no container: `foresense bridge status`, "
            "`foresense pipelines`, `make serve` for Prefect and MLflow, `foresense backup --embedded`\n"
        )
    assert not (project / "deploy").exists()


def test_a_folder_without_services_is_named(foresense, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert foresense(["status"], tmp_path) == 1
    message = f"no compose.yaml in {tmp_path}: the services are described there; call this in a checkout of foresense"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("word", ["up", "logs"])
def test_a_service_that_compose_does_not_have_is_refused(
    foresense, docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert foresense([word, "brigde", "--", "--volumes"], project) == 1
    assert (
        "compose.yaml has no service ['--volumes', 'brigde']; known: ['bridge', 'influxdb'" in capsys.readouterr().err
    )
    assert not [call for call in docker.calls if f" {word} " in call]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["restore"], "Missing argument 'folder'"),
        (["status", "bridge"], "Got unexpected extra argument"),
        (["backup", "--all"], "No such option: --all"),
        (["logs", "--tail", "5"], "No such option: --tail"),
    ],
)
def test_wrong_words_are_a_usage_error(
    foresense, docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert foresense(words, project) == 2
    assert message in capsys.readouterr().err
    assert docker.calls == []


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"compose version": (1, "", "unknown command")},
            "has no `compose`: install Docker's compose plugin, version 2.17",
        ),
        (
            {"version --format": (1, "", "no socket")},
            r"no Docker engine answers \(no socket\): start it, .*, or go on with files and no container",
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


def test_backup_stops_what_runs_copies_every_volume_and_starts_it_again(
    foresense, docker: FakeDocker, project: Path
) -> None:
    foresense(["up"], project)
    docker.answer({"ps --filter": (0, "influxdb\nbridge\n", "")})
    n_calls = len(docker.calls)
    assert foresense(["backup"], project) == 0
    calls = docker.calls[n_calls:]
    order = [
        next(i for i, call in enumerate(calls) if word in call)
        for word in ("influx backup", "stop influxdb bridge", "src=foresense-influxdb,", "start influxdb bridge")
    ]
    assert order == sorted(order)
    (folder,) = (project / "backups").iterdir()
    assert content(folder / "influx-dump.tar") == "a dump"
    assert content(folder / "foresense-bridge.tar") == "bytes of type=volume,src=foresense-bridge,dst=/from,readonly"
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = {part["name"] for part in manifest["parts"]}
    assert kept == {"secrets", "store", "influx-dump", *containers.volumes(project)}
    assert docker.words_that_remove_data() == []


@pytest.mark.parametrize(
    ("url", "answers", "code"),
    [
        ("", {}, 0),
        ("http://127.0.0.1:8086", {}, 0),
        ("http://plant:8086", {}, 1),
        ("http://127.0.0.1:8086", {"volume inspect foresense-influxdb": (1, "", "no such volume")}, 1),
    ],
)
def test_samples_of_an_influxdb_that_is_not_ours_are_told_to_be_missing(
    foresense,
    docker: FakeDocker,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    answers: dict[str, tuple[int, str, str]],
    code: int,
) -> None:
    foresense(["up"], project)
    docker.answer(answers)
    monkeypatch.setenv("FORESENSE_STORE", "influx")
    monkeypatch.setenv("FORESENSE_INFLUX_URL", url)
    assert foresense(["backup"], project) == code
    assert (f"NOT in this backup: the samples in influx ({url})" in capsys.readouterr().out) == bool(code)


def test_an_empty_volume_holds_no_influxdb(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "foresense-influxdb.tar", "w") as tar:
        tar.add(tmp_path, arcname=".", recursive=False)
    part = Part("foresense-influxdb", "volume", "foresense-influxdb.tar", 0, "")
    assert not volumes.has_influx(tmp_path, [part])


def test_a_copy_that_fails_leaves_no_backup_and_starts_the_services_again(
    foresense, docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foresense(["up"], project)
    docker.answer({"ps --filter": (0, "bridge\n", ""), "src=foresense-mlflow": (2, "", "disk full")})
    assert foresense(["backup"], project) == 1
    assert "ended with 2: disk full" in capsys.readouterr().err
    assert docker.calls[-1].endswith("start bridge")
    assert list((project / "backups").iterdir()) == []


def test_restore_copies_what_a_volume_held_before_it_fills_it(
    foresense, docker: FakeDocker, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foresense(["up"], project)
    foresense(["backup"], project)
    (folder,) = (project / "backups").iterdir()
    docker.answer({"ps --filter": (0, "bridge\n", "")})
    assert foresense(["restore", str(folder), "--replace"], project) == 1
    assert "bridge: still running; run `foresense down` first (it removes no data)" in capsys.readouterr().err
    docker.answer({"ls -A": (0, "influxd.bolt\n", "")})
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "compose.yaml").write_text((ROOT / "compose.yaml").read_text())
    assert foresense(["restore", str(folder)], fresh) == 1
    assert "there is data already in the volumes ['foresense-mosquitto'" in capsys.readouterr().err
    n_calls = len(docker.calls)
    assert foresense(["restore", str(folder), "--replace"], fresh) == 0
    calls = [call for call in docker.calls[n_calls:] if "foresense-prefect" in call and "ls -A" not in call]
    created, copied, filled = calls[-3:]
    assert created.startswith("volume create foresense-prefect.before-")
    assert copied.endswith("cp -a /from/. /to/")
    assert "src=foresense-prefect,dst=/to" in filled
    assert content(docker.home / "given") == "bytes of type=volume,src=foresense-prefect,dst=/from,readonly"
    assert (fresh / "deploy" / ".env").read_text() == (project / "deploy" / ".env").read_text()
    assert docker.words_that_remove_data() == []
    assert "put aside: foresense-prefect.before-" in capsys.readouterr().out


def test_restore_of_folders_alone_says_what_it_left_out(
    foresense, docker: FakeDocker, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foresense(["up"], project)
    foresense(["backup"], project)
    (folder,) = (project / "backups").iterdir()
    n_calls = len(docker.calls)
    assert foresense(["restore", str(folder), "--embedded", "--replace"], project) == 0
    assert "restored; 6 volumes left out (--embedded)" in capsys.readouterr().out
    assert len(docker.calls) == n_calls


def test_a_volume_that_is_not_ours_is_refused(docker: FakeDocker, project: Path) -> None:
    with pytest.raises(containers.ServiceError, match=r"has the volumes \['other'\], which compose.yaml does not"):
        volumes.check_volumes(containers.Docker.find(project), [Part("other", "volume", "", 0, "")], replace=True)


def test_the_helper_is_the_base_of_our_images() -> None:
    assert f"FROM {volumes.HELPER}" in (ROOT / "deploy" / "Dockerfile").read_text()
