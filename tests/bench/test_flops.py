"""Counts of arithmetic against closed forms: n x k times k x m is 2 n k m operations, whatever the network."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from foresense.bench.flops import WHOLE, ModuleCost, classifier_cost, network_cost
from foresense.config.wrist import WristModelConfig


class Attention(nn.Module):
    """Attention over tokens that are queries, keys and values at once."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(tokens, tokens, tokens)


def test_a_linear_map_and_a_convolution_cost_their_products() -> None:
    linear = network_cost(nn.Linear(7, 5), torch.zeros(3, 7))
    assert linear == {WHOLE: ModuleCost(n_parameters=7 * 5 + 5, flops=2 * 3 * 7 * 5)}
    convolution = network_cost(nn.Conv1d(3, 4, 9, stride=2, padding=4, bias=False), torch.zeros(1, 3, 20))
    assert convolution[WHOLE] == ModuleCost(n_parameters=3 * 4 * 9, flops=2 * 10 * 4 * 3 * 9)


@pytest.mark.parametrize(("n", "n_heads", "n_tokens", "width"), [(1, 2, 12, 28), (3, 4, 200, 16)])
def test_fused_attention_costs_its_two_products(n: int, n_heads: int, n_tokens: int, width: int) -> None:
    found = network_cost(Attention(), torch.zeros(n, n_heads, n_tokens, width))
    assert found[WHOLE].flops == 2 * (2 * n * n_heads * n_tokens * n_tokens * width)  # scores, and their mixture


def test_the_published_transformer_costs_what_a_hand_counts() -> None:
    found = classifier_cost(WristModelConfig(), n_classes=4)
    width, n_tokens = 56, 12
    attention = 2 * 2 * n_tokens * n_tokens * width
    layer = {
        "qkv": 2 * n_tokens * width * 3 * width,
        "projection": 2 * n_tokens * width * width,
        "wide": 2 * n_tokens * width * 2 * width,
        "narrow": 2 * n_tokens * 2 * width * width,
    }
    for name, flops in layer.items():
        assert found[f"encoder.layers.1.{name}"].flops == flops
    assert found["encoder.layers.0"] == ModuleCost(n_parameters=25_704, flops=sum(layer.values()) + attention)
    patches, features, head = 2 * 10 * 300 * width, 2 * (56 + 24 + 5) * width, 2 * (width * 28 + 28 * 4)
    assert found["encoder.patch_projection"].flops == patches  # called by the whole, before the encoder
    assert found["encoder"].flops == features + 2 * found["encoder.layers.0"].flops
    assert found["head"].flops == head
    assert found[WHOLE] == ModuleCost(n_parameters=75_016, flops=patches + found["encoder"].flops + head)
    assert found[WHOLE].flops == 1_617_616


def test_longer_windows_cost_more_in_the_patches_and_nothing_more_in_the_head() -> None:
    short, long = (classifier_cost(WristModelConfig(window_length=n), n_classes=4) for n in (1000, 2000))
    assert long["encoder.patch_projection"].flops == 2 * short["encoder.patch_projection"].flops
    assert long["head"] == short["head"]
    assert long[WHOLE].n_parameters == short[WHOLE].n_parameters


def test_a_network_without_tokens_has_its_convolutions_and_no_list_of_modules_is_counted_twice() -> None:
    config = WristModelConfig(model="cnn", n_statistics=0, n_topology=0, n_times=0, fusion="late")
    found = classifier_cost(config, n_classes=4)
    assert found["convolutions.0"].flops == 2 * 500 * 48 * 3 * 9
    assert found[WHOLE].flops == found["convolutions"].flops + found["head"].flops
    assert found[WHOLE].n_parameters == 76_496
    assert "encoder.layers" not in classifier_cost(WristModelConfig(), n_classes=4)
