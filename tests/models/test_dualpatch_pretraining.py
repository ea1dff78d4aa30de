"""Pretraining of mixed windows: what is hidden stays hidden, the kinds of nothing apart, encoders that travel."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from foresense.config.dualpatch import Branches
from foresense.models.dualpatch import DualPatch
from foresense.models.dualpatch_inputs import Hidden
from foresense.models.dualpatch_pretraining import (
    MaskedMixed,
    TimeDecoder,
    freeze_encoder,
    rate_factors,
    start_from_pretrained,
    unfreeze,
)
from foresense.models.mixed import (
    MIXED,
    build_mixed,
    load_encoder,
    load_mixed,
    save_encoder,
    save_mixed,
    standardise_mixed_by,
)
from tests.models.mixed_batches import BRANCHES, Batch, batch_of, tiny_config, tiny_model


def masked(**changes: Any) -> tuple[MaskedMixed, Batch, Hidden]:
    torch.manual_seed(0)
    model = MaskedMixed(tiny_config(**changes)).eval()
    if model.config.n_numeric:
        standardise_mixed_by(model, means=[0.0, 10.0, 20.0], deviations=[1.0, 2.0, 3.0])
    batch = {name: rows for name, rows in batch_of(model.config).items() if not name.startswith("static")}
    places = torch.rand(4, 5, 22, generator=torch.Generator().manual_seed(3)) < 0.3
    return model, batch, Hidden(places[:, :3], places[:, 3:])


@pytest.mark.parametrize("branches", BRANCHES)
def test_what_is_hidden_is_not_seen(branches: str) -> None:
    model, batch, hidden = masked(branches=branches)
    assert hidden.numbers is not None
    assert hidden.categories is not None
    numbers = torch.where(hidden.numbers, torch.randn(4, 3, 22) * 9, batch["numbers"])
    numbers[1] = torch.where(hidden.numbers[1], float("nan"), numbers[1])  # missing or not is not told either
    codes = torch.where(hidden.categories, (batch["categories"] + 1) % 4, batch["categories"])
    before, after = model(hidden, **batch), model(hidden, **{**batch, "numbers": numbers, "categories": codes})
    assert torch.equal(before.numbers, after.numbers)
    for one, other in zip(before.logits, after.logits, strict=True):
        assert torch.equal(one, other)
    seen = model(hidden, **{**batch, "numbers": batch["numbers"] + 1})
    assert not torch.allclose(before.numbers, seen.numbers, atol=1e-4)


@pytest.mark.parametrize("branches", BRANCHES)
def test_hidden_is_not_missing_and_not_padding(branches: str) -> None:
    """The same empty place, called by three names, gives three reconstructions of a place that is seen."""
    model, batch, _ = masked(branches=branches)
    batch = {**batch, "numbers": batch["numbers"].nan_to_num(1.0), "lengths": torch.full((4,), 22)}
    nothing = torch.zeros(4, 5, 22, dtype=torch.bool)
    last = nothing.clone()
    last[:, :, 21] = True
    gone = batch["numbers"].clone()
    gone[:, :, 21] = float("nan")
    no_code = batch["categories"].clone()
    no_code[:, :, 21] = 0
    is_hidden = model(Hidden(last[:, :3], last[:, 3:]), **batch)
    is_missing = model(Hidden(nothing[:, :3], nothing[:, 3:]), **{**batch, "numbers": gone, "categories": no_code})
    is_padding = model(Hidden(nothing[:, :3], nothing[:, 3:]), **{**batch, "lengths": torch.full((4,), 21)})
    for one, other in ((is_hidden, is_missing), (is_hidden, is_padding), (is_missing, is_padding)):
        assert not torch.allclose(one.numbers[..., :21], other.numbers[..., :21], atol=1e-4)


def test_only_what_is_hidden_and_known_is_asked_for() -> None:
    model, batch, hidden = masked()
    rebuilt = model(hidden, **batch)
    assert hidden.numbers is not None
    assert hidden.categories is not None
    real = (torch.arange(22) < batch["lengths"][:, None])[:, None]
    assert torch.equal(rebuilt.asked_numbers, hidden.numbers & batch["numbers"].isfinite() & real)
    assert torch.equal(rebuilt.asked_values, hidden.categories & (batch["categories"] >= 2) & real)
    truth = (batch["numbers"] - torch.tensor([0.0, 10, 20])[:, None]) / torch.tensor([1.0, 2, 3])[:, None]
    torch.testing.assert_close(rebuilt.true_numbers[rebuilt.asked_numbers], truth[rebuilt.asked_numbers])
    assert torch.equal(rebuilt.true_values[rebuilt.asked_values], batch["categories"][rebuilt.asked_values] - 2)
    assert [logits.shape for logits in rebuilt.logits] == [(4, 22, 4), (4, 22, 2)]


@pytest.mark.parametrize("channels", [{"n_numeric": 0}, {"cardinalities": ()}])
@pytest.mark.parametrize("branches", BRANCHES)
def test_a_pretraining_without_channels_of_a_kind(branches: str, channels: dict[str, Any]) -> None:
    model, batch, hidden = masked(branches=branches, **channels)
    kept = Hidden(
        hidden.numbers if model.config.n_numeric else None, hidden.categories if not model.config.n_numeric else None
    )
    rebuilt = model(kept, **batch)
    assert (rebuilt.numbers is None) is (model.config.n_numeric == 0)
    assert len(rebuilt.logits) == model.config.n_categorical


def test_a_step_is_rebuilt_by_the_mean_of_the_patches_that_look_at_it() -> None:
    config = tiny_config(cardinalities=(), n_numeric=1)
    part = TimeDecoder(config)
    tokens = torch.randn(1, 5, 16)
    said = part.linear(tokens)[0]  # (5 patches, 8 steps)
    found = part(tokens)[0, :, 0]
    for step in range(22):
        of = [said[patch, step - 4 * patch] for patch in range(5) if 0 <= step - 4 * patch < 8]
        torch.testing.assert_close(found[step], torch.stack(of).mean())


@pytest.mark.parametrize("branches", BRANCHES)
def test_an_encoder_travels_with_its_configuration_and_scales(branches: str, tmp_path: Path) -> None:
    pretrained, batch, _ = masked(branches=branches)
    save_encoder(tmp_path, pretrained)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.json", "encoder.safetensors"]
    encoder = load_encoder(tmp_path)
    assert encoder.config == pretrained.config
    model = tiny_model(branches=branches)
    head = model.head.weight.clone()
    start_from_pretrained(model, encoder)
    assert torch.equal(model.head.weight, head)
    bare = tiny_model(branches=branches, n_static_numeric=0, static_cardinalities=())
    start_from_pretrained(bare, encoder)
    ours, theirs = (one(one.inputs.mixed(**batch)).tokens for one in (bare.encoder, pretrained.encoder))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", sorted(MIXED))
def test_a_model_of_every_name_is_loaded_as_it_was_saved(name: str, tmp_path: Path) -> None:
    model = build_mixed(tiny_config(branches=name, head="values", n_outputs=2)).eval()
    standardise_mixed_by(
        model, means=[1.0, 2, 3], deviations=[4.0, 5, 6], static_means=[7.0, 8], static_deviations=[9.0, 10]
    )
    model.target.take([80.0, 1.0], [90.0, 2.0])
    save_mixed(tmp_path, model)
    again = load_mixed(tmp_path)
    assert {
        tensor: torch.equal(values, model.state_dict()[tensor]) for tensor, values in again.state_dict().items()
    } == dict.fromkeys(model.state_dict(), True)
    batch = batch_of(model.config)
    assert torch.equal(again(**batch), model(**batch))
    assert not again.training


def test_every_way_to_branch_has_a_name() -> None:
    assert set(MIXED) == set(get_args(Branches)) == set(BRANCHES)


def test_what_is_no_model_of_this_release_says_so(tmp_path: Path) -> None:
    save_mixed(tmp_path, tiny_model())
    with pytest.raises(FileNotFoundError, match=r"encoder\.json: not there"):
        load_encoder(tmp_path)
    save_mixed(tmp_path / "other", tiny_model(d_model=32))
    (tmp_path / "other" / "mixed.json").write_bytes((tmp_path / "mixed.json").read_bytes())
    with pytest.raises(ValueError, match=r"weights of another network than mixed\.json describes"):
        load_mixed(tmp_path / "other")
    (tmp_path / "mixed.json").write_text('{"config": {"n_layer": 2}}')
    with pytest.raises(ValueError, match=r"not a model of this release: n_layer: unknown key; did you mean 'n_layers'"):
        load_mixed(tmp_path)
    (tmp_path / "mixed.json").write_text("{}")
    with pytest.raises(ValueError, match="config missing"):
        load_mixed(tmp_path)


def test_the_encoder_of_another_network_is_refused() -> None:
    model = DualPatch(tiny_config(head="values", dropout=0.2))
    with pytest.raises(
        ValueError, match=r"another one: cardinalities: expected \(4, 2\), found \(4, 3\); n_layers: ex"
    ):
        start_from_pretrained(model, MaskedMixed(tiny_config(cardinalities=(4, 3), n_layers=1)).encoder)


def test_layers_learn_slower_the_further_they_are_from_the_head() -> None:
    model = tiny_model()
    factors = rate_factors(model, slower=0.5)
    assert set(factors) == {name for name, _ in model.named_parameters()}
    assert factors["head.weight"] == 1
    assert factors["encoder.fusion.query.weight"] == 0.5
    assert factors["encoder.time.layers.1.qkv.weight"] == factors["encoder.channels.layers.1.qkv.weight"] == 0.25
    assert factors["encoder.time.layers.0.qkv.weight"] == 0.125
    tokens = (
        "time.patches.projection.weight",
        "time.positions",
        "channels.tokens.names",
        "inputs.categories.table.weight",
    )
    assert {factors[f"encoder.{name}"] for name in tokens} == {0.0625}
    assert set(rate_factors(model, slower=1.0).values()) == {1.0}
    assert rate_factors(tiny_model(head="steps"))["steps.own.weight"] == 1
    for slower in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="slower: expected above 0 and at most 1"):
            rate_factors(model, slower=slower)


def test_a_linear_probe_learns_the_head_alone_and_then_everything_learns() -> None:
    model = tiny_model()
    freeze_encoder(model)
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == {"head.weight", "head.bias"}
    unfreeze(model)
    assert all(weight.requires_grad for weight in model.parameters())
