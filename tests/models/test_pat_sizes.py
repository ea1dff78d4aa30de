"""The published sizes have the published numbers of weights, and other weights are refused in the right words."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresense.config.actigraphy_model import PatFineTuningConfig, PatPretrainingConfig
from foresense.config.pat import PAT_SIZES, PatWeightsError, pat_size, require_weights, weight_shapes
from foresense.models.pat import n_hidden
from foresense.models.pat_arrays import attention_received, new_weights, positions
from foresense.models.pat_folded import FoldedPat
from tests.models import official_layout

#: Paper, table 1, and the spec's formulas.
PUBLISHED = {"S": 274_720, "M": 993_440, "L": 1_984_192, "Huge": 3_967_040}
CONV = {"conv-S": 273_280, "conv-M": 992_000, "conv-L": 1_983_616}


@pytest.mark.parametrize(("name", "n_parameters"), [*PUBLISHED.items(), *CONV.items()])
def test_a_size_has_the_published_number_of_weights(name: str, n_parameters: int) -> None:
    assert pat_size(name).n_parameters == n_parameters


@pytest.mark.parametrize("name", ["S", "M", "L"])
def test_names_and_shapes_are_those_of_the_official_file(name: str) -> None:
    arrays = official_layout.flat(official_layout.arrays(name))
    assert weight_shapes(pat_size(name)) == {path: values.shape for path, values in arrays.items()}


def test_an_unknown_size_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no size 'XL' of the Pretrained Actigraphy Transformer; known: S, M, L, Huge"):
        pat_size("XL")


def test_a_week_has_the_published_number_of_patches_and_half_a_patch_is_refused() -> None:
    assert [pat_size(name).n_patches(10_080) for name in ("S", "M", "L", "Huge")] == [560, 560, 1120, 2016]
    with pytest.raises(ValueError, match=r"patches of 18 minutes, found 1450 minutes; cut to 1440 \(a week is 10080\)"):
        pat_size("S").n_patches(1450)
    with pytest.raises(ValueError, match="found 0 minutes; cut to 9"):
        pat_size("L").n_patches(0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dense/dense/bias:0": None}, "dense/dense/bias:0: missing, expected (96,)"),
        ({"dense/dense/kernel:0": (96, 18)}, "dense/dense/kernel:0: expected (18, 96), found (96, 18) (transposed)"),
        ({"dense/dense/kernel:0": (9, 96)}, "dense/dense/kernel:0: expected (18, 96), found (9, 96)"),
        ({"dense_1/kernel:0": (2, 2)}, "dense_1/kernel:0: unknown, found (2, 2)"),
    ],
)
def test_other_weights_are_refused_one_line_for_each(change: dict[str, tuple[int, ...] | None], words: str) -> None:
    shapes = weight_shapes(pat_size("S")) | {name: shape for name, shape in change.items() if shape}
    for name in (name for name, shape in change.items() if shape is None):
        del shapes[name]
    with pytest.raises(PatWeightsError, match=re.escape(words)) as refused:
        require_weights(pat_size("S"), shapes, where="a.h5")
    assert str(refused.value).startswith("a.h5: not the weights of PAT-S: expected 18 arrays of 274,720 numbers")


def test_the_weights_of_another_size_are_named() -> None:
    words = "a.h5: expected the 274,720 weights of PAT-S, found the 993,440 of PAT-M; load it as M"
    with pytest.raises(PatWeightsError, match=words):
        require_weights(pat_size("S"), weight_shapes(pat_size("M")), where="a.h5")


def test_positions_are_sines_then_cosines() -> None:
    found = positions(3)
    assert found.shape == (3, 96)
    np.testing.assert_array_equal(found[0], [0.0] * 48 + [1.0] * 48)
    np.testing.assert_allclose(found[2, [0, 48]], [np.sin(2), np.cos(2)], rtol=1e-7)
    np.testing.assert_allclose(found[2, 47], np.sin(2 * 10_000 ** (-94 / 96)), rtol=1e-6)  # float32


@given(seed=st.integers(0, 2**16), n=st.integers(1, 12), heads=st.integers(1, 4))
def test_attention_received_is_a_share_of_one_and_even_without_preference(seed: int, n: int, heads: int) -> None:
    scores = np.random.default_rng(seed).random((2, heads, n, n))
    attention = scores / scores.sum(axis=3, keepdims=True)
    received = attention_received(attention, 3)
    assert received.shape == (2, 3 * n)
    np.testing.assert_allclose(received.sum(axis=1), 3.0)  # each patch counts for its 3 minutes
    np.testing.assert_array_equal(received[:, ::3], received[:, 2::3])
    np.testing.assert_allclose(attention_received(np.full((1, heads, n, n), 1 / n), 1), 1 / n)


def test_attention_received_is_of_keys_and_not_of_queries() -> None:
    attention = np.zeros((1, 1, 3, 3))
    attention[0, 0, :, 1] = 1.0  # every query looks at the second patch
    np.testing.assert_array_equal(attention_received(attention, 2), [[0, 0, 1, 1, 0, 0]])
    with pytest.raises(ValueError, match=r"expected \(n, n_heads, n_patches, n_patches\), found \(3, 3\)"):
        attention_received(attention[0, 0], 2)


def test_new_weights_are_glorot_uniform_as_keras_counts_the_fans() -> None:
    drawn = new_weights(weight_shapes(pat_size("M")), np.random.default_rng(0))
    query = drawn["encoder_layer_1_transformer/encoder_layer_1_attention/query/kernel:0"]
    limit = np.sqrt(6 / (96 * 12 + 96 * 96))  # (96, 12, 96): 96 fields of 12 to 96
    assert 0.999 * limit < np.abs(query).max() <= limit
    dense = drawn["dense/dense/kernel:0"]
    assert np.abs(dense).max() <= np.sqrt(6 / (18 + 96))
    assert not drawn["dense/dense/bias:0"].any()


def test_only_sizes_without_a_convolution_are_folded() -> None:
    size = pat_size("conv-S")
    with pytest.raises(ValueError, match="PAT-conv-S: only the sizes without a convolution are folded; take S"):
        FoldedPat(size, new_weights(weight_shapes(size), np.random.default_rng(0)))


def test_the_official_rates_hold_where_none_is_given() -> None:
    assert [PatPretrainingConfig().schedule(PAT_SIZES[name]).learning_rate for name in ("S", "M", "L", "Huge")] == [
        1e-3, 1e-3, 1e-4, 1e-5,
    ]  # fmt: skip
    fine = [PatFineTuningConfig().schedule(PAT_SIZES[name]) for name in ("S", "conv-M", "L", "Huge")]
    assert [one.learning_rate for one in fine] == [1e-5, 1e-5, 1e-6, 5e-7]
    assert {one.plateau_patience for one in fine} == {None}
    asked = PatPretrainingConfig(learning_rate=0.5, patience=3, plateau_patience=2, min_learning_rate=0.0)
    found = asked.schedule(PAT_SIZES["L"])
    assert (found.learning_rate, found.patience, found.plateau_patience, found.min_learning_rate) == (0.5, 3, 2, 0.0)


def test_hiding_all_or_nothing_is_refused() -> None:
    assert n_hidden(560, 0.90) == 504
    with pytest.raises(ValueError, match=r"mask_ratio 0.9 hides 4 of 4 patches; expected at least one hidden"):
        n_hidden(4, 0.9)


def test_every_size_is_in_the_table_once_with_and_once_without_a_convolution() -> None:
    assert sorted(PAT_SIZES) == sorted(
        [*("S", "M", "L", "Huge"), *(f"conv-{name}" for name in ("S", "M", "L", "Huge"))]
    )
