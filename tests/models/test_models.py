"""Contract of the room: whatever is in MODELS is tested by being there; published sizes; refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PatchTSTForPrediction

from foresense.config import CandidateConfig
from foresense.models import MODELS, build_model, load_model, model_sha256, save_model
from foresense.models.patchtst import n_patches

CONTEXT, HORIZON, N_CHANNELS = 64, 8, 3
SMALL = {"patch_length": 8, "patch_stride": 4, "d_model": 16, "ffn_dim": 32, "n_layers": 1}


def small(name: str, **changes: object) -> tuple[CandidateConfig, torch.nn.Module]:
    torch.manual_seed(0)
    candidate = CandidateConfig.model_validate({"model": name, **SMALL, **changes})
    return candidate, build_model(candidate, n_channels=N_CHANNELS, context=CONTEXT, horizon=HORIZON)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_batch_is_its_windows_one_by_one(name: str) -> None:
    _, model = small(name)
    model.eval()
    batch = torch.randn(5, CONTEXT, N_CHANNELS)
    whole = model(batch)
    assert whole.shape == (5, HORIZON, N_CHANNELS)
    single = torch.cat([model(window[None]) for window in batch])
    torch.testing.assert_close(whole, single, rtol=1e-5, atol=1e-5)  # float32 sums in another order


@pytest.mark.parametrize("name", sorted(MODELS))
def test_channels_are_independent(name: str) -> None:
    _, model = small(name)
    model.eval()
    batch = torch.randn(2, CONTEXT, N_CHANNELS)
    order = [2, 0, 1]
    torch.testing.assert_close(model(batch[..., order]), model(batch)[..., order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_saved_model_comes_back_to_the_same_bits(name: str, tmp_path: Path) -> None:
    candidate, model = small(name)
    model.eval()
    save_model(tmp_path, model, candidate)
    batch = torch.randn(2, CONTEXT, N_CHANNELS)
    assert torch.equal(load_model(tmp_path)(batch), model(batch))
    assert len(model_sha256(tmp_path)) == 64


def test_a_shortcut_is_the_linear_map_until_the_network_learns_and_travels_with_the_weights(tmp_path: Path) -> None:
    candidate, model = small("patchtst", shortcut="linear", instance_norm=True, context_length=32, end_padding=True)
    model.eval()
    weights = np.random.default_rng(0).standard_normal((48, HORIZON)) / 48
    model.start_from(weights)
    batch = torch.randn(4, CONTEXT, N_CHANNELS)
    last = batch[:, -1:]
    expected = last + torch.einsum("ntc,th->nhc", batch[:, -48:] - last, torch.from_numpy(weights).float())
    torch.testing.assert_close(model(batch), expected, rtol=1e-5, atol=1e-5)  # float32 sums in another order
    save_model(tmp_path, model, candidate)
    assert torch.equal(load_model(tmp_path)(batch), model(batch))


def test_from_pretrained_reads_a_saved_patchtst(tmp_path: Path) -> None:
    candidate, model = small("patchtst", instance_norm=True)
    model.eval()
    save_model(tmp_path, model, candidate)
    theirs = PatchTSTForPrediction.from_pretrained(tmp_path).eval()
    batch = torch.randn(2, CONTEXT, N_CHANNELS)
    torch.testing.assert_close(theirs(past_values=batch).prediction_outputs, model(batch), rtol=0, atol=0)


@pytest.mark.parametrize(("head", "expected"), [("mean", 1_220_848), ("flatten", 25_551_088)])
def test_the_asked_network_has_its_published_number_of_parameters(head: str, expected: int) -> None:
    candidate = CandidateConfig.model_validate({"head": head})
    model = build_model(candidate, n_channels=4, context=1200, horizon=240)
    assert sum(weight.numel() for weight in model.parameters()) == expected  # spec/forecast.md FX-5
    assert n_patches(candidate, 1200) == 397  # FX-1


def test_end_padding_adds_one_patch_of_the_last_sample() -> None:
    published = CandidateConfig(patch_length=16, patch_stride=8, end_padding=True)
    assert [n_patches(published, context) for context in (512, 336)] == [
        64,
        42,
    ]  # the paper's names PatchTST/64 and /42


def test_only_the_newest_samples_of_a_shorter_context_count() -> None:
    _, model = small("patchtst", context_length=32)
    model.eval()
    batch = torch.randn(2, CONTEXT, N_CHANNELS)
    changed = batch.clone()
    changed[:, : CONTEXT - 32] = 99.0
    assert torch.equal(model(batch), model(changed))


def test_instance_norm_makes_a_forecast_follow_shift_and_scale() -> None:
    _, model = small("patchtst", instance_norm=True)
    model.eval()
    batch = torch.randn(2, CONTEXT, N_CHANNELS)
    # the scaler adds 1e-5 to the variance, so the law holds to about 1e-5 of the deviation
    torch.testing.assert_close(model(3 * batch + 7), 3 * model(batch) + 7, rtol=1e-4, atol=1e-3)


def test_dropout_really_acts_in_training_and_never_in_evaluation() -> None:
    _, model = small("patchtst", ff_dropout=0.3, head_dropout=0.1)
    batch = torch.randn(2, CONTEXT, N_CHANNELS)
    model.train()
    assert not torch.equal(model(batch), model(batch))  # FX-4: with `dropout` alone two passes are bit-identical
    model.eval()
    assert torch.equal(model(batch), model(batch))


def test_an_unknown_model_names_the_nearest() -> None:
    candidate = CandidateConfig(model="patchtts")
    with pytest.raises(ValueError, match=r"no model 'patchtts'; did you mean 'patchtst'\? \(known: "):
        build_model(candidate, n_channels=1, context=64, horizon=8)


def test_an_old_pickled_model_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "model_lathe.pt").write_bytes(b"\x80\x04")
    with pytest.raises(ValueError, match=r"model_lathe\.pt is a pickled model .* train again with `foresense train"):
        load_model(tmp_path)


def test_a_missing_model_says_which_step_makes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `foresense train"):
        load_model(tmp_path)
