"""The pooled objective: every window of every group once, in the sum as in the loop."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_error
from torch import nn

from foresense.signals import Scaler, Windows
from foresense.training import FitPlan, Objective, fit
from foresense.training.forecast import ForecastObjective
from foresense.training.pooled import PooledObjective

CHANNELS = ("temp", "current")


def group(name: str, n_train: int, n_validation: int = 3, seed: int = 0) -> Windows:
    """Random samples, no two alike, so that a window says where it comes from."""
    n_rows = n_train + n_validation + 20
    ones = np.ones(2)
    return Windows(
        group=name,
        samples=np.random.default_rng([seed, n_train]).random((n_rows, 2), np.float32),
        channels=CHANNELS,
        units=("Cel", "A"),
        context=8,
        horizon=4,
        starts={
            "train": np.arange(n_train),
            "validation": n_train + np.arange(n_validation),
            "test": np.arange(0),
        },
        row_times_s=np.arange(n_rows) * 3600,
        asset_of_row=np.zeros(n_rows, np.int32),
        assets=(name,),
        interval_s=3600.0,
        time_zone="UTC",
        scaler=Scaler("minmax", CHANNELS, 0 * ones, ones, 0 * ones),
    )


def groups_of(sizes: Sequence[int]) -> list[Windows]:
    return [group(f"machine-{number}", size, 1 + number, seed=number) for number, size in enumerate(sizes)]


class LastValue(nn.Module):
    def forward(self, context: torch.Tensor) -> torch.Tensor:
        return context[:, -1:].expand(-1, 4, -1)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=5).filter(any), stride=st.integers(1, 4))
def test_items_are_the_training_windows_of_all_groups_each_once(sizes: list[int], stride: int) -> None:
    groups = groups_of(sizes)
    pooled = PooledObjective(groups, stride=stride)
    wanted = np.concatenate([own.gather(own.starts["train"][::stride]) for own in groups])
    assert pooled.n_items == len(wanted)
    items = np.random.default_rng(0).permutation(pooled.n_items)
    found = pooled.batch(items).numpy()
    assert sorted(window.tobytes() for window in found) == sorted(window.tobytes() for window in wanted)
    np.testing.assert_array_equal(found, pooled.batch(np.arange(pooled.n_items)).numpy()[items])


def test_items_and_validation_windows_go_round_the_groups() -> None:
    pooled = PooledObjective(groups_of([5, 1, 3]), stride=1)
    assert pooled.owners.tolist() == [0, 1, 2, 0, 2, 0, 2, 0, 0]
    assert pooled.validation[0].tolist() == [0, 1, 2, 1, 2, 2]


@pytest.mark.parametrize("validation_stride", [1, 2])
def test_validation_is_the_mean_over_all_windows(validation_stride: int) -> None:
    groups = groups_of([9, 30, 2, 25])
    groups[1].starts["validation"] = np.arange(30)  # more than one batch
    windows = np.concatenate([own.gather(own.starts["validation"][::validation_stride]) for own in groups])
    truth, forecast = windows[:, 8:].ravel(), np.repeat(windows[:, 7:8], 4, axis=1).ravel()
    pooled = PooledObjective(groups, stride=1, validation_stride=validation_stride)
    assert pooled.validate(LastValue()) == pytest.approx(mean_squared_error(truth, forecast), rel=1e-6)
    whole = pooled.batch(np.arange(pooled.n_items))
    np.testing.assert_allclose(
        pooled.loss(LastValue(), whole), ((whole[:, 8:] - whole[:, 7:8]) ** 2).numpy().mean((0, 1)), rtol=1e-6
    )


def test_one_group_pooled_trains_to_the_bits_of_that_group(tmp_path: Path) -> None:
    windows = group("lathe", 70)
    found = []
    for number, objective in enumerate([ForecastObjective(windows, stride=2), PooledObjective([windows], stride=2)]):
        asked: Objective = objective
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Unflatten(1, (4, 2)))
        fit(model, asked, FitPlan(n_epochs=3, batch_size=8, learning_rate=1e-2), checkpoint=tmp_path / str(number))
        found.append(model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_groups_that_do_not_fit_together_are_refused() -> None:
    first, other = groups_of([5, 6])
    with pytest.raises(ValueError, match=r"'machine-1': context is 9, of 'machine-0' 8; a shared model needs one lay"):
        PooledObjective([first, replace(other, context=9)], stride=1)
    with pytest.raises(ValueError, match=r"'machine-1': units is \('K', 'A'\), of 'machine-0' \('Cel', 'A'\)"):
        PooledObjective([first, replace(other, units=("K", "A"))], stride=1)
    with pytest.raises(ValueError, match="no groups to pool; a shared model needs at least one"):
        PooledObjective([], stride=1)
