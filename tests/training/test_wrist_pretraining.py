"""Hidden patches: only they count, always equally many, guessed better than by their mean; turned and mixed windows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foresense.config.wrist import WristModelConfig
from foresense.models.wrist import MaskedPatches, WristTransformer, start_from_pretrained
from foresense.training import FitPlan, fit
from foresense.training.wrist_augment import Augmentation, hidden_patches, mixed, turned
from foresense.training.wrist_items import WristItems
from foresense.training.wrist_pretraining import ReconstructionObjective

CONFIG = WristModelConfig(window_length=40, patch_length=4, d_model=32, n_layers=1, dropout=0.0, rate_hz=10.0)


def waves(n: int, seed: int) -> WristItems:
    """Sines of one frequency and any phase: a patch follows from any other."""
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi * (rng.random((n, 1, 1)) + 0.1 * np.arange(40)[:, None] + np.array([0, 0.25, 0.4]))
    return WristItems((np.sin(phase) + np.array([0, 0, 1])).astype(np.float32))


def objective(n: int = 64, **changes: object) -> ReconstructionObjective:
    return ReconstructionObjective(waves(n, 0), waves(20, 1), n_patches=10, **changes)  # type: ignore[arg-type]


def plan(n_epochs: int) -> FitPlan:
    return FitPlan(n_epochs=n_epochs, batch_size=32, learning_rate=1e-2, patience=99)


def network() -> MaskedPatches:
    torch.manual_seed(0)
    return MaskedPatches(CONFIG)


@pytest.mark.parametrize(("share", "expected"), [(0.4, 4), (0.01, 1), (0.99, 9), (0.25, 2)])
def test_every_window_hides_as_many_patches(share: float, expected: int) -> None:
    hidden = hidden_patches(200, n_patches=10, share=share)
    assert hidden.shape == (200, 10)
    assert (hidden.sum(1) == expected).all()
    assert hidden.any(0).all()


def test_any_patch_is_hidden_as_often() -> None:
    n = 20_000
    seen = hidden_patches(n, n_patches=10, share=0.4, generator=torch.Generator().manual_seed(0)).float().mean(0)
    assert (seen - 0.4).abs().max() < 5 * (0.4 * 0.6 / n) ** 0.5  # five standard errors of a share


def test_only_hidden_patches_count() -> None:
    hidden = torch.tensor([[True, False, False], [False, False, True]])
    guessed, truth = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    truth[~hidden] = 99.0
    truth[0, 0], truth[1, 2] = 2.0, 4.0
    found = objective().loss(lambda *_: (guessed, truth), (torch.zeros(2, 12, 1), hidden))
    assert found.tolist() == [(2.0**2 + 4.0**2) / 2]


def test_hidden_patches_are_guessed_far_better_than_by_their_mean(tmp_path: Path) -> None:
    model, learning = network(), objective(256)
    result = fit(model, learning, plan(20), checkpoint=tmp_path / "c")
    assert (
        learning.validate(lambda windows, hidden: (torch.zeros(len(windows), 10, 12), model(windows, hidden)[1])) > 0.9
    )
    assert result.best_validation < 0.2  # scaled samples have a variance of 1, and their mean is 0
    classifier = WristTransformer(CONFIG, n_classes=3)
    start_from_pretrained(classifier, model)
    assert torch.equal(classifier.encoder.patch_projection.weight, model.encoder.patch_projection.weight)


def test_validation_hides_the_same_patches_each_time() -> None:
    model, learning = network().eval(), objective()
    with torch.no_grad():
        assert learning.validate(model) == learning.validate(model) == objective().validate(model)
        assert learning.validate(model) != objective(seed=1).validate(model)


def test_validation_counts_every_window_once() -> None:
    items = waves(300, 5)  # more than one batch, and not a whole number of them
    learning = ReconstructionObjective(items, items, n_patches=10)
    model = network().eval()
    with torch.no_grad():
        whole = float(learning.loss(model, (torch.from_numpy(items.windows), learning.hidden)))
        assert learning.validate(model) == pytest.approx(whole, rel=1e-5)


def test_a_training_that_was_killed_hides_what_the_whole_one_hides(tmp_path: Path) -> None:
    class Killed(ReconstructionObjective):
        left = 2

        def validate(self, model) -> float:  # type: ignore[no-untyped-def]
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return super().validate(model)

    whole, parts = network(), network()
    fit(whole, objective(turn_deg=30.0), plan(4), checkpoint=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(
            parts,
            Killed(waves(64, 0), waves(20, 1), n_patches=10, turn_deg=30.0),
            plan(4),
            checkpoint=tmp_path / "parts",
        )
    resumed = MaskedPatches(CONFIG)
    fit(resumed, objective(turn_deg=30.0), plan(4), checkpoint=tmp_path / "parts")
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(("n_patches", "share"), [(1, 0.4), (10, 0.0), (10, 1.0)])
def test_something_must_be_hidden_and_something_seen(n_patches: int, share: float) -> None:
    with pytest.raises(ValueError, match=r"expected at least 2 patches and a share between 0 and 1, found .*; shorten"):
        ReconstructionObjective(waves(4, 0), waves(4, 1), n_patches=n_patches, share=share)


def test_there_must_be_windows_to_judge_by() -> None:
    with pytest.raises(ValueError, match="no validation windows; give more people to the validation part"):
        ReconstructionObjective(waves(4, 0), WristItems(np.zeros((0, 40, 3))), n_patches=10)


@given(limit=st.floats(0, 180), seed=st.integers(0, 999))
def test_turning_keeps_lengths_angles_and_hands_and_stays_within_the_limit(limit: float, seed: int) -> None:
    torch.manual_seed(seed)
    axes = torch.eye(3).expand(6, 3, 3)
    found = turned(axes, at_most_deg=limit)
    torch.testing.assert_close(found @ found.transpose(1, 2), axes, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(6), rtol=0, atol=1e-5)
    cosines = (found.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2  # the trace of a rotation is 1 + 2 cos(angle)
    assert (cosines >= np.cos(np.radians(limit)) - 1e-5).all()


def test_every_window_is_turned_its_own_way_and_all_its_samples_alike() -> None:
    torch.manual_seed(0)
    sample = torch.tensor([0.0, 0.0, 1.0]).expand(50, 7, 3)
    found = turned(sample, at_most_deg=180)
    torch.testing.assert_close(found, found[:, :1].expand(50, 7, 3))
    assert len(found[:, 0].round(decimals=4).unique(dim=0)) == 50
    assert (found[:, 0].mean(0).abs() < 0.6).all()


@given(concentration=st.floats(0.05, 5), seed=st.integers(0, 999))
def test_mixing_mixes_every_array_by_the_same_share(concentration: float, seed: int) -> None:
    torch.manual_seed(seed)
    values = torch.rand(9)
    single, wide, none = mixed([values, values[:, None, None].expand(9, 4, 2), None], concentration=concentration)
    assert single is not None
    assert wide is not None
    assert none is None
    torch.testing.assert_close(wide, single[:, None, None].expand(9, 4, 2))
    assert (single >= values.min() - 1e-6).all()
    assert (single <= values.max() + 1e-6).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"turn_deg": 181.0, "mixup": -1.0}, r"turn_deg: expected 0 to 180, found 181; mixup: expected a finite number")],
)
def test_an_augmentation_that_cannot_be(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**changes)
