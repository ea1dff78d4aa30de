"""The section `fleet`: what it asks for, and what it refuses."""

import pytest

from foresense.config import ConfigError, FleetConfig, TrainConfig, read_pipeline

FLEET = """
pipelines:
  plant:
    description: many machines
    ingest: {source: simulate, channels: [{name: current, unit: A}]}
    window: {context: 96, horizon: 24}
    engine: {name: local, threads: 1}
    fleet:
      candidates:
        scratch: {patch_length: 24, patch_stride: 24, d_model: 32}
        tuned: {patch_length: 24, patch_stride: 24, d_model: 32, learning_rate: 1e-4}
      from_shared: [tuned]
      shared: {patch_length: 24, patch_stride: 24, d_model: 32}
"""


@pytest.fixture
def read(tmp_path):
    def of(text):
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return read_pipeline(path, "plant")

    return of


def test_a_fleet_stands_in_place_of_train(read):
    found = read(FLEET)
    assert found.train is None
    assert isinstance(found.fleet, FleetConfig)
    assert found.training is found.fleet
    assert found.fleet.assets == "all"
    assert isinstance(found.fleet, TrainConfig)
    assert (found.engine.name, found.engine.threads) == ("local", 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "    fleet:\n",
            "    train: {candidates: {a: {}}}\n    fleet:\n",
            "exactly one of the sections 'train' and 'fleet'",
        ),
        ("    fleet:\n", "    flet:\n", "flet: unknown key; did you mean 'fleet'?"),
        (
            "from_shared: [tuned]",
            "from_shared: [tunde]",
            r"from_shared: ['tunde'] are no candidates; known: ['scratch', 'tuned']",
        ),
        (
            "shared: {patch_length: 24, patch_stride: 24, d_model: 32}",
            "shared: {patch_length: 24, patch_stride: 12, d_model: 32, end_padding: true}",
            "from_shared: tuned cannot begin with the weights of `shared`: patch_stride, end_padding differ",
        ),
        (
            "patch_length: 24, patch_stride: 24, d_model: 32",
            "context_length: 400, patch_length: 24, patch_stride: 24, d_model: 32",
            "fleet.shared.context_length (400) is longer than window.context (96)",
        ),
        (
            "from_shared: [tuned]",
            "from_shared: [tuned]\n      assets: lathe",
            "expected `all`, or a list of the names of assets",
        ),
        (
            "from_shared: [tuned]",
            "from_shared: [tuned]\n      assets: []",
            "expected `all`, or a list of the names of assets",
        ),
        ("name: local", "name: locale", "engine.name: "),
        ("from_shared: [tuned]", "from_shared: [tuned]\n      max_failed: 2", "fleet.max_failed: "),
    ],
)
def test_what_does_not_fit_together_is_refused(read, old, new, message):
    with pytest.raises(ConfigError) as caught:
        read(FLEET.replace(old, new))
    assert message in str(caught.value)


def test_an_engine_may_be_given_by_its_name_alone(read):
    assert read(FLEET.replace("{name: local, threads: 1}", "spark")).engine.name == "spark"


def test_names_of_assets_may_be_given(read):
    found = read(FLEET.replace("from_shared: [tuned]", "from_shared: [tuned]\n      assets: [lathe-1, press-2]"))
    assert found.fleet is not None
    assert found.fleet.assets == ("lathe-1", "press-2")
