"""The patch transformer: published sizes, laws of its positions, attention as torch's, checkpoints, pretraining."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from torch import nn

from foresense.config.wrist import WristModelConfig
from foresense.models.wrist import MaskedPatches, WristTransformer, start_from_pretrained, token_positions
from foresense.models.wrist_parts import EncoderLayer, Standardise, Written, fused, rotated, rotation, scaled_by_itself

TINY = {"window_length": 40, "patch_length": 8, "rate_hz": 10.0, "d_model": 16, "dropout": 0.0}
Inputs = dict[str, torch.Tensor]


def tiny(**changes: object) -> tuple[WristTransformer, Inputs]:
    torch.manual_seed(0)
    config = WristModelConfig.model_validate({**TINY, **changes})
    return WristTransformer(config, n_classes=4), inputs(config, 5)


def inputs(config: WristModelConfig, n: int) -> Inputs:
    shapes = {"statistics": config.n_statistics, "topology": config.n_topology, "times": config.n_times}
    found = {"windows": torch.randn(n, config.window_length, config.n_channels)}
    return found | {name: torch.randn(n, width) for name, width in shapes.items() if width}


def n_parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(("n_classes", "expected"), [(3, 74_987), (4, 75_016), (6, 75_074)])
def test_the_published_network_has_its_published_number_of_parameters(n_classes: int, expected: int) -> None:
    assert n_parameters(WristTransformer(WristModelConfig(), n_classes=n_classes)) == expected  # spec HX-21


@pytest.mark.parametrize(
    ("changes", "fewer"),
    [
        ({"n_statistics": 0}, 56 * 56 + 56),
        ({"n_topology": 0}, 24 * 56 + 56),
        ({"n_times": 0}, 5 * 56 + 56),
        ({"rope": False}, 0),
        ({"window_length": 500}, 0),
        ({"patch_length": 50}, 3 * 50 * 56),
    ],
)
def test_an_ablation_takes_exactly_its_weights_away(changes: dict[str, object], fewer: int) -> None:
    model = WristTransformer(WristModelConfig.model_validate(changes), n_classes=4)
    assert n_parameters(model) == 75_016 - fewer


@pytest.mark.parametrize("changes", [{}, {"n_statistics": 0, "n_topology": 0, "n_times": 0, "rope": False}])
@pytest.mark.parametrize("shape", [{}, {"window_length": 60, "patch_length": 60}, {"n_channels": 1}])
def test_logits_and_attention_have_their_shapes(changes: dict[str, object], shape: dict[str, object]) -> None:
    model, given = tiny(**changes, **shape)
    logits, attention = model.eval()(**given, return_attention=True)
    n_tokens = model.config.n_tokens
    assert logits.shape == (5, 4)
    assert [weights.shape for weights in attention] == [(5, 2, n_tokens, n_tokens)] * 2
    for weights in attention:
        torch.testing.assert_close(weights.sum(-1), torch.ones(5, 2, n_tokens))


def test_each_window_is_scaled_as_scipy_scales_it() -> None:
    windows = np.random.default_rng(0).normal([0.1, -0.4, 0.9], [0.01, 0.2, 2.0], (4, 1000, 3))
    windows[0, 17, 1] = 500.0  # over 31 standard deviations away
    expected = np.clip(scipy.stats.zscore(windows, axis=1), -10, 10)
    found = scaled_by_itself(torch.from_numpy(windows))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.max() == 10
    np.testing.assert_allclose(scaled_by_itself(torch.from_numpy(windows).float()), expected, atol=2e-4)


@given(level=st.floats(-16, 16), length=st.integers(2, 1000))
def test_a_constant_channel_is_zeros_whatever_rounding_leaves_of_it(level: float, length: int) -> None:
    windows = torch.full((1, length, 3), level, dtype=torch.float32)
    windows[0, :, 2] = torch.linspace(-1, 1, length)
    scaled = scaled_by_itself(windows)
    assert (scaled[..., :2] == 0).all()
    assert scaled[..., 2].abs().max() > 0.9


@pytest.mark.parametrize("scaling", ["window", "training"])
@pytest.mark.parametrize("level", [0.0, 0.1, 1.0, -16.0, 1e6])
def test_constant_windows_give_finite_logits_and_gradients(scaling: str, level: float) -> None:
    model, given = tiny(scaling=scaling)
    given["windows"] = torch.full((5, 40, 3), level)
    logits = model(**given)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


def test_features_are_standardised_as_sklearn_does_it() -> None:
    values = np.random.default_rng(1).normal(5, 3, (50, 4)) * [1, 100, 1e-3, 0] + [0, 0, 0, 0.1]
    part = Standardise(4)
    part.fit(torch.from_numpy(values))
    expected = StandardScaler().fit_transform(values)
    expected[:, 3] = 0  # a constant: sklearn, too, divides by 1
    np.testing.assert_allclose(part(torch.from_numpy(values).float()), expected, atol=2e-5)
    assert part.scale[3] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(3, 5), r"expected \(\.\.\., 4\) with at least one row, found \(3, 5\)"),
        (torch.zeros(0, 4), r"expected \(\.\.\., 4\) with at least one row, found \(0, 4\)"),
        (torch.tensor([[0.0, np.nan, 0.0, np.inf]]), r"columns \[1, 3\] are not finite"),
    ],
)
def test_values_that_nothing_can_be_standardised_by(values: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Standardise(4).fit(values)


def complex_rotation(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """RoFormer's equation 14 as a product of complex numbers; number i and i + width / 2 are one of them."""
    width = x.shape[-1]
    rates = 1.0 / 10_000.0 ** (torch.arange(0, width, 2).double() / width)
    turns = torch.polar(torch.ones(1).double(), torch.outer(positions.double(), rates))
    numbers = torch.complex(x[..., : width // 2].double(), x[..., width // 2 :].double()) * turns
    return torch.cat([numbers.real, numbers.imag], dim=-1)


def test_rotation_is_a_product_of_complex_numbers() -> None:
    positions = torch.tensor([0, 1, 2, 9, 11, 300])
    x = torch.randn(2, 3, 6, 28)
    found = rotated(x, *rotation(positions, 28)).double()
    torch.testing.assert_close(found, complex_rotation(x, positions), rtol=1e-5, atol=1e-5)  # float32 angles
    assert torch.equal(found[:, :, 0].float(), x[:, :, 0])  # position 0 turns nothing


@settings(max_examples=50)
@given(a=st.integers(0, 200), b=st.integers(0, 200), shift=st.integers(0, 200), seed=st.integers(0, 99))
def test_what_passes_between_two_patches_depends_on_how_far_apart_they_are(
    a: int, b: int, shift: int, seed: int
) -> None:
    query, key = torch.randn(2, 28, generator=torch.Generator().manual_seed(seed)).double()

    def score(one: int, other: int) -> float:
        cosines, sines = (turn.double() for turn in rotation(torch.tensor([one, other]), 28))
        return float(rotated(query, cosines[0], sines[0]) @ rotated(key, cosines[1], sines[1]))

    assert score(a, b) == pytest.approx(score(a + shift, b + shift), abs=1e-4)


def test_the_tokens_of_the_whole_window_are_not_rotated_unless_asked() -> None:
    published = {"window_length": 1000, "patch_length": 100}
    assert token_positions(WristModelConfig.model_validate(published)).tolist() == [*range(10), 0, 0]
    after = WristModelConfig.model_validate({**published, "global_tokens": "after"})
    assert token_positions(after).tolist() == list(range(12))


@pytest.mark.parametrize(("global_tokens", "same"), [("unrotated", True), ("after", False)])
def test_the_order_of_the_two_tokens_means_nothing_when_they_are_not_rotated(global_tokens: str, same: bool) -> None:
    model, _ = tiny(global_tokens=global_tokens)
    encoder = model.encoder
    tokens = torch.randn(3, 7, 16)
    swapped = [0, 1, 2, 3, 4, 6, 5]
    layer, turns = encoder.layers[0], (encoder.cosines, encoder.sines)
    found = layer(tokens[:, swapped], turns, fused)[:, swapped]
    assert torch.allclose(found, layer(tokens, turns, fused), atol=1e-6) is same


@pytest.mark.parametrize(("rope", "same"), [(False, True), (True, False)])
def test_without_rope_the_order_of_the_patches_means_nothing(rope: bool, same: bool) -> None:
    model, given = tiny(rope=rope)
    model.eval()
    order = given["windows"].view(5, 5, 8, 3)[:, [3, 0, 4, 1, 2]].reshape(5, 40, 3)
    assert torch.allclose(model(**{**given, "windows": order}), model(**given), atol=1e-6) is same


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_attention_written_out_is_the_fused_one_and_so_are_its_gradients(dtype: torch.dtype, bound: float) -> None:
    torch.manual_seed(0)
    made = [torch.randn(8, 2, 12, 28, dtype=dtype, requires_grad=True) for _ in "qkv"]
    weight = torch.randn(8, 2, 12, 28, dtype=dtype)
    written = Written()
    results = []
    for attend in (fused, written):
        mixed = attend(*made)
        results.append((mixed, *torch.autograd.grad((mixed * weight).sum(), made)))
    for one, other in zip(*results, strict=True):
        assert (one - other).abs().max() <= bound * one.abs().max()
    assert len(written.weights) == 1


def test_the_published_model_says_the_same_with_its_attention() -> None:
    torch.manual_seed(0)
    config = WristModelConfig(dropout=0.0)
    model = WristTransformer(config, n_classes=6).eval()
    given = inputs(config, 16)
    logits, _ = model(**given, return_attention=True)
    torch.testing.assert_close(logits, model(**given), rtol=0, atol=1e-6)


def test_without_rope_a_layer_is_torchs_own() -> None:
    config = WristModelConfig(dropout=0.0)
    ours = EncoderLayer(config)
    theirs = nn.TransformerEncoderLayer(56, 2, 112, dropout=0.0, batch_first=True)
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(ours.qkv.weight)
        theirs.self_attn.in_proj_bias.copy_(ours.qkv.bias)
    pairs = (
        (theirs.self_attn.out_proj, ours.projection),
        (theirs.linear1, ours.wide),
        (theirs.linear2, ours.narrow),
        (theirs.norm1, ours.norm_attention),
        (theirs.norm2, ours.norm_feed_forward),
    )
    for one, other in pairs:
        one.load_state_dict(other.state_dict())
    tokens = torch.randn(4, 12, 56)
    torch.testing.assert_close(ours(tokens, None, fused), theirs(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointing_changes_no_gradient(dropout: float) -> None:
    found = []
    for checkpointing in (False, True):
        model, given = tiny(dropout=dropout, checkpointing=checkpointing)
        torch.manual_seed(1)
        model.train()(**given).square().sum().backward()
        found.append([weight.grad for weight in model.parameters()])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("checkpointing", "training", "expected"), [(True, True, 2), (True, False, 1), (False, True, 1)]
)
def test_checkpointing_runs_layers_again_only_in_training(checkpointing: bool, training: bool, expected: int) -> None:
    model, given = tiny(checkpointing=checkpointing)
    calls: list[None] = []
    model.encoder.layers[0].wide.register_forward_hook(lambda *_: calls.append(None))
    model.train(training)(**given).sum().backward()
    assert len(calls) == expected


def test_attention_is_kept_once_with_checkpointing_in_training() -> None:
    model, given = tiny(checkpointing=True)
    logits, attention = model.train()(**given, return_attention=True)
    logits.sum().backward()
    assert len(attention) == 2


def test_dropout_acts_in_training_and_never_in_evaluation() -> None:
    model, given = tiny(dropout=0.3)
    assert not torch.equal(model.train()(**given), model(**given))
    assert torch.equal(model.eval()(**given), model(**given))


def test_every_input_counts() -> None:
    model, given = tiny()
    model.eval()
    before = model(**given)
    for name, values in given.items():
        assert not torch.allclose(model(**{**given, name: values + torch.randn_like(values)}), before, atol=1e-4), name


def test_wrong_inputs_are_all_named() -> None:
    model, given = tiny(n_topology=0)
    wrong = {
        "windows": given["windows"].transpose(1, 2),
        "topology": torch.zeros(5, 24),
        "times": given["times"][:, :4],
    }
    with pytest.raises(ValueError, match="give what the model's configuration names") as caught:
        model(**wrong)
    for part in (
        "windows: expected (n, 40, 3), found (5, 3, 40)",
        "statistics are missing: expected (n, 56)",
        "topology were given, and n_topology is 0",
        "times: expected (n, 5), found (5, 4)",
    ):
        assert part in str(caught.value)


def test_a_hidden_patch_is_not_seen_and_a_seen_one_is() -> None:
    torch.manual_seed(0)
    config = WristModelConfig.model_validate({**TINY, "scaling": "training"})
    model = MaskedPatches(config).eval()
    windows, hidden = torch.randn(1, 40, 3), torch.tensor([[False, True, False, False, True]])
    before, truth = model(windows, hidden)
    assert before.shape == truth.shape == (1, 5, 24)
    assert torch.equal(truth, windows.view(1, 5, 24))
    for patch, is_hidden in enumerate(hidden[0].tolist()):
        changed = windows.clone()
        changed[:, patch * 8 : patch * 8 + 8] += 1
        assert torch.equal(model(changed, hidden)[0], before) is is_hidden


def test_a_classifier_starts_from_the_encoder_of_a_pretraining() -> None:
    model, _ = tiny(scaling="training")
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(7)
    pretrained = MaskedPatches(model.config)
    assert pretrained.encoder.scaling is not None
    pretrained.encoder.scaling.fit(torch.randn(100, 3) * 3 + 1)
    start_from_pretrained(model, pretrained)
    theirs = {f"encoder.{name}": tensor for name, tensor in pretrained.encoder.state_dict().items()}
    kept = ("encoder.statistics.", "encoder.topology.", "encoder.times.", "head.")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, fresh[name] if name.startswith(kept) else theirs.pop(name)), name
    assert theirs == {}
    projected = torch.randn(2, 5, 16)
    bare, _ = tiny(scaling="training", n_statistics=0, n_topology=0, n_times=0)
    start_from_pretrained(bare, pretrained)
    assert torch.equal(bare.encoder(projected), pretrained.encoder(projected))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 32}, r"patch_projection\.weight: expected \(16, 24\), found \(32, 24\)"),
        ({"n_layers": 1}, r"layers\.1\.qkv\.weight: missing"),
        ({"n_layers": 3}, r"layers\.2\.qkv\.weight: expected none, found \(48, 16\)"),
        ({"n_heads": 4}, r"n_heads: expected 2, found 4"),
        ({"rope": False}, r"rope: expected True, found False"),
        ({"scaling": "training"}, r"scaling: expected 'window', found 'training'"),
    ],
)
def test_the_encoder_of_another_network_is_refused(changes: dict[str, object], message: str) -> None:
    model, _ = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = MaskedPatches(WristModelConfig.model_validate({**TINY, **changes}))
    with pytest.raises(ValueError, match=message):
        start_from_pretrained(model, other)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
