"""What `prefect deployment run 'pipeline/<name>'` finds: every pipeline of params.yaml has its deployment."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((ROOT / name).read_text())
    return found


def test_every_pipeline_has_a_deployment_of_its_name_and_no_other_has() -> None:
    deployed = read("prefect.yaml")["deployments"]
    of_one = {one["name"]: one for one in deployed if one["entrypoint"] == "flows.pipeline.run_pipeline"}
    assert set(of_one) == set(read("params.yaml")["pipelines"])
    for name, one in of_one.items():
        assert one["parameters"] == {"pipeline": name}
        assert (one["work_pool"]["name"], one["concurrency_limit"]["limit"]) == ("local", 1)


def test_the_nights_run_pipelines_that_there_are() -> None:
    nights = [one for one in read("prefect.yaml")["deployments"] if one["entrypoint"].startswith("flows.nightly.")]
    assert [one["name"] for one in nights] == ["nightly", "monthly"]
    for one in nights:
        assert set(one["parameters"]["pipelines"]) <= set(read("params.yaml")["pipelines"])
