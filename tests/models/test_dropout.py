"""Byte dropout keeps the share it promises, keeps the mean, and is a function of torch's generator."""

import pytest
import torch
from torch import nn

from foresense.models.dropout import ByteDropout, use_byte_dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_share_and_mean(p: float) -> None:
    torch.manual_seed(0)
    n = 1_000_000
    kept = ByteDropout(p, 0).train()(torch.ones(n))
    rounded = round(p * 256) / 256
    error = 5 * (rounded * (1 - rounded) / n) ** 0.5  # five standard errors of a share of n independent draws
    assert abs(float((kept == 0).float().mean()) - rounded) < error
    assert abs(float(kept.mean()) - 1) < error / (1 - rounded)


def test_the_gradient_goes_through_what_was_kept() -> None:
    torch.manual_seed(0)
    x = torch.randn(1000, requires_grad=True)
    y = ByteDropout(0.25, 0).train()(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, y)


def test_same_seed_same_mask_and_two_layers_differ() -> None:
    first, second = ByteDropout(0.5, 0).train(), ByteDropout(0.5, 1).train()
    ones = torch.ones(999)  # not a multiple of eight
    torch.manual_seed(3)
    a, b = first(ones), second(ones)
    torch.manual_seed(3)
    assert torch.equal(first(ones), a)
    assert not torch.equal(a, b)


@pytest.mark.slow
def test_a_compiled_model_draws_a_new_mask_for_each_layer() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    use_byte_dropout(model)
    compiled = torch.compile(model.train(), dynamic=False)
    torch.manual_seed(0)
    kept = [float((compiled(torch.ones(80_000)) != 0).float().mean()) for _ in range(2)]
    # two independent masks of one half each keep a quarter; one mask used twice would keep a half
    assert all(abs(share - 0.25) < 5 * (0.25 * 0.75 / 80_000) ** 0.5 for share in kept)
