"""Sections of a pipeline of people that have to fit each other."""

from typing import Any

import pytest
from pydantic import ValidationError

from foresense.config.activity import ActivityConfig


def sections(network: dict[str, Any], **window: object) -> dict[str, Any]:
    return {
        "kind": "activity",
        "description": "a wrist",
        "ingest": {"source": "simulated_days", "rate_hz": 20},
        "window": window,
        "features": {"families": ["wrist_statistics"]},
        "train": {"candidates": {"one": {"network": {"n_topology": 0, "n_times": 0, **network}}}},
    }


@pytest.mark.parametrize(("window", "length"), [({}, 200), ({"length_s": 30, "stride_s": 30}, 600)])
def test_a_network_takes_the_length_of_the_windows(window: dict[str, object], length: int) -> None:
    config = ActivityConfig.model_validate(sections({"patch_length": 40}, **window))
    network = config.train.candidates["one"].network
    assert (network.window_length, network.rate_hz) == (length, 20)
    again = ActivityConfig.model_validate(config.model_dump())
    assert again == config


def test_patches_are_checked_against_the_windows_that_they_cut() -> None:
    asked = r"window_length \(600\) is not a multiple of patch_length \(70\); the nearest that divides it is 75"
    with pytest.raises(ValidationError, match=asked):
        ActivityConfig.model_validate(sections({"patch_length": 70}, length_s=30, stride_s=30))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("ingest", "rate_hz"), "fast", "ingest.rate_hz\n"),
        (("window", "length_s"), "long", "window.length_s\n"),
        (("train", "candidates"), ["one"], "train.candidates\n"),
        (("train", "candidates"), {"one": 3}, "train.candidates.one\n"),
        (("train", "candidates"), {"one": {"network": 3}}, "train.candidates.one.network\n"),
    ],
)
def test_what_is_wrong_itself_is_said_as_ever(place: tuple[str, str], value: object, said: str) -> None:
    given = sections({"patch_length": 40})
    given[place[0]][place[1]] = value
    with pytest.raises(ValidationError, match=said):
        ActivityConfig.model_validate(given)


def test_features_that_no_family_gives_are_said() -> None:
    with pytest.raises(
        ValidationError, match=r"network\.n_topology is 24, but features\.families has no wrist_topology"
    ):
        ActivityConfig.model_validate(sections({"patch_length": 40, "n_topology": 24}))
