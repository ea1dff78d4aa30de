"""The section of a wrist classifier: published sizes, and every problem in one error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from foresense.config.section import problems_of
from foresense.config.wrist import WristModelConfig

CNN = {"model": "cnn", "n_statistics": 0, "n_topology": 0, "n_times": 0}


def test_the_defaults_are_the_published_sizes() -> None:
    config = WristModelConfig()
    assert (config.n_patches, config.n_tokens) == (10, 12)  # spec H-10
    assert (config.d_model, config.n_heads, config.n_layers, config.dropout) == (56, 2, 2, 0.3)  # H-2


@pytest.mark.parametrize(
    ("changes", "n_tokens"),
    [
        ({"n_statistics": 0}, 11),
        ({"n_statistics": 0, "n_topology": 0}, 10),
        ({"n_times": 0}, 12),
        ({"fusion": "late"}, 10),
        ({"window_length": 200, "patch_length": 20}, 12),
    ],
)
def test_ablations_take_their_tokens_away(changes: dict[str, object], n_tokens: int) -> None:
    assert WristModelConfig.model_validate(changes).n_tokens == n_tokens


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """H-23: values that are wrong alone hide neither each other nor what does not go together."""
    with pytest.raises(ValidationError) as caught:
        WristModelConfig.model_validate(
            {
                "patch_length": 99,
                "d_model": 57,
                "dropout": 2,
                "n_statistics": 55,
                "n_layer": 2,
                "rope": False,
                "global_tokens": "after",
            }
        )
    assert isinstance(caught.value, ValueError)
    lines = problems_of(caught.value, WristModelConfig)
    assert [line.partition(":")[0] for line in lines] == [
        "n_statistics",
        "dropout",
        "n_layer",
        "(section)",
        "(section)",
        "(section)",
    ]
    text = "\n".join(lines)
    for expected in (
        "n_statistics: Input should be 56 or 0 (found 55)",
        "dropout: Input should be less than 1 (found 2)",
        "n_layer: unknown key; did you mean 'n_layers'?",
        "window_length (1000) is not a multiple of patch_length (99); the nearest that divides it is 100",
        "d_model (57) is not a multiple of n_heads (2)",
        "global_tokens 'after' places tokens that nothing rotates",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 58}, r"d_model / n_heads \(58 / 2 = 29\) must be even: rope turns pairs of numbers"),
        ({"patch_length": 1001}, r"window_length \(1000\) is not a multiple of patch_length \(1001\)"),
        ({"d_model": 1, "n_heads": 1, "rope": False}, r"d_model \(1\) must be at least 2: the head has half of it"),
        ({**CNN, "n_times": 5}, r"a cnn takes no times, found n_times 5; set it to 0"),
        ({**CNN, "n_topology": 24}, r"a cnn has no tokens; set fusion to 'late', or n_statistics and n_topology to 0"),
        ({**CNN, "checkpointing": True}, r"checkpointing is of a transformer's layers; leave it out for a cnn"),
        ({**CNN, "model": "rocket", "n_times": 5}, r"a rocket takes no times, found n_times 5"),
        (
            {**CNN, "model": "rocket", "n_kernels": 12},
            r"n_kernels \(12\) is not a multiple of 5: each of five dilations",
        ),
    ],
)
def test_what_does_not_go_together_says_what_to_change(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        WristModelConfig.model_validate(changes)
    assert caught.value.error_count() == 1


@pytest.mark.parametrize("changes", [CNN, {**CNN, "window_length": 997}, {"d_model": 58, "rope": False}])
def test_a_rule_asks_only_those_that_it_is_about(changes: dict[str, object]) -> None:
    found = WristModelConfig.model_validate(changes)
    assert {name: getattr(found, name) for name in changes} == changes


def test_a_rule_about_a_value_that_is_wrong_itself_is_not_asked() -> None:
    with pytest.raises(ValidationError) as caught:
        WristModelConfig.model_validate({"window_length": -5, "patch_length": 99})
    assert [found["loc"] for found in caught.value.errors()] == [("window_length",)]


def test_inside_another_section_every_problem_keeps_its_place() -> None:
    class Outer(BaseModel):
        wrist: WristModelConfig
        n: int

    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"wrist": {"patch_length": 99, "d_modle": 3}, "n": "x"})
    assert [found["loc"] for found in caught.value.errors()] == [("wrist", "d_modle"), ("wrist",), ("n",)]
    assert "did you mean 'd_model'?" in problems_of(caught.value, Outer)[0]


def test_something_that_is_no_section_is_refused() -> None:
    with pytest.raises(ValidationError, match="valid dictionary"):
        WristModelConfig.model_validate(7)


@given(length=st.integers(1, 300), patch=st.integers(1, 300), width=st.integers(2, 64), n_heads=st.integers(1, 8))
def test_a_transformer_is_accepted_exactly_when_its_sizes_divide(
    length: int, patch: int, width: int, n_heads: int
) -> None:
    fits = length % patch == 0 and width % n_heads == 0 and (width // n_heads) % 2 == 0
    given = {"window_length": length, "patch_length": patch, "d_model": width, "n_heads": n_heads}
    try:
        config = WristModelConfig.model_validate(given)
    except ValidationError:
        assert not fits
    else:
        assert fits
        assert config.n_patches * patch == length
        assert WristModelConfig.model_validate(config.model_dump(mode="json")) == config
