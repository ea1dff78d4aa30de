"""Laws of the dual-patch transformer: holes, padding, channels and their order, gradients, and a network by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from foresense.models.dualpatch import DualPatch
from foresense.models.dualpatch_parts import coverage
from tests.models.mixed_batches import SHAPES, Batch, batch_of, shape_name, tiny_config, tiny_model

seeds = st.integers(0, 10_000)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=shape_name)
NOT_A_VALUE = (float("nan"), float("inf"), -float("inf"))
#: What may meet a number that is none: `isfinite`, which is `eq`, `abs` and `ne` on a CPU, `where`, and more padding.
FINDS_HOLES = {"isfinite", "eq", "abs", "ne", "where", "constant_pad_nd"}


@every_shape
@settings(max_examples=8, deadline=None)
@given(seed=seeds, changed=seeds)
def test_what_stands_under_padding_changes_nothing(shape: dict[str, Any], seed: int, changed: int) -> None:
    model = tiny_model(**shape)
    batch = batch_of(model.config, seed=seed)
    padding = torch.arange(model.config.n_steps) >= batch["lengths"][:, None]
    draws = torch.Generator().manual_seed(changed)
    numbers = torch.where(torch.rand(batch["numbers"].shape, generator=draws) < 0.5, 1e38, float("nan"))
    codes = torch.randint(-9, 99, batch["categories"].shape, generator=draws)
    other = {
        **batch,
        "numbers": torch.where(padding[:, None], numbers, batch["numbers"]),
        "categories": torch.where(padding[:, None], codes, batch["categories"]),
    }
    assert torch.equal(model(**batch), model(**other))


@every_shape
@settings(max_examples=8, deadline=None)
@given(seed=seeds, n_real=st.integers(1, 21))
def test_longer_padding_changes_nothing(shape: dict[str, Any], seed: int, n_real: int) -> None:
    model = tiny_model(**shape)
    batch = batch_of(model.config, seed=seed)
    batch["lengths"] = torch.full((4,), n_real)
    cut = {name: rows[..., :n_real] if name in ("numbers", "categories") else rows for name, rows in batch.items()}
    without_lengths = {name: rows for name, rows in cut.items() if name != "lengths"}
    whole = model(**batch)
    whole = whole[:, :n_real] if model.config.head == "steps" else whole
    assert torch.equal(whole, model(**cut))
    assert torch.equal(whole, model(**without_lengths))


@every_shape
def test_tokens_of_padding_are_neither_attended_to_nor_pooled(shape: dict[str, Any]) -> None:
    """Their positions tell them from each other, so that whoever looks at them sees a change of positions."""
    model = tiny_model(**shape)
    if model.encoder.time is None:
        return
    batch = {**batch_of(model.config), "lengths": torch.full((4,), 9)}
    before = model(**batch)
    first = -(-9 // model.config.token_stride)
    nn.init.normal_(model.encoder.time.positions[first:])
    assert torch.equal(model(**batch), before)
    nn.init.normal_(model.encoder.time.positions[:first])
    assert not torch.allclose(model(**batch), before, atol=1e-3)


@every_shape
def test_full_lengths_are_no_lengths(shape: dict[str, Any]) -> None:
    model = tiny_model(**shape)
    batch = batch_of(model.config)
    batch["lengths"] = torch.full((4,), 22)
    without = {name: rows for name, rows in batch.items() if name != "lengths"}
    torch.testing.assert_close(model(**batch), model(**without), rtol=0, atol=1e-6)


@every_shape
@settings(max_examples=8, deadline=None)
@given(seed=seeds, others=st.lists(st.sampled_from(NOT_A_VALUE), min_size=7, max_size=7))
def test_what_kind_of_hole_it_is_changes_nothing(shape: dict[str, Any], seed: int, others: list[float]) -> None:
    model = tiny_model(**shape)
    batch = batch_of(model.config, seed=seed)
    changed = dict(batch)
    for name in ("numbers", "static_numbers"):
        rows = batch[name]
        kinds = torch.tensor(others)[torch.arange(rows.numel()) % 7].view(rows.shape)
        changed[name] = torch.where(rows.isnan(), kinds, rows)
    assert torch.equal(model(**batch), model(**changed))


class _Watch(TorchDispatchMode):
    """Keeps the names of kernels that meet a floating number that is not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.n_calls = 0
        self.met_holes: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.n_calls += 1
        for tensor in torch.utils._pytree.tree_leaves((args, kwargs)):
            if (
                isinstance(tensor, torch.Tensor)
                and tensor.is_floating_point()
                and not np.isfinite(tensor.numpy()).all()
            ):
                self.met_holes.add(name)
        return func(*args, **(kwargs or {}))


@every_shape
@pytest.mark.parametrize("n_steps", [22, 17])
def test_no_kernel_meets_a_number_that_is_none(shape: dict[str, Any], n_steps: int) -> None:
    model = tiny_model(**shape)
    whole = batch_of(model.config)
    batch = {name: rows[..., :n_steps] if name in ("numbers", "categories") else rows for name, rows in whole.items()}
    batch["numbers"][0, :, :9] = torch.tensor(NOT_A_VALUE)[:, None]
    batch["numbers"][1, 0, :3] = torch.tensor([3.4e38, -3.4e38, 1e-45])  # finite, and they stay so
    seen: list[torch.Tensor] = []
    for part in model.modules():
        if part is not model:
            part.register_forward_hook(lambda _part, inputs, output: seen.extend(_tensors((inputs, output))))
    with _Watch() as watch, torch.no_grad():
        outputs = model(**batch)
    assert len(seen) > 10
    assert all(tensor.isfinite().all() for tensor in (*seen, outputs))
    assert watch.n_calls > 50
    assert {"where"} <= watch.met_holes <= FINDS_HOLES


@every_shape
def test_gradients_are_numbers_even_where_nothing_was_measured(shape: dict[str, Any]) -> None:
    model = tiny_model(**shape).train()
    batch = batch_of(model.config)
    batch["numbers"][:2] = float("nan")
    batch["numbers"][2, 0] = float("inf")
    batch["lengths"][1] = 0  # not even a step
    outputs = model(**batch)
    outputs.square().sum().backward()
    assert outputs.isfinite().all()
    found = {name: weight.grad for name, weight in model.named_parameters()}
    assert all(gradient is None or gradient.isfinite().all() for gradient in found.values())
    assert sum(gradient is not None and bool(gradient.any()) for gradient in found.values()) > 10


@settings(max_examples=15, deadline=None)
@given(seed=seeds, order=st.permutations(range(3)), others=st.permutations(range(2)))
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[1], SHAPES[3], SHAPES[6], SHAPES[8]], ids=shape_name)
def test_channels_in_another_order_with_what_is_theirs_change_nothing(
    shape: dict[str, Any], seed: int, order: list[int], others: list[int]
) -> None:
    model = tiny_model(**shape, cardinalities=(3, 3))
    moved = tiny_model(**shape, cardinalities=(3, 3))
    reorder(moved, order, others)
    batch = batch_of(model.config, seed=seed)
    other = {**batch, "numbers": batch["numbers"][:, order], "categories": batch["categories"][:, others]}
    torch.testing.assert_close(moved(**other), model(**batch), rtol=1e-5, atol=1e-5)
    if model.encoder.channels is not None:
        tokens, in_order = channel_tokens(moved, other), channel_tokens(model, batch)
        places = [*order, *(3 + number for number in others)]
        torch.testing.assert_close(tokens, in_order[:, places], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channel", range(5))
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[6]], ids=shape_name)
def test_shuffling_a_channel_in_time_changes_its_token(shape: dict[str, Any], channel: int) -> None:
    model = tiny_model(**shape, static_cardinalities=(), n_static_numeric=0)
    batch = batch_of(model.config, holes=0.0)
    batch.pop("lengths")
    shuffled = {name: rows.clone() for name, rows in batch.items()}
    rows = shuffled["numbers"] if channel < 3 else shuffled["categories"]
    rows[:, channel % 3] = rows[:, channel % 3][:, torch.randperm(22, generator=torch.Generator().manual_seed(1))]
    changed = before_layers(model, shuffled) - before_layers(model, batch)
    moved = changed.abs().amax((0, 2)) > 1e-3
    assert moved.tolist() == [number == channel for number in range(5)]


@every_shape
def test_without_its_channel_names_a_channel_is_every_other(shape: dict[str, Any]) -> None:
    """The embedding is what tells channels apart: with none, the same course is the same token."""
    if "both" not in shape["branches"] and shape["branches"] != "channels":
        return
    model = tiny_model(**shape)
    assert model.encoder.channels is not None
    batch = batch_of(model.config)
    batch["numbers"][:, 1] = (batch["numbers"][:, 0] - 0.0) * 2 + 10  # the same course in standard deviations
    tokens = before_layers(model, batch)
    assert not torch.allclose(tokens[:, 0], tokens[:, 1], atol=1e-3)
    nn.init.zeros_(model.encoder.channels.tokens.names)
    tokens = before_layers(model, batch)
    torch.testing.assert_close(tokens[:, 0], tokens[:, 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("branches", ["both", "temporal", "pointwise"])
def test_the_order_of_time_means_something(branches: str) -> None:
    """DX-3: without positions, the brief's network took windows for bags of steps."""
    model = tiny_model(branches=branches, n_steps=24, patch_stride=8)
    batch = {**batch_of(model.config), "lengths": torch.full((4,), 24)}
    order = [*range(8, 16), *range(8), *range(16, 24)]
    turned = {name: rows[..., order] if name in ("numbers", "categories") else rows for name, rows in batch.items()}
    assert not torch.allclose(model(**turned), model(**batch), atol=1e-3)
    if branches == "temporal":  # without them the order of whole patches is nothing
        assert model.encoder.time is not None
        nn.init.zeros_(model.encoder.time.positions)
        torch.testing.assert_close(model(**turned), model(**batch), rtol=1e-5, atol=1e-5)


@every_shape
def test_every_input_counts(shape: dict[str, Any]) -> None:
    model = tiny_model(**shape)
    batch = batch_of(model.config)
    before = model(**batch)
    for name, rows in batch.items():
        other = rows.roll(1, 0) if rows.is_floating_point() or name == "lengths" else (rows + 1) % 4
        changes = not torch.allclose(model(**{**batch, name: other}), before, atol=1e-4)
        assert changes is (model.config.use_categories or "categories" not in name), name


@every_shape
def test_a_batch_is_its_windows_one_by_one(shape: dict[str, Any]) -> None:
    model = tiny_model(**shape)
    batch = batch_of(model.config)
    alone = [model(**{name: rows[n : n + 1] for name, rows in batch.items()}) for n in range(4)]
    torch.testing.assert_close(model(**batch), torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_a_code_that_is_none_is_out_of_vocabulary_and_never_the_mask() -> None:
    model = tiny_model(n_static_numeric=0)
    batch = batch_of(model.config)
    unknown = {**batch, "categories": torch.ones_like(batch["categories"])}
    for code in (6, 7, 99, -1, -(2**40)):  # channel 0 has 4 values: 2 ... 5; row 6 is [MASK]
        strange = {**batch, "categories": torch.ones_like(batch["categories"])}
        strange["categories"][:, 0] = code
        assert torch.equal(model(**strange), model(**unknown))


@pytest.mark.parametrize("head", ["classes", "values", "steps"])
@pytest.mark.parametrize("branches", ["both", "temporal", "channels", "pointwise"])
@pytest.mark.parametrize("channels", [{"n_numeric": 0}, {"cardinalities": ()}, {"static_cardinalities": ()}])
def test_no_channels_of_a_kind(branches: str, head: str, channels: dict[str, Any]) -> None:
    if (branches, head) == ("channels", "steps"):
        return
    model = tiny_model(branches=branches, head=head, n_outputs=2, **channels)
    outputs = model(**batch_of(model.config))
    assert outputs.shape == ((4, 22, 2) if head == "steps" else (4, 2))
    assert outputs.isfinite().all()


def test_outputs_of_values_are_in_the_unit_of_the_target() -> None:
    model = tiny_model(head="values", n_outputs=2)
    batch = batch_of(model.config)
    before = model(**batch)
    model.target.take([100.0, -3.0], [50.0, 2.0])
    expected = before * torch.tensor([50.0, 2.0]) + torch.tensor([100.0, -3.0])
    torch.testing.assert_close(model(**batch), expected, rtol=1e-6, atol=1e-5)


def test_steps_under_padding_are_zeros_and_the_others_are_not() -> None:
    model = tiny_model(head="steps", n_outputs=2)
    batch = batch_of(model.config)
    outputs = model(**batch)
    padding = torch.arange(22) >= batch["lengths"][:, None]
    assert (outputs[padding] == 0).all()
    assert (outputs[~padding] != 0).all()


def test_wrong_inputs_are_all_named() -> None:
    model = tiny_model()
    batch = batch_of(model.config)
    wrong: Batch = {"numbers": batch["numbers"][:, :2], "lengths": torch.ones(3, 1), "static_numbers": torch.ones(4)}
    with pytest.raises(ValueError, match="give what the model's configuration names") as caught:
        model(**wrong)
    for part in (
        "numbers: expected (n, 3, n_steps), found (4, 2, 22)",
        "categories are missing: expected (n, 2, n_steps)",
        "static_numbers: expected (n, 2), found (4,)",
        "static_categories are missing: expected (n, 1)",
        "lengths: expected (n,), found (3, 1)",
    ):
        assert part in str(caught.value)
    with pytest.raises(ValueError, match="windows of 23 steps: expected at most n_steps, 22"):
        model(**{**batch, "numbers": torch.ones(4, 3, 23), "categories": torch.ones(4, 2, 23, dtype=torch.int64)})
    with pytest.raises(ValueError, match=r"as many windows and steps in all of them, found \{.*\} and \{21, 22\}"):
        model(**{**batch, "numbers": torch.ones(4, 3, 21)})


@settings(max_examples=30, deadline=None)
@given(n_steps=st.integers(1, 60), length=st.integers(1, 30), stride=st.integers(1, 30))
def test_every_step_is_in_a_patch_and_no_patch_is_outside(n_steps: int, length: int, stride: int) -> None:
    length, stride = min(length, n_steps), min(stride, length, n_steps)
    config = tiny_config(n_steps=n_steps, patch_length=length, patch_stride=stride)
    shares = coverage(config)
    assert shares.shape == (n_steps, config.n_tokens)
    torch.testing.assert_close(shares.sum(1), torch.ones(n_steps))
    assert (shares.sum(0) > 0).all()


def before_layers(model: DualPatch, batch: Batch) -> torch.Tensor:
    """(n, n_channels, d_model): tokens of channels before they attend to each other."""
    found: list[torch.Tensor] = []
    assert model.encoder.channels is not None
    handle = model.encoder.channels.tokens.register_forward_hook(lambda _part, _inputs, output: found.append(output))
    model(**batch)
    handle.remove()
    return found[0]


def channel_tokens(model: DualPatch, batch: Batch) -> torch.Tensor:
    """(n, n_channels, d_model): tokens of channels behind the layers of their branch."""
    found = model.encoder(model.encoder.inputs.mixed(**batch)).channels
    assert isinstance(found, torch.Tensor)
    return found


@torch.no_grad()
def reorder(model: DualPatch, numeric: list[int], categorical: list[int]) -> None:
    """Give each channel's place, with all that is its own, to another; two categorical channels of as many values."""
    config, inputs = model.config, model.encoder.inputs
    assert inputs.measured is not None
    assert inputs.categories is not None
    inputs.measured.mean.copy_(inputs.measured.mean[numeric])
    inputs.measured.deviation.copy_(inputs.measured.deviation[numeric])
    table = inputs.categories.table.weight
    table.copy_(table.view(2, 6, -1)[categorical].flatten(0, 1))
    n, width = config.n_numeric, config.value_width
    of_categories = [2 * n + width * channel + number for channel in categorical for number in range(width)]
    rows = [*numeric, *(n + channel for channel in numeric), *of_categories]
    if model.encoder.channels is not None:
        names = model.encoder.channels.tokens.names
        names.copy_(names[[*numeric, *(n + channel for channel in categorical)]])
    if model.encoder.time is not None and model.encoder.time.patches is not None:
        weight = model.encoder.time.patches.projection.weight
        weight.copy_(weight.view(len(weight), len(rows), -1)[:, rows].flatten(1))
    if model.encoder.time is not None and model.encoder.time.points is not None:
        convolution = model.encoder.time.points.convolution
        assert convolution is not None
        convolution.weight.copy_(convolution.weight[:, rows[: 2 * n]])
    if model.steps is not None:
        model.steps.own.weight.copy_(model.steps.own.weight[:, rows])


def _tensors(found: Any) -> list[torch.Tensor]:
    """The floating tensors among inputs and outputs of a module, inside of the project's own types too."""
    leaves: list[Any] = []
    for leaf in torch.utils._pytree.tree_leaves(found):
        leaves += (
            [leaf] if isinstance(leaf, torch.Tensor) else list(vars(leaf).values()) if hasattr(leaf, "__dict__") else []
        )
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
