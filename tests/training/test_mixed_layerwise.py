"""A share of a learning rate is that share: against an optimizer that has one rate for each weight."""

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from foresense.training.mixed_layerwise import learning_slower

FACTORS = {"0.weight": 0.1, "0.bias": 0.1, "2.weight": 0.5, "2.bias": 0.5, "4.weight": 1.0, "4.bias": 1.0}


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, n: int) -> None:
    data = torch.Generator().manual_seed(5)
    for _ in range(n):
        inputs = torch.randn(16, 5, generator=data, dtype=torch.float64)
        optimizer.zero_grad()
        (model(inputs).squeeze(1) - inputs.prod(1)).square().mean().backward()
        optimizer.step()


def by_groups(factors: Mapping[str, float], n: int) -> dict[str, torch.Tensor]:
    model = network()
    groups = [{"params": [weight], "lr": 1e-2 * factors[name]} for name, weight in model.named_parameters()]
    steps(model, torch.optim.Adam(groups, eps=0.0), n)
    return model.state_dict()


def test_a_share_of_the_rate_is_that_of_an_optimizer_with_groups() -> None:
    model = network()
    with learning_slower(model, FACTORS):
        steps(model, torch.optim.Adam(model.parameters(), lr=1e-2, eps=0.0), 50)
    expected = by_groups(FACTORS, 50)
    assert list(model.state_dict()) == list(expected)
    for name, weight in model.state_dict().items():  # float64, fifty steps; without epsilon nothing else differs
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-10)
    assert not torch.allclose(model.state_dict()["0.weight"], by_groups(dict.fromkeys(FACTORS, 1.0), 50)["0.weight"])


def test_borders_change_nothing() -> None:
    model = network()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    inputs = torch.randn(4, 5, dtype=torch.float64)
    said = model(inputs)
    with learning_slower(model, FACTORS):
        torch.testing.assert_close(model(inputs), said, rtol=0, atol=0)
    assert {name: weight.tolist() for name, weight in model.state_dict().items()} == {
        name: weight.tolist() for name, weight in before.items()
    }
    assert type(model[0]) is nn.Linear
    assert all(weight.requires_grad for weight in model.parameters())


def test_an_error_within_leaves_a_plain_model() -> None:
    model = network()
    with pytest.raises(RuntimeError, match="stopped"), learning_slower(model, FACTORS):
        raise RuntimeError("stopped")
    assert list(model.state_dict()) == list(network().state_dict())


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"1.weight": 0.5}, r"no parameters \['1.weight'\]"),
        ({"0.weight": 0.0}, r"above 0 and at most 1, found \{'0.weight': 0.0\}"),
        ({"0.weight": 1.5}, "found"),
    ],
)
def test_other_shares_and_names_are_refused(factors: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message), learning_slower(network(), factors):
        pass
