"""How a step is taken: the fastest way measured, bounded memory, remembered, and aloud about what is missing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from foresense.training import calibrate as module
from foresense.training.calibrate import NO_BF16, NO_COMPILER, Calibration, Way, calibrate


class Items:
    n_items = 1000
    parts = ("a",)

    def batch(self, items: np.ndarray) -> torch.Tensor:
        return torch.ones(len(items), 1)

    def loss(self, model, batch) -> torch.Tensor:  # type: ignore[no-untyped-def]
        return model(batch).square().mean(0)

    def validate(self, model) -> float:  # type: ignore[no-untyped-def]
        return 0.0


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Way]:
    """Ways that were measured; a compiled step is twice as fast, 32 at once fastest."""
    seen: list[Way] = []

    def ms_per_item(model: nn.Module, objective: Items, way: Way, device: str) -> float:
        seen.append(way)
        return {4: 12.0, 8: 10.0, 32: 8.0, 128: 9.0}[way.micro_batch] / (2 if way.compile else 1)

    monkeypatch.setattr(module, "_ms_per_item", ms_per_item)
    monkeypatch.setattr(module, "has_bf16", lambda device: False)
    monkeypatch.setattr(module, "has_compiler", lambda: True)
    return seen


def ask(folder: Path, n_passes: int = 100_000) -> Calibration:
    items = Items()
    cache = folder / "calibration.json"
    return calibrate(lambda: nn.Linear(1, 1), items, batch_size=128, n_passes=n_passes, cache=cache, key="k")


def test_the_fastest_way_is_chosen_and_remembered(measured: list[Way], tmp_path: Path) -> None:
    found = ask(tmp_path)
    assert found.way == Way(32, compile=True, bf16=False)
    assert found.said == [NO_BF16]
    n_measured = len(measured)
    assert ask(tmp_path).way == found.way
    assert len(measured) == n_measured


def test_no_micro_batch_keeps_more_than_the_limit(
    measured: list[Way], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "activations_mib", lambda model, objective: module.ACTIVATIONS_MIB / 9)
    assert ask(tmp_path).way == Way(8, compile=True, bf16=False)
    assert max(way.micro_batch for way in measured) == 8
    assert ask(tmp_path / "short", n_passes=100).way.micro_batch == 8


def test_one_item_that_is_too_large_is_taken_in_the_smallest_micro_batch(
    measured: list[Way], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "activations_mib", lambda model, objective: 2.0 * module.ACTIVATIONS_MIB)
    assert ask(tmp_path).way == Way(4, compile=True, bf16=False)


def test_activations_are_those_that_backward_needs() -> None:
    class Wide(Items):
        def batch(self, items: np.ndarray) -> torch.Tensor:
            return torch.ones(len(items), 1024)

    # What torch keeps for an item: the input of the linear layer and of the tanh's backward (its output), and what
    # is squared (a view of that same output): 1024 numbers of 4 bytes, twice. The weights are not counted.
    model = nn.Sequential(nn.Linear(1024, 1024), nn.Tanh())
    assert module.activations_mib(model, Wide()) == pytest.approx(2 * 4096 / 2**20)


def test_without_a_compiler_it_says_so(measured: list[Way], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_compiler", lambda: False)
    found = ask(tmp_path)
    assert found.way == Way(32, compile=False, bf16=False)
    assert found.said == [NO_COMPILER, NO_BF16]


def test_a_short_training_is_not_measured_first(measured: list[Way], tmp_path: Path) -> None:
    found = ask(tmp_path, n_passes=100)
    assert len(measured) == 1
    assert not found.way.compile
    assert found.said == ["not calibrated: the training takes about 1 s"]


def test_a_real_step_takes_time() -> None:
    assert module._ms_per_item(nn.Linear(1, 1), Items(), Way(8, compile=False, bf16=False), "cpu") > 0
