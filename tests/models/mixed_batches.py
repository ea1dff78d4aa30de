"""Tiny dual-patch models and batches with every kind of hole, for tests of models, exports and trainings."""

from typing import Any

import torch

from foresense.config.dualpatch import DualPatchConfig
from foresense.models.dualpatch import DualPatch

Batch = dict[str, torch.Tensor]
TINY: dict[str, Any] = {
    "n_numeric": 3,
    "cardinalities": (4, 2),
    "n_static_numeric": 2,
    "static_cardinalities": (3,),
    "n_steps": 22,
    "patch_length": 8,
    "patch_stride": 4,
    "d_model": 16,
    "n_heads": 2,
    "category_width": 4,
    "dropout": 0.0,
}
BRANCHES = ("both", "temporal", "channels", "pointwise")
#: Every branch, and of the two together every fusion; every pooling with a branch that it fits.
SHAPES: tuple[dict[str, Any], ...] = (
    {"branches": "both", "fusion": "cross"},
    {"branches": "both", "fusion": "gate", "pooling": "attention"},
    {"branches": "both", "fusion": "mean", "pooling": "flatten"},
    {"branches": "both", "head": "steps", "n_outputs": 2},
    {"branches": "temporal", "pooling": "attention", "missing_channels": False},
    {"branches": "temporal", "use_categories": False},
    {"branches": "channels"},
    {"branches": "channels", "pooling": "attention"},
    {"branches": "pointwise"},
    {"branches": "pointwise", "head": "steps"},
)


def shape_name(shape: dict[str, Any]) -> str:
    """How a test of a shape is called."""
    return "-".join(str(value) for value in shape.values())


def tiny_config(**changes: Any) -> DualPatchConfig:
    """A small configuration with channels of every kind."""
    return DualPatchConfig.model_validate({**TINY, **changes})


def tiny_model(**changes: Any) -> DualPatch:
    """An untrained model in evaluation mode, that standardises by numbers other than 0 and 1."""
    torch.manual_seed(0)
    config = tiny_config(**changes)
    model = DualPatch(config)
    inputs = model.encoder.inputs
    if inputs.measured is not None:
        inputs.measured.take([10.0 * n for n in range(config.n_numeric)], [1.0 + n for n in range(config.n_numeric)])
    return model.eval()


def batch_of(config: DualPatchConfig, n: int = 4, *, seed: int = 0, holes: float = 0.3) -> Batch:
    """Raw windows: channels around their means, codes of every kind, lengths from 1 to the longest.

    `holes` is the share of numbers that are NaN.
    """
    draws = torch.Generator().manual_seed(seed)
    n_steps = config.n_steps
    levels = torch.arange(config.n_numeric)[:, None]
    numbers = torch.randn(n, config.n_numeric, n_steps, generator=draws) * (1 + levels) + 10.0 * levels
    numbers[torch.rand(numbers.shape, generator=draws) < holes] = float("nan")
    codes = [torch.randint(0, k + 2, (n, n_steps), generator=draws) for k in config.cardinalities]
    lengths = torch.randint(1, n_steps + 1, (n,), generator=draws)
    lengths[0] = n_steps
    batch = {"numbers": numbers, "lengths": lengths}
    if codes:
        batch["categories"] = torch.stack(codes, dim=1)
    if config.n_static_numeric:
        batch["static_numbers"] = torch.randn(n, config.n_static_numeric, generator=draws)
        batch["static_numbers"][0, 0] = float("nan")
    if config.static_cardinalities:
        batch["static_categories"] = torch.randint(0, 5, (n, len(config.static_cardinalities)), generator=draws)
    return batch if config.n_numeric else {name: rows for name, rows in batch.items() if name != "numbers"}
