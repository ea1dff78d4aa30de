"""A stack trains each group to where the loop brings it alone, whoever else is in it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from foresense.config import CandidateConfig, WindowConfig
from foresense.models import build_model
from foresense.signals import Recording, Windows
from foresense.training import FitPlan, FitResult, fit, stacked
from foresense.training.checkpoint import copy_of
from foresense.training.forecast import ForecastObjective
from foresense.training.stacked import StackedFailure, StackedResult, fit_stacked
from foresense.windows import build_windows

CONTEXT, HORIZON, SEED, VALIDATION_STRIDE = 48, 12, 3, 2
SMALL = {
    "patch_length": 12,
    "patch_stride": 12,
    "d_model": 16,
    "ffn_dim": 24,
    "n_layers": 1,
    "n_heads": 2,
    "head": "flatten",
    "instance_norm": True,
    "position_std": 0.02,
    "learning_rate": 3e-3,
    "batch_size": 16,
    "n_epochs": 2,
    "train_stride": 4,
}
#: Without dropout the masks cannot hide a fault, with it they are part of what must be equal.
WAYS: dict[str, dict[str, object]] = {
    "no dropout": {"ff_dropout": 0.0, "head_dropout": 0.0},
    "dropout, onecycle": {"ff_dropout": 0.3, "head_dropout": 0.2, "schedule": "onecycle"},
    "adam, no clipping": {"optimizer": "adam", "clip_norm": None, "schedule": "cosine"},
    "layer norms, clipped": {"norm": "layernorm", "clip_norm": 0.01},
}


def machine(number: int, n_rows: int = 480) -> Windows:
    """One channel follows the day, one the shifts, of a machine of its own."""
    rng = np.random.default_rng([7, number])
    hours = np.arange(n_rows) + 5 * number
    day, working = np.sin(2 * np.pi * hours / 24), (hours // 8) % 3 > 0
    samples = np.stack([60 + number + 5 * day, 10 + 4 * working], axis=1) + 0.3 * rng.standard_normal((n_rows, 2))
    recording = Recording(
        asset=f"machine-{number}",
        samples=samples,
        channels=("temp_body", "current"),
        units=("Cel", "A"),
        interval_s=3600.0,
        start=pd.Timestamp("2025-01-01", tz="UTC"),
    )
    return build_windows(recording.asset, [recording], WindowConfig(context=CONTEXT, horizon=HORIZON))[0]


#: Unlike numbers of windows: epochs of other lengths, and one of less than a batch.
ROWS = (480, 400, 480, 620, 150, 480, 350, 480)


@pytest.fixture(scope="module")
def machines() -> list[Windows]:
    return [machine(number, n_rows) for number, n_rows in enumerate(ROWS)]


def candidate_of(**changes: object) -> CandidateConfig:
    return CandidateConfig.model_validate({**SMALL, **changes})


def alone(
    candidate: CandidateConfig, windows: Windows, folder: Path, start: dict[str, torch.Tensor] | None = None
) -> tuple[dict[str, torch.Tensor], FitResult]:
    """What `train` does with one group."""
    torch.manual_seed(SEED)
    model = build_model(candidate, n_channels=2, context=CONTEXT, horizon=HORIZON)
    if start is not None:
        model.load_state_dict(start)
    plan = FitPlan(
        n_epochs=candidate.n_epochs,
        batch_size=candidate.batch_size,
        learning_rate=candidate.learning_rate,
        schedule=candidate.schedule,
        optimizer=candidate.optimizer,
        clip_norm=candidate.clip_norm,
        patience=candidate.patience,
        seed=SEED,
    )
    objective = ForecastObjective(windows, stride=candidate.train_stride, validation_stride=VALIDATION_STRIDE)
    result = fit(model, objective, plan, checkpoint=folder / "checkpoint")
    return copy_of(model), result


def together(candidate: CandidateConfig, groups: list[Windows], **named: object) -> list[StackedResult]:
    found = fit_stacked(candidate, groups, validation_stride=VALIDATION_STRIDE, seed=SEED, **named)  # type: ignore[arg-type]
    results = [one for one in found if isinstance(one, StackedResult)]
    assert len(results) == len(groups)
    return results


def require_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], atol: float) -> None:
    assert list(found) == list(wanted)
    for name in wanted:
        torch.testing.assert_close(
            found[name], wanted[name], rtol=0, atol=atol, msg=lambda text, at=name: f"{at}: {text}"
        )


@pytest.mark.parametrize("changes", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("number", [0, 4], ids=["whole batches", "less than a batch"])
def test_a_group_gets_what_the_loop_gives(
    changes: dict[str, object], number: int, machines: list[Windows], tmp_path: Path
) -> None:
    candidate = candidate_of(**changes)
    wanted, fitted = alone(candidate, machines[number], tmp_path)
    (found,) = together(candidate, [machines[number]])
    require_equal(found.state, wanted, atol=1e-5)
    assert (found.fit.best_epoch, found.fit.n_steps, found.fit.batch_size) == (
        fitted.best_epoch,
        fitted.n_steps,
        fitted.batch_size,
    )
    assert found.fit.best_validation == pytest.approx(fitted.best_validation, rel=1e-5)
    for row, other in zip(found.fit.history, fitted.history, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    assert len(found.fit.step_ms) == found.fit.n_steps
    assert found.fit.items_per_s > 0


def test_neighbours_change_nothing(machines: list[Windows], monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = candidate_of(n_epochs=3)
    eight = together(candidate, machines)
    assert len({result.fit.n_steps for result in eight}) > 3  # or unlike epochs were not tried
    five = together(candidate, machines[:5])
    monkeypatch.setattr(stacked, "AT_ONCE", 3)
    in_threes = together(candidate, machines)
    for number in range(8):
        (one,) = together(candidate, [machines[number]])
        require_equal(eight[number].state, one.state, atol=1e-6)
        require_equal(in_threes[number].state, one.state, atol=1e-6)
        assert eight[number].group == machines[number].group
        for row, other in zip(eight[number].fit.history, one.fit.history, strict=True):
            assert row == pytest.approx(other, rel=1e-5)
        if number < 5:
            require_equal(five[number].state, one.state, atol=1e-6)


def test_every_group_stops_at_its_own_epoch_with_its_best_weights(machines: list[Windows], tmp_path: Path) -> None:
    candidate = candidate_of(n_epochs=12, patience=1, learning_rate=3e-2, norm="layernorm", ff_dropout=0.2)
    found = together(candidate, machines)
    early = [number for number, result in enumerate(found) if len(result.fit.history) < 12]
    assert len({len(found[number].fit.history) for number in early}) > 1
    for number in early[:3]:
        folder = tmp_path / str(number)
        folder.mkdir()
        wanted, fitted = alone(candidate, machines[number], folder)
        assert found[number].fit.best_epoch == fitted.best_epoch == len(fitted.history) - 1
        assert len(found[number].fit.history) == len(fitted.history)
        require_equal(found[number].state, wanted, atol=2e-3)  # roundings grow at so high a rate


def test_groups_begin_from_a_shared_model(machines: list[Windows], tmp_path: Path) -> None:
    candidate = candidate_of(learning_rate=1e-3)
    start, _ = alone(candidate, machines[3], tmp_path)
    (tmp_path / "checkpoint").unlink()
    wanted, _ = alone(candidate, machines[0], tmp_path, start)
    kept = {name: tensor.clone() for name, tensor in start.items()}
    found, _ = together(candidate, machines[:2], start=start)
    require_equal(found.state, wanted, atol=1e-5)
    require_equal(start, kept, atol=0)
    with pytest.raises(ValueError, match="the state of another network"):
        together(candidate_of(d_model=8), machines[:2], start=start)


def test_a_linear_shortcut_is_each_groups_own(machines: list[Windows], tmp_path: Path) -> None:
    candidate = candidate_of(shortcut="linear")
    rng = np.random.default_rng(0)
    linear = [0.1 * rng.standard_normal((n, HORIZON)) for n in (CONTEXT, 24)]
    found = together(candidate, machines[:2], linear=linear)
    for result, weights in zip(found, linear, strict=True):
        shortcut = result.state["net.shortcut"].numpy()
        np.testing.assert_allclose(shortcut[-len(weights) :], weights, rtol=1e-6)
        assert not shortcut[: -len(weights)].any()
    torch.manual_seed(SEED)
    model = build_model(candidate, n_channels=2, context=CONTEXT, horizon=HORIZON)
    model.start_from(linear[1])  # type: ignore[operator]
    wanted, _ = alone(candidate, machines[1], tmp_path, copy_of(model))
    require_equal(found[1].state, wanted, atol=1e-5)
    with pytest.raises(ValueError, match="shortcut is 'linear', and linear forecasts are absent; give one of each"):
        together(candidate, machines[:2])
    with pytest.raises(ValueError, match="shortcut is 'none', and linear forecasts are given"):
        together(candidate_of(), machines[:2], linear=linear)


@pytest.mark.parametrize("poison", [float("nan"), 1e30])
def test_a_group_that_diverges_fails_alone(poison: float, machines: list[Windows]) -> None:
    bad = replace(machines[2], samples=np.where(machines[2].samples > 0.5, np.float32(poison), machines[2].samples))
    groups = [*machines[:2], bad, machines[3]]
    found = fit_stacked(candidate_of(), groups, validation_stride=VALIDATION_STRIDE, seed=SEED)
    failure = found[2]
    assert isinstance(failure, StackedFailure)
    assert failure.group == "machine-2"
    assert failure.reason.startswith("the training error is no longer a number (epoch 1, step 0, learning rate 0.003)")
    assert failure.reason.endswith("lower learning_rate, or set clip_norm")
    well = [found[0], found[1], found[3]]
    for result, wanted in zip(well, together(candidate_of(), [*machines[:2], machines[3]]), strict=True):
        assert isinstance(result, StackedResult)
        require_equal(result.state, wanted.state, atol=1e-6)


def test_a_group_without_training_windows_fails_alone(machines: list[Windows]) -> None:
    empty = replace(machines[1], starts={**machines[1].starts, "train": np.empty(0, np.int64)})
    failure, result = fit_stacked(candidate_of(), [empty, machines[0]], validation_stride=2, seed=SEED)
    assert isinstance(failure, StackedFailure)
    assert (failure.group, failure.reason) == ("machine-1", stacked.NO_WINDOWS)
    assert isinstance(result, StackedResult)
    assert fit_stacked(candidate_of(), [], validation_stride=1, seed=0) == []


def test_groups_of_another_layout_are_refused(machines: list[Windows]) -> None:
    other = replace(machines[1], horizon=HORIZON - 1)
    with pytest.raises(ValueError, match=r"'machine-1' has \(channels, context, horizon\) \(2, 48, 11\), 'machine-0'"):
        fit_stacked(candidate_of(), [machines[0], other], validation_stride=1, seed=0)


def test_seeds_decide_and_the_generator_of_torch_is_left_alone(machines: list[Windows]) -> None:
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    first, again, other = (
        fit_stacked(candidate_of(), machines[:1], validation_stride=2, seed=seed)[0] for seed in (0, 0, 1)
    )
    assert torch.equal(torch.rand(3), wanted)
    assert isinstance(first, StackedResult)
    assert isinstance(again, StackedResult)
    assert isinstance(other, StackedResult)
    require_equal(first.state, again.state, atol=0)
    assert not torch.equal(first.state["net.head.projection.weight"], other.state["net.head.projection.weight"])


def test_progress_rises_to_the_end_and_finished_groups_count_as_done(machines: list[Windows]) -> None:
    seen: list[tuple[int, int, dict[str, float]]] = []

    class Noted:
        def update(self, *, epoch: int, n_epochs: int, step: int, n_steps: int, metrics: dict[str, float]) -> None:
            assert 0 <= epoch <= n_epochs == 6
            seen.append((step, n_steps, metrics))

    results = together(candidate_of(n_epochs=6, patience=1, learning_rate=3e-2), machines, progress=Noted())
    steps = [step for step, _, _ in seen]
    assert steps == sorted(steps)
    assert {n_steps for _, n_steps, _ in seen} == {steps[-1]}
    assert steps[-1] > sum(result.fit.n_steps for result in results)  # some stopped early
    assert set(seen[-1][2]) == {"train", "validation"}
