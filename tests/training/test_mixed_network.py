"""From first weights to best ones: stages in their order, scales of the training part, the same bits after a kill."""

from pathlib import Path

import numpy as np
import pytest
import torch

from foresense.config.dualpatch import DualPatchConfig
from foresense.config.mixed_pipeline import MixedCandidateConfig
from foresense.training import mixed_network
from foresense.training.loop import FitPlan
from foresense.training.mixed import outputs_of
from foresense.training.mixed_items import MixedItems
from foresense.training.mixed_network import HolesObjective, MixedScales, pretrain_network, train_network

SCALES = MixedScales((5.0, -1.0), (2.0, 3.0), (0.5,), (1.5,))
NETWORK = {"n_numeric": 2, "cardinalities": (3,), "n_static_numeric": 1, "n_steps": 16, "patch_length": 4}
NETWORK |= {"patch_stride": 4, "d_model": 16, "n_heads": 2, "n_layers": 1, "category_width": 2}


def items(n: int, seed: int, *, values: bool = False) -> MixedItems:
    """Labels follow the mean of the first channel."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(size=n)
    numbers = (5 + 2 * (levels[:, None, None] + 0.3 * rng.normal(size=(n, 2, 16)))).astype(np.float32)
    numbers[rng.random(numbers.shape) < 0.2] = np.nan
    return MixedItems(
        numbers=numbers,
        categories=rng.integers(0, 5, (n, 1, 16)),
        static_numbers=rng.normal(size=(n, 1)).astype(np.float32),
        labels=(100 + 40 * levels).astype(np.float32) if values else (levels > 0).astype(np.int64),
    )


def trained(folder: Path, *, values: bool = False, **given: object):
    head = {"head": "values" if values else "classes", "n_outputs": 1 if values else 2}
    network = DualPatchConfig.model_validate(NETWORK | head)
    candidate = MixedCandidateConfig.model_validate({"n_epochs": 4, **given})
    parts, encoder = (items(160, 1, values=values), items(80, 2, values=values)), None
    asked = {"scales": SCALES, "label": "tiny", "seed": 7}
    if candidate.pretrain_epochs:
        checkpoint = folder / "pre.safetensors"
        encoder = pretrain_network(*parts, network, candidate, checkpoint=checkpoint, **asked)[0].encoder
    checkpoint = folder / "run.safetensors"
    return train_network(*parts, network, candidate, checkpoint=checkpoint, encoder=encoder, **asked)


def test_a_rule_is_learnt_and_the_scales_are_those_given(tmp_path: Path) -> None:
    found = trained(tmp_path)
    model, result = found.model, found.fit
    test = items(200, 3)
    right = outputs_of(model, test).argmax(1) == test.labels
    assert right.mean() > 0.85  # a coin: 0.5 +- 0.035
    assert not model.training
    assert model.encoder.inputs.measured.mean.tolist() == [5.0, -1.0]
    assert model.encoder.inputs.static.measured.deviation.tolist() == [1.5]
    assert 1 <= result.best_epoch <= 4
    assert found.seconds == pytest.approx(sum(result.step_ms) / 1000)


def test_values_come_out_in_their_unit(tmp_path: Path) -> None:
    model = trained(tmp_path, values=True, n_epochs=8).model
    test = items(200, 3, values=True)
    errors = outputs_of(model, test)[:, 0] - test.labels
    assert np.sqrt(np.mean(errors**2)) < 0.6 * test.labels.std()
    labels = items(160, 1, values=True).labels.astype(np.float64)
    assert model.target.mean.item() == pytest.approx(labels.mean(), rel=1e-6)  # float32 of a float64 mean
    assert model.target.deviation.item() == pytest.approx(labels.std(), rel=1e-6)


def test_stages_come_in_their_order_and_a_probe_leaves_the_encoder(tmp_path: Path, monkeypatch) -> None:
    seen: list[tuple[str, int, int]] = []
    plain = mixed_network.fit

    def watched(model, objective, plan: FitPlan, *, checkpoint: Path, progress):
        learning = sum(weight.requires_grad for weight in model.parameters())
        seen.append((checkpoint.stem, plan.n_epochs, learning))
        return plain(model, objective, plan, checkpoint=checkpoint, progress=progress)

    monkeypatch.setattr(mixed_network, "fit", watched)
    found = trained(tmp_path, n_epochs=1, pretrain_epochs=2, probe_epochs=3, layer_decay=0.5)
    assert found.seconds > sum(found.fit.step_ms) / 1000  # the probe counts
    assert [(name, n) for name, n, _ in seen] == [("pre", 2), ("run-probe", 3), ("run", 1)]
    assert seen[1][2] == 2  # weight and bias of the head
    assert seen[2][2] > 20


def test_what_a_pretraining_has_learnt_goes_over(tmp_path: Path, monkeypatch) -> None:
    starts: list[dict[str, torch.Tensor]] = []
    plain = mixed_network.start_from_pretrained
    monkeypatch.setattr(
        mixed_network,
        "start_from_pretrained",
        lambda model, encoder: (plain(model, encoder), starts.append(dict(model.encoder.state_dict())))[0],
    )
    trained(tmp_path, n_epochs=1, pretrain_epochs=1)
    torch.manual_seed(7)
    fresh = mixed_network.build_mixed(DualPatchConfig.model_validate({**NETWORK, "n_outputs": 2}))
    name = "time.patches.projection.weight"
    assert not torch.equal(starts[0][name], fresh.encoder.state_dict()[name])


def test_a_killed_training_ends_with_the_same_bits(tmp_path: Path, monkeypatch) -> None:
    candidate = {"n_epochs": 3, "pretrain_epochs": 1, "layer_decay": 0.6, "removed_share": 0.4}
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = trained(tmp_path / "whole", **candidate).model
    n_batches = 0
    plain = HolesObjective.batch

    def dies(self, rows):
        nonlocal n_batches
        n_batches += 1
        if n_batches == 12:  # five steps an epoch: in the third one
            raise KeyboardInterrupt
        return plain(self, rows)

    with monkeypatch.context() as patched:
        patched.setattr(HolesObjective, "batch", dies)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "killed", **candidate)
    again = trained(tmp_path / "killed", **candidate).model
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_holes_are_of_measured_values_and_others_each_time() -> None:
    train = items(64, 1)
    network = DualPatchConfig.model_validate({**NETWORK, "n_outputs": 2})
    objective = HolesObjective(train, items(8, 2), network)
    rows = np.arange(64)
    assert torch.equal(objective.batch(rows).inputs["numbers"].isnan(), torch.from_numpy(np.isnan(train.numbers)))
    objective.removed_share = 0.8
    torch.manual_seed(1)
    first, second = (objective.batch(rows).inputs["numbers"] for _ in range(2))
    assert not torch.equal(first.isnan(), second.isnan())
    kept = ~first.isnan()
    assert torch.equal(first[kept], torch.from_numpy(train.numbers)[kept])
    n_measured = (~np.isnan(train.numbers)).sum()
    lost = 1 - int(kept.sum()) / n_measured
    assert lost == pytest.approx(0.4, abs=0.1)  # shares are uniform below 0.8: mean 0.4, deviation 0.23 / 8 over 64
