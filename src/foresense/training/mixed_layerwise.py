"""Some weights learn slower than others, in a loop that knows one learning rate.

A weight w is written as its first value and a change, w = w0 + f * c, and c is what learns. Adam's step does not depend
on the scale of a gradient (Kingma and Ba, Adam, ICLR 2015, 2.1), so a step of c is as long as one of w would be,
and w moves by f times that: a learning rate of f. AdamW's decay pulls c to 0, and with it w to where a pretraining left
it (L2-SP: Li et al., Explicit Inductive Bias for Transfer Learning with Convolutional Networks, ICML 2018).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import parametrize


class SlowerChange(nn.Module):
    """A change to the weight that it makes: its first value, and a share of the change.

    Attributes:
        first: The weight at the beginning, in its own shape.
    """

    first: torch.Tensor

    def __init__(self, first: torch.Tensor, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.register_buffer("first", first.detach().clone())

    def forward(self, change: torch.Tensor) -> torch.Tensor:
        """The weight, in its own shape."""
        return self.first + self.factor * change

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """The change that makes a weight, in the same shape."""
        return (weight - self.first) / self.factor


@contextmanager
def learning_slower(model: nn.Module, factors: Mapping[str, float]) -> Iterator[None]:
    """Let each parameter of `model` learn at a share of the learning rate; afterwards the model is a plain one again.

    Its outputs are the same before and after both borders. Exact for Adam without decay, up to its epsilon of 1e-8, and
    where gradients are not clipped together.

    Args:
        model: Trained within.
        factors: Name of each parameter -> share, above 0 and at most 1; those at 1 stay as they are.

    Raises:
        ValueError: a name that is no parameter, or another share.
    """
    places = dict(model.named_parameters())
    unknown = sorted(set(factors) - set(places))
    if unknown:
        raise ValueError(f"learning rates: no parameters {unknown}; see named_parameters")
    outside = {name: factor for name, factor in factors.items() if not 0 < factor <= 1}
    if outside:
        raise ValueError(f"learning rates: expected shares above 0 and at most 1, found {outside}")
    slowed = [(name, factor) for name, factor in factors.items() if factor < 1]
    for name, factor in slowed:
        owner, _, own = name.rpartition(".")
        parametrize.register_parametrization(model.get_submodule(owner), own, SlowerChange(places[name], factor))
    try:
        yield
    finally:
        for name, _ in slowed:
            owner, _, own = name.rpartition(".")
            parametrize.remove_parametrizations(model.get_submodule(owner), own, leave_parametrized=True)
