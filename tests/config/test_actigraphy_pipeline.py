"""The sections of a pipeline of minute actigraphy: what does not fit together is told at once."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from foresense.config import ActigraphyConfig, read_pipelines
from foresense.config.smoke import shrink

ROOT = Path(__file__).parents[2]
SECTIONS: dict[str, Any] = {
    "kind": "actigraphy",
    "description": "made up",
    "ingest": {"source": "depresjon"},
    "window": {"positive": "condition", "device": "made up"},
    "train": {"candidates": {"one": {}}},
}
WEIGHTS = {"name": "PAT-S_29k", "sha256": "0" * 64}


def changed(section: str, **values: Any) -> dict[str, Any]:
    return SECTIONS | {section: SECTIONS.get(section, {}) | values}


def test_defaults_are_the_published_network_and_five_groups_twice() -> None:
    config = ActigraphyConfig.model_validate(SECTIONS)
    assert config.train.candidates["one"].size == "S"
    assert not config.train.candidates["one"].is_pretrained
    assert (config.window.n_folds, config.window.n_repeats) == (5, 2)
    assert config.features.method == "cole_kripke"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (changed("train", turns=11), "train.turns is 11, but people are held out in 10"),
        (changed("ingest", unit="mims"), "ingest.unit is mims, for which no sleep score was published"),
        (changed("window", n_folds=2), "greater than or equal to 3"),
        (changed("train", candidates={"one": {"size": "XL"}}), "'S', 'M', 'L'"),
        (
            changed("train", candidates={"one": {"weights": WEIGHTS, "pretraining": {}}}),
            "published weights are pretrained; give one of the two",
        ),
        (changed("train", candidates={"one": {"weights": WEIGHTS | {"sha256": "abc"}}}), "should match pattern"),
    ],
)
def test_every_rule_speaks(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ActigraphyConfig.model_validate(sections)


def test_published_weights_count_as_pretrained() -> None:
    config = ActigraphyConfig.model_validate(changed("train", candidates={"one": {"weights": WEIGHTS}}))
    assert config.train.candidates["one"].is_pretrained


def test_a_smoke_run_keeps_both_labels_in_every_group() -> None:
    small = shrink(read_pipelines(ROOT / "params.yaml")["sleep"])
    assert isinstance(small, ActigraphyConfig)
    assert small.ingest.first_people == 6
    assert (small.window.n_folds, small.window.n_repeats, small.train.turns) == (3, 1, 1)
    (candidate,) = small.train.candidates.values()
    assert candidate.fine_tuning.n_epochs == 1
    assert candidate.pretraining is not None
    assert candidate.pretraining.n_epochs == 1
