"""The section of a dual-patch model: the spec's sizes, and every problem in one error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from foresense.config.dualpatch import DualPatchConfig
from foresense.config.section import problems_of


def test_the_defaults_are_the_sizes_of_the_spec() -> None:
    config = DualPatchConfig()
    assert (config.n_numeric, config.cardinalities, config.n_steps, config.n_outputs) == (4, (5, 5), 64, 3)  # D-7
    assert (config.d_model, config.n_heads, config.n_layers) == (64, 4, 2)  # D-9


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        DualPatchConfig.model_validate(
            {
                "n_numeric": 0,
                "use_categories": False,
                "patch_length": 65,
                "d_model": 63,
                "dropout": 1,
                "n_outputs": 1,
                "n_layer": 3,
                "branches": "channel",
            }
        )
    lines = problems_of(caught.value, DualPatchConfig)
    assert [line.partition(":")[0] for line in lines] == ["branches", "dropout", "n_layer", *["(section)"] * 3]
    text = "\n".join(lines)
    for expected in (
        "branches: Input should be 'both', 'temporal', 'channels' or 'pointwise' (found 'channel')",
        "dropout: Input should be less than 1 (found 1)",
        "n_layer: unknown key; did you mean 'n_layers'?",
        "there is no channel to look at; set use_categories to true",
        "d_model (63) is not a multiple of n_heads (4)",
        "head 'classes' needs n_outputs of at least 2, found 1; or set head to 'values'",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_numeric": 0, "cardinalities": ()}, "there is no channel to look at; give n_numeric or cardinalities"),
        ({"patch_length": 65}, r"patch_length \(65\) is longer than n_steps \(64\)"),
        ({"patch_stride": 17}, r"patch_stride \(17\) is longer than patch_length \(16\): steps between"),
        ({"branches": "channels", "head": "steps"}, "head 'steps' needs tokens of time"),
        ({"branches": "channels", "pooling": "flatten"}, "pooling 'flatten' keeps the order of time"),
    ],
)
def test_what_does_not_go_together_says_what_to_change(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        DualPatchConfig.model_validate(changes)
    assert caught.value.error_count() == 1


@pytest.mark.parametrize("branches", ["channels", "pointwise"])
def test_patches_are_asked_of_branches_that_have_some(branches: str) -> None:
    config = DualPatchConfig.model_validate({"branches": branches, "patch_length": 99, "patch_stride": 100})
    assert config.token_length == (1 if branches == "pointwise" else 99)


def test_something_that_is_no_section_is_refused() -> None:
    with pytest.raises(ValidationError, match="valid dictionary"):
        DualPatchConfig.model_validate(7)


def test_without_categories_those_of_the_statics_are_left_out_too() -> None:
    config = DualPatchConfig(use_categories=False, static_cardinalities=(2, 3))
    assert (config.n_categorical, config.n_static_categorical, config.has_statics) == (0, 0, False)
    assert (config.n_channels, config.cardinalities) == (4, (5, 5))


@given(n_steps=st.integers(1, 300), length=st.integers(1, 300), stride=st.integers(1, 300))
def test_patches_reach_over_the_end_by_less_than_a_stride(n_steps: int, length: int, stride: int) -> None:
    sizes = {"n_steps": n_steps, "patch_length": length, "patch_stride": stride}
    try:
        config = DualPatchConfig.model_validate(sizes)
    except ValidationError:
        assert not stride <= length <= n_steps
    else:
        assert stride <= length <= n_steps
        end = (config.n_tokens - 1) * stride + length
        assert n_steps <= end < n_steps + stride
        assert DualPatchConfig.model_validate(config.model_dump(mode="json")) == config
