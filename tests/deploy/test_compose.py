"""compose.yaml: its schema where a validator is installed, and our own rules everywhere. No engine runs it here."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from foresense.services.secret_file import NAMES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = YAML(typ="safe").load(TEXT)
SERVICES = COMPOSE["services"]
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|KEY$")

each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def test_the_schema_of_the_compose_specification_holds() -> None:
    program = shutil.which("check-jsonschema")
    if program is None:
        pytest.skip("needs check-jsonschema, which carries the schema: pip install check-jsonschema")
    words = [program, "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_compose_client_resolves_it_and_asks_for_every_password() -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("needs docker-compose (Debian: apt-get install --no-install-recommends docker-compose; no daemon)")
    words = [program, "--file", "compose.yaml", "config"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FORESENSE")}
    given = clean | dict.fromkeys(NAMES, "given-by-the-test")
    done = subprocess.run(words, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resolved = YAML(typ="safe").load(done.stdout)
    assert set(resolved["services"]) == set(SERVICES)
    url = resolved["services"]["bridge"]["environment"]["FORESENSE_MQTT_URL"]
    assert url == "mqtt://bridge:given-by-the-test@mosquitto:1883"
    refused = subprocess.run(words, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "missing, start with foresense up" in refused.stderr


def test_every_service_of_the_plant_is_there() -> None:
    assert set(SERVICES) == {
        "bridge",
        "influxdb",
        "mlflow",
        "mosquitto",
        "prefect",
        "spark-master",
        "spark-worker-1",
        "spark-worker-2",
        "worker",
    }


@each_service
def test_a_service_is_watched_restarted_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert service["restart"] == "unless-stopped"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@each_service
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)
    # Either said here, or by USER in the Dockerfile, of which test_dockerfiles.py knows more.
    assert "build" in service or not str(service["user"]).startswith("0")


@each_service
def test_an_image_has_a_tag_that_names_a_version(name: str) -> None:
    image = SERVICES[name]["image"]
    _, colon, tag = image.partition(":")
    assert colon
    assert tag == "${FORESENSE_TAG:-dev}" if "build" in SERVICES[name] else re.fullmatch(r"\d+\.\d+\.\d+", tag)
    assert "apache/spark" not in image


@each_service
def test_ports_open_on_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.match(r"127\.0\.0\.1:\d+:\d+$|\$\{FORESENSE_MQTT_BIND:-127\.0\.0\.1\}:1883:1883$", port), port


def test_the_port_that_starts_programs_is_not_published() -> None:
    assert not [port for service in SERVICES.values() for port in service.get("ports", []) if "7077" in port]


@each_service
def test_a_secret_comes_from_outside_or_not_at_all(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if SECRET.search(key):
            known = "|".join(NAMES)
            assert re.fullmatch(rf"\$\{{({known}):\?missing, start with foresense up\}}", value), key


def test_no_password_stands_in_a_committed_file() -> None:
    files = subprocess.run(["git", "ls-files", "deploy"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert "deploy/.env" not in files
    for path in [*(ROOT / "deploy").rglob("*"), ROOT / "compose.yaml"]:
        if path.is_file() and path.name != ".env":
            assert not re.search(r"[0-9a-f]{32}|(PASSWORD|TOKEN)\s*[=:]\s*[A-Za-z0-9]", path.read_text()), path


@each_service
def test_data_lies_in_named_volumes_or_in_files_of_the_project(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.partition(":")[0]
        read_only = volume.endswith(":ro")
        assert (
            source in COMPOSE["volumes"]
            or source == "."
            or (read_only and source in ("./deploy/mosquitto", "/dev/null"))
        )


def test_no_command_of_compose_removes_a_volume() -> None:
    assert all(volume["external"] is True and volume["name"] for volume in COMPOSE["volumes"].values())


@pytest.mark.parametrize("name", ["worker", "spark-worker-1", "spark-worker-2"])
def test_the_mounted_project_hides_its_passwords(name: str) -> None:
    assert "/dev/null:/project/deploy/.env:ro" in SERVICES[name]["volumes"]


def test_a_spark_worker_has_two_cores_and_two_gigabytes() -> None:
    for name in ("spark-worker-1", "spark-worker-2"):
        assert SERVICES[name]["deploy"]["resources"]["limits"] == {"cpus": "2", "memory": "2g"}
        assert SERVICES[name]["environment"]["SPARK_WORKER_CORES"] == "2"


def test_telemetry_is_off() -> None:
    ours = {name: service["environment"] for name, service in SERVICES.items() if "build" in service}
    assert all(found["DO_NOT_TRACK"] == "true" for found in ours.values())
    assert SERVICES["influxdb"]["environment"]["INFLUXD_REPORTING_DISABLED"] == "true"


@each_service
def test_names_that_services_use_are_names_of_services(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for host in re.findall(r"//(?:[^@/ ]*@)?([a-z][a-z0-9-]*):\d+", str(service.get("environment", {}))):
        assert host in SERVICES, host
