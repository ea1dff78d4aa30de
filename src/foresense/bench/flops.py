"""What a network costs in arithmetic: parameters, and floating-point operations of one window, module by module.

Counted are the multiplications and the additions of matrix products, convolutions and attention, by torch's
`FlopCounterMode`; norms, softmax, activations and rotations are not, as in published counts. torch 2.13 has no formula
for the fused attention of a CPU and counts 0 for it, so attention is written out while it counts: the same products.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foresense.config.wrist import WristModelConfig
from foresense.models.classifiers import build_classifier

#: Path of the network itself among its modules.
WHOLE = ""


@dataclass(frozen=True)
class ModuleCost:
    """One module with all that is below it.

    Attributes:
        n_parameters: Trained numbers.
        flops: Multiplications and additions, each counted, of its forward pass; of a part that others call, theirs.
    """

    n_parameters: int
    flops: int


def network_cost(network: nn.Module, *inputs: torch.Tensor | None) -> dict[str, ModuleCost]:
    """Cost of every module of `network` that has parameters or does counted work.

    Args:
        network: Run once, without gradients.
        inputs: Of its forward pass.

    Returns:
        Path of a module (`encoder.layers.0.qkv`) -> its cost, in the order of the network; WHOLE is all of it. Lists of
        modules, which nothing calls, are left out.
    """
    root = type(network).__name__
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        network(*inputs)
    counted = {name: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}
    counted[root] = counter.get_total_flops()
    found = {
        path: ModuleCost(
            n_parameters=sum(weight.numel() for weight in module.parameters()),
            flops=counted.get(f"{root}.{path}" if path else root, 0),
        )
        for path, module in network.named_modules()
        if not isinstance(module, nn.ModuleList)
    }
    return {path: cost for path, cost in found.items() if path == WHOLE or cost.n_parameters or cost.flops}


def classifier_cost(config: WristModelConfig, *, n_classes: int) -> dict[str, ModuleCost]:
    """Cost of one window in a classifier of wrist windows; what it costs does not depend on its weights.

    Args:
        config: Of the classifier.
        n_classes: Logits.
    """
    features = [torch.zeros(1, n) if n else None for n in (config.n_statistics, config.n_topology, config.n_times)]
    windows = torch.zeros(1, config.window_length, config.n_channels)
    return network_cost(build_classifier(config, n_classes=n_classes).eval(), windows, *features)
