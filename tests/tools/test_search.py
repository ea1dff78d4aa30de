"""Settings are compared on validation alone, and a wrong name is told before anything is trained."""

from pathlib import Path

import pytest

from foresense.config import CandidateConfig, ConfigError
from tools.search import combinations, main

ROOT = Path(__file__).parents[2]


def test_every_combination_is_tried_and_named() -> None:
    found = combinations(CandidateConfig(), ["learning_rate=1e-4,1e-3", "head=mean,flatten"])
    assert list(found) == [
        "learning_rate=0.0001 head=mean",
        "learning_rate=0.0001 head=flatten",
        "learning_rate=0.001 head=mean",
        "learning_rate=0.001 head=flatten",
    ]
    assert found["learning_rate=0.001 head=flatten"].learning_rate == 1e-3
    assert found["learning_rate=0.001 head=flatten"].batch_size == CandidateConfig().batch_size


def test_nothing_set_tries_the_candidate_as_it_stands() -> None:
    assert combinations(CandidateConfig(d_model=64), []) == {"as it stands": CandidateConfig(d_model=64)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rat=1", "--set learning_rat=1: expected KEY=VALUE"),
        ("learning_rate", "--set learning_rate: expected KEY=VALUE"),
        ("d_model=31", "d_model \\(31\\) must be a multiple of n_heads \\(4\\)"),
    ],
)
def test_a_wrong_setting_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        combinations(CandidateConfig(), [text])


def test_an_unknown_candidate_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["oil", "askd"], ROOT) == 2
    assert "oil has no candidate 'askd'; known: asked" in capsys.readouterr().err
