"""A stack of models is its models one by one: forecasts, gradients, statistics, masks, and nothing in between."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PatchTSTForPrediction

from foresense.config import CandidateConfig
from foresense.models import build_model, save_model
from foresense.models.patchtst import PatchTst
from foresense.models.stacked import StackedPatchTst

CONTEXT, HORIZON, N_CHANNELS, N_MODELS, BATCH = 48, 8, 3, 4, 5
SIZES = {"n_channels": N_CHANNELS, "context": CONTEXT, "horizon": HORIZON}
SMALL = {
    "patch_length": 8,
    "patch_stride": 8,
    "d_model": 16,
    "ffn_dim": 24,
    "n_layers": 2,
    "n_heads": 2,
    "ff_dropout": 0.0,
    "head_dropout": 0.0,
}
SETTINGS: dict[str, dict[str, object]] = {
    "as published": {
        "instance_norm": True,
        "head": "flatten",
        "pre_norm": False,
        "position_std": 0.02,
        "end_padding": True,
    },
    "defaults": {},
    "layer norms": {"norm": "layernorm", "head": "flatten"},
    "layer norms after": {"norm": "layernorm", "pre_norm": False, "instance_norm": True},
    "overlapping patches of a part": {"patch_stride": 3, "context_length": 41, "head": "flatten"},
    "one head, one layer": {"n_heads": 1, "n_layers": 1, "position_std": 1.0},
    "linear shortcut": {"shortcut": "linear", "instance_norm": True, "head": "flatten", "pre_norm": False},
    "linear shortcut, levels kept": {"shortcut": "linear", "context_length": 24},
}
every_setting = pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)


def candidate_of(**changes: object) -> CandidateConfig:
    return CandidateConfig.model_validate({**SMALL, **changes})


def models_of(candidate: CandidateConfig) -> list[torch.nn.Module]:
    """Models that differ in every tensor, statistics and shortcuts too."""
    models = []
    for seed in range(N_MODELS):
        torch.manual_seed(seed)
        model = build_model(candidate, **SIZES)
        with torch.no_grad():
            for tensor in model.state_dict().values():
                if tensor.is_floating_point():
                    tensor += 0.1 * torch.rand_like(tensor)
                else:
                    tensor += seed
        models.append(model)
    return models


def stack_of(candidate: CandidateConfig, models: list[torch.nn.Module], **named: object) -> StackedPatchTst:
    return StackedPatchTst(candidate, [model.state_dict() for model in models], **SIZES, **named)  # type: ignore[arg-type]


def contexts(seed: int = 9) -> torch.Tensor:
    return 3 + torch.randn(N_MODELS, BATCH, CONTEXT, N_CHANNELS, generator=torch.Generator().manual_seed(seed))


@every_setting
def test_forecasts_are_those_of_the_models(changes: dict[str, object]) -> None:
    candidate = candidate_of(**changes)
    models = models_of(candidate)
    x = contexts()
    alone = torch.stack([model.eval()(own) for model, own in zip(models, x, strict=True)])
    torch.testing.assert_close(stack_of(candidate, models).eval()(x), alone, rtol=2e-6, atol=2e-6)


@every_setting
def test_gradients_and_statistics_are_those_of_the_models(changes: dict[str, object]) -> None:
    candidate = candidate_of(**changes)
    models = [model.double() for model in models_of(candidate)]  # so that a wrong formula shows, not a rounding
    stack = stack_of(candidate, models)
    x = contexts().double()
    stack(x).square().mean((1, 2, 3)).sum().backward()
    assert stack.weights.grad is not None
    gradients = stack.weights.grad.split([shape.numel() for shape in stack.trained.values()], dim=1)
    for row, (model, own) in enumerate(zip(models, x, strict=True)):
        model.train()(own).square().mean().backward()
        wanted = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
        assert list(wanted) == list(stack.trained)
        for gradient, found in zip(wanted.values(), gradients, strict=True):
            torch.testing.assert_close(found[row], gradient.flatten(), rtol=1e-9, atol=1e-11)
        state = stack.state(row)
        for name, buffer in model.state_dict().items():
            torch.testing.assert_close(state[name], buffer, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("head", ["flatten", "mean"])
def test_dropout_draws_what_a_model_alone_would_draw(head: str) -> None:
    candidate = candidate_of(ff_dropout=0.3, head_dropout=0.2, head=head)
    models = models_of(candidate)
    x = contexts()
    stacked = stack_of(candidate, models, random=torch.Generator().manual_seed(5))(x)
    for model, own, found in zip(models, x, stacked, strict=True):
        torch.manual_seed(5)
        torch.testing.assert_close(found, model.train()(own), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["batchnorm", "layernorm"])
@pytest.mark.parametrize("poison", [1.0, float("nan"), float("inf")])
@settings(max_examples=4, deadline=None)
@given(poisoned=st.integers(0, N_MODELS - 1))
def test_no_model_sees_another_one(norm: str, poison: float, poisoned: int) -> None:
    candidate = candidate_of(norm=norm, instance_norm=True, ff_dropout=0.2)
    models = models_of(candidate)
    found = []
    for added in (0.0, poison):
        stack = stack_of(candidate, models, random=torch.Generator().manual_seed(0))
        x = contexts()
        x[poisoned] += added
        x[poisoned, 0, -1] += added  # a constant alone would be taken away by the instance norm
        forecast = stack(x)
        forecast.square().mean((1, 2, 3)).sum().backward()
        assert stack.weights.grad is not None
        found.append([forecast.detach(), stack.weights.grad, stack.kept])
    for name, before, after in zip(("forecast", "gradient", "statistics"), *found, strict=True):
        has_moved = name != "statistics" or norm == "batchnorm"
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert same == [row != poisoned or not has_moved for row in range(N_MODELS)]


def test_a_state_comes_out_as_it_went_in_and_chosen_rows_stay() -> None:
    candidate = candidate_of()
    models = models_of(candidate)
    stack = stack_of(candidate, models).eval()
    x = contexts()
    whole = stack(x)
    rows = torch.tensor([2, 0])
    torch.testing.assert_close(stack(x[rows], rows), whole[rows], rtol=0, atol=0)
    stack.keep(rows)
    torch.testing.assert_close(stack(x[rows]), whole[rows], rtol=0, atol=0)
    for row, kept in enumerate(rows.tolist()):
        wanted, found = models[kept].state_dict(), stack.state(row)
        assert list(found) == list(wanted)
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_each_model_is_saved_as_any_other_and_loads_with_transformers(tmp_path: Path) -> None:
    candidate = candidate_of(instance_norm=True, head="flatten")
    stack = stack_of(candidate, models_of(candidate)).eval()
    x = contexts()
    model = PatchTst(candidate, **SIZES)
    model.load_state_dict(stack.state(1))
    save_model(tmp_path, model, candidate)
    theirs = PatchTSTForPrediction.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(theirs(past_values=x[1]).prediction_outputs, stack(x)[1], rtol=2e-6, atol=2e-6)


def test_what_cannot_be_stacked_is_refused_with_advice() -> None:
    states = [model.state_dict() for model in models_of(candidate_of())]
    with pytest.raises(ValueError, match=r"only a patchtst is stacked, found model 'dlinear'; train it group by group"):
        StackedPatchTst(candidate_of(model="dlinear"), states, **SIZES)
    with pytest.raises(ValueError, match=r"path_dropout must be 0 to stack models, found 0\.1; set it to 0"):
        StackedPatchTst(candidate_of(path_dropout=0.1), states, **SIZES)
    with pytest.raises(ValueError, match=r"6 tensors differ, first .*ff\.0\.bias: expected \(32,\), found \(24,\); st"):
        StackedPatchTst(candidate_of(ffn_dim=32), states, **SIZES)
    with pytest.raises(ValueError, match=r"expected \(48, 8\), found none"):
        StackedPatchTst(candidate_of(shortcut="linear"), states, **SIZES)
    with pytest.raises(ValueError, match=r"no states to stack"):
        StackedPatchTst(candidate_of(), [], **SIZES)
    stack = stack_of(candidate_of(), models_of(candidate_of()))
    with pytest.raises(ValueError, match=r"in training mode all models forecast.*call eval\(\) first"):
        stack(contexts(), torch.arange(2))
