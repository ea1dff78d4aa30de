"""Parts of the dual-patch transformer against computations by hand: the course of a network, and its cost."""

from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from foresense.models.dualpatch import DualPatch
from foresense.models.dualpatch_inputs import Categories, Measured
from tests.models.mixed_batches import BRANCHES, batch_of, tiny_config, tiny_model


def test_the_channel_branch_is_what_is_written_out_here() -> None:
    """In numpy, float64: standardised courses beside their missing flags, one layer of attention, mean, head."""
    shape: dict[str, Any] = {"cardinalities": (), "n_static_numeric": 0, "static_cardinalities": (), "n_layers": 1}
    model = tiny_model(branches="channels", **shape)
    batch = batch_of(model.config)
    weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}

    def mapped(x: np.ndarray, name: str) -> np.ndarray:
        found: np.ndarray = x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)
        return found

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        found: np.ndarray = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return found * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    expected = []
    for raw, length in zip(batch["numbers"].double().numpy(), batch["lengths"].tolist(), strict=True):
        values, missing = np.zeros((3, 22)), np.zeros((3, 22))
        for channel in range(3):
            for step in range(length):
                if np.isnan(raw[channel, step]):
                    missing[channel, step] = 1
                else:
                    values[channel, step] = (raw[channel, step] - 10 * channel) / (1 + channel)
        room = "encoder.channels.tokens"
        tokens = mapped(np.concatenate([values, missing], axis=1), f"{room}.numeric") + weights[f"{room}.names"]
        tokens = normed(
            tokens + mapped((np.arange(22) >= length).astype(float), f"{room}.padding"), "encoder.channels.norm"
        )
        room = "encoder.channels.layers.0"
        query, key, value = np.split(mapped(tokens, f"{room}.qkv"), 3, axis=1)
        heads = []
        for first in (0, 8):
            one = slice(first, first + 8)
            heads.append(scipy.special.softmax(query[:, one] @ key[:, one].T / np.sqrt(8), axis=1) @ value[:, one])
        tokens = normed(tokens + mapped(np.concatenate(heads, axis=1), f"{room}.projection"), f"{room}.norm_attention")
        wide = np.maximum(mapped(tokens, f"{room}.wide"), 0)
        tokens = normed(tokens + mapped(wide, f"{room}.narrow"), f"{room}.norm_feed_forward")
        expected.append(mapped(tokens.mean(0), "head"))
    np.testing.assert_allclose(model(**batch).detach().numpy(), np.array(expected), rtol=1e-4, atol=1e-5)


def test_a_patch_is_its_steps_of_every_channel_times_a_matrix() -> None:
    model = tiny_model(branches="temporal")
    batch = batch_of(model.config)
    time = model.encoder.time
    assert time is not None
    assert time.patches is not None
    found: list[torch.Tensor] = []
    time.patches.register_forward_hook(lambda _part, _inputs, output: found.append(output))
    signals: list[torch.Tensor] = []
    time.patches.register_forward_pre_hook(lambda _part, inputs: signals.append(inputs[0]))
    model(**batch)
    weight = time.patches.projection.weight.view(16, -1, 8)  # (d_model, signals, steps)
    whole = torch.nn.functional.pad(signals[0], (0, 2))  # five patches: 0, 4, ..., 16; the last ends at step 24
    padding = torch.nn.functional.pad((torch.arange(22) >= batch["lengths"][:, None]).float(), (0, 2))
    assert found[0].shape == (4, 5, 16)
    for patch in range(5):
        steps = slice(4 * patch, 4 * patch + 8)
        expected = torch.einsum("nsl,wsl->nw", whole[:, :, steps], weight) + time.patches.projection.bias
        expected = expected + padding[:, steps] @ time.patches.padding.weight.T
        torch.testing.assert_close(found[0][:, patch], expected, rtol=1e-4, atol=1e-5)


def flops(model: DualPatch) -> int:
    batch = batch_of(model.config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**batch)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("branches", BRANCHES)
def test_doubling_the_channels_costs_the_first_maps_and_nothing_else(branches: str) -> None:
    """D-20: in the brief's network the convolution of one step; in ours what makes tokens of patches and channels."""
    n, n_numeric, n_steps, width, n_static = 4, 3, 22, 16, 2
    of_points = n * n_steps * n_numeric * width
    of_patches = n * 5 * 8 * n_numeric * width  # five patches of eight steps
    of_channels = n * n_numeric * n_steps * width
    of_statics = n * n_static * width
    asked = {
        "pointwise": of_points,
        "temporal": of_patches,
        "channels": of_channels,
        "both": of_patches + of_channels,
    }
    doubled, single = (tiny_model(branches=branches, missing_channels=doubling) for doubling in (True, False))
    more = flops(doubled) - flops(single)
    assert more == 2 * (asked[branches] + of_statics)  # a product and a sum for each weight
    n_more = sum(weight.numel() for weight in doubled.parameters()) - sum(
        weight.numel() for weight in single.parameters()
    )
    of_weights = {
        "pointwise": n_numeric,
        "temporal": 8 * n_numeric,
        "channels": n_steps,
        "both": 8 * n_numeric + n_steps,
    }
    assert n_more == (of_weights[branches] + n_static) * width


def test_the_brief_s_network_is_its_convolution_and_its_sum_of_embeddings() -> None:
    model = tiny_model(branches="pointwise", n_static_numeric=0, static_cardinalities=())
    batch = batch_of(model.config)
    time, categories = model.encoder.time, model.encoder.inputs.categories
    assert time is not None
    assert categories is not None
    assert isinstance(time.points, nn.Module)
    found: list[torch.Tensor] = []
    time.points.register_forward_hook(lambda _part, _inputs, output: found.append(output))
    model(**batch)
    convolution = time.points.convolution
    assert isinstance(convolution, nn.Conv1d)
    assert convolution.weight.shape == (16, 2 * 3, 1)  # D-14
    real = torch.arange(22) < batch["lengths"][:, None]
    values = (batch["numbers"] - torch.tensor([0.0, 10, 20])[:, None]) / torch.tensor([1.0, 2, 3])[:, None]
    rows = torch.cat([values.nan_to_num(0.0), values.isnan().float()], dim=1)
    tables = categories.table.weight.split([4 + 3, 2 + 3])
    codes = batch["categories"]
    expected = torch.nn.functional.conv1d(rows, convolution.weight, convolution.bias).transpose(1, 2)
    expected = expected + tables[0][codes[:, 0]] + tables[1][codes[:, 1]]  # D-13
    torch.testing.assert_close(found[0][real], expected[real], rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    value=st.floats(width=32, allow_nan=True, allow_infinity=True),
    mean=st.floats(-1e6, 1e6, width=32),
    deviation=st.floats(2**-20, 2**20, width=32),
)
def test_a_value_is_standardised_and_bounded_and_a_hole_is_the_average(
    value: float, mean: float, deviation: float
) -> None:
    part = Measured(1)
    part.take([mean], [deviation])
    found, measured = part.split(torch.tensor([[value]]))
    assert bool(measured) is bool(np.isfinite(value))
    if not np.isfinite(value):
        assert float(found) == 0
        return
    exact = np.clip((np.float64(value) - np.float64(mean)) / np.float64(deviation), -10, 10)
    rounding = 4 * np.finfo(np.float32).eps * (abs(mean) / deviation + 10)
    assert abs(float(found) - exact) <= rounding + 1e-6


@pytest.mark.parametrize(
    ("means", "deviations", "message"),
    [
        ([0.0], [1.0, 1.0], "expected 2 of each, found 1 and 2"),
        ([0.0, np.nan], [1.0, 1.0], r"channels \[1\]: expected finite means and deviations above 0"),
        ([0.0, 0.0], [0.0, -1.0], r"channels \[0, 1\]: .* give a channel that is constant .* a deviation of 1"),
    ],
)
def test_scales_that_nothing_can_be_standardised_by(means: list[float], deviations: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Measured(2).take(means, deviations)


def test_each_channel_has_rows_of_its_own() -> None:
    part = Categories((4, 2), 5)
    assert part.table.weight.shape == (4 + 3 + 2 + 3, 5)
    codes = torch.tensor([[0, 0], [1, 1], [5, 3], [6, 4], [-1, 99]])
    known = part.known(codes)
    assert known.tolist() == [[0, 0], [1, 1], [5, 3], [1, 1], [1, 1]]
    vectors = part(known, torch.tensor([[False, False]] * 4 + [[True, True]]))
    rows = [[0, 7], [1, 8], [5, 10], [1, 8], [6, 11]]  # the last two are [MASK]
    assert torch.equal(vectors, part.table.weight[torch.tensor(rows)])


def test_the_cost_of_doubling_is_small_at_the_published_sizes() -> None:
    """D-7 and D-9, the default: what D-20 calls small, as a share of the forward pass."""
    shares = {}
    for branches in BRANCHES:
        costs = [
            flops(DualPatch(tiny_config(**_published(branches), missing_channels=d)).eval()) for d in (True, False)
        ]
        shares[branches] = 1 - costs[1] / costs[0]
    assert all(0 < share < 0.1 for share in shares.values()), shares


def _published(branches: str) -> dict[str, Any]:
    sizes = {
        "n_numeric": 4,
        "cardinalities": (5, 5),
        "n_steps": 64,
        "patch_length": 16,
        "patch_stride": 8,
        "d_model": 64,
    }
    return {
        **sizes,
        "n_heads": 4,
        "category_width": 8,
        "n_static_numeric": 0,
        "static_cardinalities": (),
        "branches": branches,
    }
