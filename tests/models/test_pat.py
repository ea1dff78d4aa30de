"""The Keras networks against plain numpy, and both trainings: one file, because importing TensorFlow takes seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foresense.config.actigraphy_model import PatFineTuningConfig, PatPretrainingConfig
from foresense.config.pat import PatWeightsError, pat_size
from foresense.export.pat import agreed_source, feature_source, keras_difference
from foresense.export.proof import ExportError
from foresense.models.pat import (
    build_autoencoder,
    build_classifier,
    build_encoder,
    build_features,
    explain,
    head_of,
    load,
    load_head,
    weights_of,
)
from foresense.registry.weights import fetch_weights, read_weights
from foresense.training.pat import fine_tune, pretrain
from foresense.training.sinks import ListSink
from tests.models import official_layout, pat_reference

DAY = 1440
#: Encoder, with head, whole autoencoder: the paper's table 1 and the spec's formulas.
COUNTS = {
    "S": (274_720, 287_265, 549_458),
    "M": (993_440, 1_005_985, 1_491_090),
    "L": (1_984_192, 1_996_737, 2_480_969),
    "conv-S": (273_280, 285_825, None),
    "conv-M": (992_000, 1_004_545, None),
    "conv-L": (1_983_616, 1_996_161, None),
    "Huge": (3_967_040, None, None),
}


def weeks_of(n: int, n_minutes: int = DAY, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, n_minutes)).astype(np.float32)


def official(size: str, folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a file in the official layout, as they come through the registry."""
    path = official_layout.write(folder / f"PAT-{size}_29k_weights.h5", official_layout.arrays(size))
    fetch_weights(f"PAT-{size}_29k", path, folder / "models", folder / "lock.json")
    return read_weights(f"PAT-{size}_29k", folder / "models", folder / "lock.json").arrays


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_networks_have_the_published_number_of_weights(name: str) -> None:
    size, (n_encoder, n_classifier, n_autoencoder) = pat_size(name), COUNTS[name]
    encoder = build_encoder(size, n_minutes=180)
    assert encoder.count_params() == n_encoder
    n = 180 // size.patch_length
    shapes = [tuple(output.shape[1:]) for output in encoder.outputs]
    assert shapes == [(n, 96), *[(size.n_heads, n, n)] * size.n_layers]
    if n_classifier:
        assert build_classifier(encoder).count_params() == n_classifier
    if n_autoencoder:
        assert build_autoencoder(encoder, size, mask_ratio=0.5).count_params() == n_autoencoder


@pytest.mark.parametrize("name", ["S", "M", "L"])
def test_an_official_file_gives_the_features_of_plain_numpy(name: str, tmp_path: Path) -> None:
    size, arrays, weeks = pat_size(name), official(name, tmp_path), weeks_of(1)
    encoder = build_encoder(size, n_minutes=DAY)
    load(encoder, size, arrays)
    expected = pat_reference.features(arrays, name, weeks)
    # float32 sums of up to 1152 terms, 4 blocks, features of the order of 1; measured below 1e-6
    np.testing.assert_allclose(np.asarray(build_features(encoder)(weeks)), expected, rtol=0, atol=1e-5)
    assert keras_difference(encoder, agreed_source(size, encoder, weeks, tmp_path)) < 1e-5
    for path, values in weights_of(encoder, size).items():
        np.testing.assert_array_equal(values, arrays[path])
    _, attention = pat_reference.encode(arrays, name, weeks[0])
    received = attention.sum(axis=1).mean(axis=0)
    found = explain(encoder, size, weeks)
    np.testing.assert_allclose(found[0, :: size.patch_length], received / received.sum(), rtol=1e-4)


def test_keras_own_loader_reads_our_fixture_into_our_network(tmp_path: Path) -> None:
    # that the fixture is a file as Keras writes it is Keras' word and not ours; it loads layers in the file's order
    path = official_layout.write(tmp_path / "weights.h5", official_layout.arrays("M"))
    encoder = build_encoder(pat_size("M"), n_minutes=DAY)
    encoder.load_weights(path)
    expected = official_layout.flat(official_layout.arrays("M"))
    for name, values in weights_of(encoder, pat_size("M")).items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_a_convolution_embeds_patches_as_torchs_does() -> None:
    import keras
    import torch

    size, days = pat_size("conv-S"), weeks_of(2, 36)
    encoder = build_encoder(size, n_minutes=36)
    weights = weights_of(encoder, size)
    kernel, bias = (weights[f"conv1d_patch_embedding/conv1d_patch_embedding/{name}:0"] for name in ("kernel", "bias"))
    patches = torch.from_numpy(days.reshape(4, 1, 18))
    filtered = torch.conv1d(
        patches, torch.from_numpy(kernel.transpose(2, 1, 0).copy()), torch.from_numpy(bias), padding=1
    )
    embed = keras.Model(encoder.input, encoder.get_layer("global_avg_pooling").output)
    np.testing.assert_allclose(
        np.asarray(embed(days)).reshape(4, 96), filtered.relu().mean(dim=2).numpy(), rtol=0, atol=1e-6
    )


def test_dropout_of_one_block_hides_other_numbers_than_the_next() -> None:
    encoder = build_encoder(pat_size("M"), n_minutes=DAY)
    dropouts = [
        part
        for number in (1, 2)
        for part in encoder.get_layer(f"encoder_layer_{number}_transformer").layers
        if "dropout" in part.name
    ]
    masks = [np.asarray(dropout(np.ones((1, 80, 96), np.float32), training=True)) for dropout in dropouts]
    assert len(masks) == 4
    shares = [float((one != other).mean()) for one in masks for other in masks if one is not other]
    assert min(shares) > 0.15  # 0.18: of two independent masks of 0.1


def test_a_full_week_in_s(tmp_path: Path) -> None:
    size, arrays, weeks = pat_size("S"), official("S", tmp_path), weeks_of(1, 10_080)
    encoder = build_encoder(size)
    load(encoder, size, arrays)
    found = np.asarray(build_features(encoder)(weeks))
    np.testing.assert_allclose(found, pat_reference.features(arrays, "S", weeks), rtol=0, atol=1e-5)
    source = feature_source(size, arrays, weeks, tmp_path)
    np.testing.assert_allclose(source.reference, found, rtol=0, atol=1e-5)


def test_a_folded_encoder_that_is_another_one_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = pat_size("S")
    encoder = build_encoder(size, n_minutes=DAY, seed=0)
    other = weights_of(build_encoder(size, n_minutes=DAY, seed=1), size)
    monkeypatch.setattr("foresense.export.pat.weights_of", lambda *_: other)
    with pytest.raises(ExportError, match=r"PAT-S: the folded encoder differs from Keras' by .* on 2 weeks; at most"):
        agreed_source(size, encoder, weeks_of(2), tmp_path)


def test_weights_of_another_size_are_not_loaded() -> None:
    encoder = build_encoder(pat_size("S"), n_minutes=DAY)
    with pytest.raises(
        PatWeightsError, match="load: expected the 274,720 weights of PAT-S, found the 993,440 of PAT-M"
    ):
        load(encoder, pat_size("S"), official_layout.flat(official_layout.arrays("M")))


def test_keras_on_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ImportError, match="Keras runs on 'torch', expected 'tensorflow': set KERAS_BACKEND=tensorflow"):
        build_encoder(pat_size("S"), n_minutes=DAY)


def test_weights_are_a_function_of_the_seed_and_the_autoencoder_trains_the_encoders_own() -> None:
    size = pat_size("S")
    first, same, other = (build_encoder(size, n_minutes=180, seed=seed) for seed in (0, 0, 1))
    kernel = "dense/dense/kernel:0"
    np.testing.assert_array_equal(weights_of(first, size)[kernel], weights_of(same, size)[kernel])
    assert (weights_of(first, size)[kernel] != weights_of(other, size)[kernel]).all()
    autoencoder = build_autoencoder(first, size, mask_ratio=0.5)
    ours = {id(variable) for variable in first.weights}
    assert ours < {id(variable) for variable in autoencoder.weights}
    assert len(autoencoder.weights) - len(ours) == 16 + 1 + 2  # decoder block, mask token, last layer


@pytest.fixture(scope="module")
def autoencoder() -> Any:
    encoder = build_encoder(pat_size("S"), n_minutes=360)
    return build_autoencoder(encoder, pat_size("S"), mask_ratio=0.75)


def rebuilt(autoencoder: Any, weeks: np.ndarray, order: np.ndarray) -> np.ndarray:
    inputs = {"actigraphy_input": weeks, "patch_order": np.tile(order.astype(np.int32), (len(weeks), 1))}
    return np.asarray(autoencoder(inputs))


def test_the_encoder_never_sees_a_hidden_patch_and_sees_every_visible_one(autoencoder: Any) -> None:
    order = np.random.default_rng(1).permutation(20)
    visible, hidden = order[:5], order[5:]
    weeks = weeks_of(1, 360)
    before = rebuilt(autoencoder, weeks, order)
    for patches, has_effect in ((hidden, False), (visible, True)):
        changed = weeks.reshape(1, 20, 18).copy()
        changed[:, patches] += 1.0
        after = rebuilt(autoencoder, changed.reshape(1, 360), order)
        assert (not np.array_equal(before, after)) == has_effect
    assert before.shape == (1, 20, 18)
    assert np.abs(before).max() <= 2.0  # 2 tanh


def test_patches_stand_where_they_were_whatever_the_order_of_the_visible(autoencoder: Any) -> None:
    # attention has no order of its own, so permuting the visible patches, or the hidden ones, may change rounding only
    rng, weeks = np.random.default_rng(2), weeks_of(2, 360)
    order = rng.permutation(20)
    shuffled = np.concatenate([rng.permutation(order[:5]), rng.permutation(order[5:])])
    before, after = (rebuilt(autoencoder, weeks, one) for one in (order, shuffled))
    np.testing.assert_allclose(before, after, rtol=0, atol=2e-6)


def rhythms(n: int, n_minutes: int, seed: int) -> np.ndarray:
    """Standardised cosines of 90 minutes with a phase of their own, and a little noise."""
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 2 * np.pi, (n, 1))
    clean = np.sqrt(2) * np.cos(2 * np.pi * np.arange(n_minutes) / 90 + phases)
    return (clean + 0.1 * rng.normal(size=clean.shape)).astype(np.float32)


def pretrained(config: PatPretrainingConfig, seed: int = 0) -> tuple[Any, Any, ListSink]:
    size, sink = pat_size("S"), ListSink()
    encoder = build_encoder(size, n_minutes=360, seed=seed)
    model = build_autoencoder(encoder, size, mask_ratio=config.mask_ratio, seed=seed)
    found = pretrain(model, size, rhythms(24, 360, 1), rhythms(8, 360, 2), config, seed=seed, sink=sink)
    return found, weights_of(encoder, size), sink


def test_pretraining_learns_the_rhythm_and_repeats_itself_bit_for_bit() -> None:
    config = PatPretrainingConfig(n_epochs=8, batch_size=8, mask_ratio=0.5)
    found, weights, sink = pretrained(config)
    assert found.best_validation < 0.8 < 0.95 < found.history[0]["validation"]  # 1.01: the variance, always saying 0
    assert found.best_validation == min(row["validation"] for row in found.history)
    assert (found.n_steps, found.batch_size, len(found.step_ms)) == (24, 8, 24)
    assert sink.last("learning_rate") == pytest.approx(1e-3)
    _, again, other_sink = pretrained(config)
    assert other_sink.rows == sink.rows
    for name, values in weights.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)


@pytest.mark.parametrize("loss", ["all", "masked"])
def test_errors_are_means_over_the_minutes_that_count(loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size, weeks = pat_size("S"), rhythms(3, 360, 3)
    config = PatPretrainingConfig(n_epochs=1, batch_size=64, mask_ratio=0.5, loss=loss, learning_rate=1e-12)
    model = build_autoencoder(build_encoder(size, n_minutes=360), size, mask_ratio=0.5)
    for layer in model.layers:  # with dropout the training error could not be computed a second time
        for part in (layer, *getattr(layer, "layers", ())):
            if "dropout" in part.name:
                part.rate = 0.0
    streams = {"validation": [4, 0, 1], "train": [4, 2, 1]}  # of the first batch of epoch 1
    if loss == "all":  # tracing a training step takes seconds, and once is enough
        monkeypatch.setattr(model, "train_on_batch", lambda *_, **__: 0.0)
        del streams["train"]
    row = pretrain(model, size, weeks, weeks, config, seed=4).history[0]
    for name, stream in streams.items():
        order = np.random.default_rng(stream).permutation(20)
        square = (rebuilt(model, weeks, order).astype(np.float64) - weeks.reshape(3, 20, 18)) ** 2
        counted = square if loss == "all" else square[:, order[10:]]
        assert row[name] == pytest.approx(counted.mean(), rel=1e-5), name


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # TensorFlow 2.21 with numpy 2.4
def test_rate_and_end_are_those_of_keras_own_callbacks(autoencoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    errors = [0.9, 0.8, 0.85, 0.8, 0.81, 0.7, 0.71, 0.72, 0.73, 0.69, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]
    said = iter(errors)
    monkeypatch.setattr(autoencoder, "train_on_batch", lambda *_, **__: 0.5)
    monkeypatch.setattr(autoencoder, "predict_on_batch", lambda _: np.full((2, 20, 18), np.sqrt(next(said))))
    config = PatPretrainingConfig(
        n_epochs=16, mask_ratio=0.75, learning_rate=1.0, patience=5, plateau_patience=2, min_learning_rate=0.2
    )
    weeks, sink = np.zeros((2, 360), np.float32), ListSink()
    found = pretrain(autoencoder, pat_size("S"), weeks, weeks, config, sink=sink)
    judge = keras.Sequential([keras.layers.Dense(1)])
    judge.compile(optimizer=keras.optimizers.Adam(1.0))
    slower = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=2, min_delta=0, min_lr=0.2)
    ender = keras.callbacks.EarlyStopping("val_loss", patience=5)
    rates = []
    for callback in (slower, ender):
        callback.set_model(judge)
        callback.on_train_begin()
    for epoch, error in enumerate(errors):
        rates.append(float(judge.optimizer.learning_rate))
        for callback in (slower, ender):
            callback.on_epoch_end(epoch, {"val_loss": error})
        if judge.stop_training:
            break
    assert [value for name, value, _ in sink.rows if name == "learning_rate"] == pytest.approx(rates)
    assert len(set(rates)) == 4  # 1, 0.5, 0.25, 0.2
    assert (found.best_epoch, found.best_validation) == (10, pytest.approx(0.69))


def labelled(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Every third person is active in one half of the recording only."""
    weeks, labels = rhythms(n, 360, seed), (np.arange(n) % 3 == 0).astype(np.int64)
    weeks[labels == 1, 180:] = -1.0
    return weeks, labels


@pytest.mark.parametrize("style", ["full", "linear_probe"])
def test_fine_tuning_tells_two_kinds_apart_and_a_probe_leaves_the_encoder_alone(style: Any) -> None:
    size, sink = pat_size("S"), ListSink()
    encoder = build_encoder(size, n_minutes=360)
    before = weights_of(encoder, size)
    classifier = build_classifier(encoder)
    config = PatFineTuningConfig(style=style, n_epochs=30, batch_size=8, learning_rate=1e-3, patience=8)
    found = fine_tune(classifier, size, labelled(24, 1), labelled(12, 2), config, sink=sink)
    assert found.best_validation == 0.0  # 1 - AUC
    weeks, labels = labelled(15, 3)
    chances = np.asarray(classifier(weeks))[:, 0]
    assert chances[labels == 1].min() > chances[labels == 0].max()
    changed = [name for name, values in weights_of(encoder, size).items() if not np.array_equal(values, before[name])]
    assert bool(changed) == (style == "full")


def test_a_head_is_loaded_where_it_fits() -> None:
    classifier, other = (build_classifier(build_encoder(pat_size("S"), n_minutes=180), seed=seed) for seed in (0, 5))
    week = weeks_of(1, 180)
    assert np.asarray(classifier(week)) != np.asarray(other(week))
    load_head(other, head_of(classifier))
    np.testing.assert_array_equal(np.asarray(other(week)), np.asarray(classifier(week)))
    with pytest.raises(PatWeightsError, match=r"not the weights of a head: expected .*\(96, 128\).*, found \{\}"):
        load_head(other, {})


def test_weights_of_classes_make_both_count_alike() -> None:
    # with shares 1/3 and 2/3 and a network that says 0.5 the weighted error is ln 2 * 2 * (1/3 * 2/3)
    size = pat_size("S")
    classifier = build_classifier(build_encoder(size, n_minutes=360))
    output = classifier.get_layer("output")
    output.set_weights([np.zeros((128, 1)), np.zeros(1)])
    config = PatFineTuningConfig(style="linear_probe", n_epochs=1, learning_rate=1e-12)
    found = fine_tune(classifier, size, labelled(12, 1), labelled(12, 2), config)
    assert found.history[0]["train"] == pytest.approx(np.log(2) * 4 / 9, rel=1e-5)
    assert found.best_validation == 0.5


@pytest.mark.parametrize(
    ("weeks", "labels", "words"),
    [
        (
            np.zeros((0, 360), np.float32),
            np.zeros(0),
            r"train: expected \(n, 360\) standardised minutes, found \(0, 360\)",
        ),
        (np.full((2, 360), np.nan, np.float32), np.arange(2), "train: 2 of 2 weeks hold values that are not numbers"),
        (
            np.zeros((2, 360), np.float32),
            np.ones(2),
            r"train: expected 2 labels of 0 and 1, both of them, found shape \(2,\)",
        ),
    ],
)
def test_bad_weeks_and_labels_are_refused(weeks: np.ndarray, labels: np.ndarray, words: str) -> None:
    size = pat_size("S")
    classifier = build_classifier(build_encoder(size, n_minutes=360))
    with pytest.raises(ValueError, match=words):
        fine_tune(classifier, size, (weeks, labels), labelled(6, 2), PatFineTuningConfig())


@pytest.mark.parametrize(
    ("train", "validation", "words"),
    [
        (np.nan, 0.5, r"the training error is no longer a number \(epoch 1, step 1, learning rate 0.001\); lower"),
        (0.5, np.nan, r"the validation error is no longer a number \(epoch 1, learning rate 0.001\); lower"),
    ],
)
def test_an_error_that_is_no_number_stops_the_training(
    train: float, validation: float, words: str, autoencoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoencoder, "train_on_batch", lambda *_, **__: train)
    monkeypatch.setattr(autoencoder, "predict_on_batch", lambda _: np.full((2, 20, 18), validation))
    weeks = weeks_of(2, 360)
    with pytest.raises(ValueError, match=words):
        pretrain(autoencoder, pat_size("S"), weeks, weeks, PatPretrainingConfig(mask_ratio=0.75))


def test_another_mask_ratio_than_the_autoencoders_is_refused(autoencoder: Any) -> None:
    weeks = weeks_of(2, 360)
    with pytest.raises(
        ValueError, match=r"mask_ratio 0.9 hides 18 of 20 patches, the autoencoder was built to hide 15"
    ):
        pretrain(autoencoder, pat_size("S"), weeks, weeks, PatPretrainingConfig())


class Told:
    """Keeps what a progress bar would show."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int]] = []

    def update(self, *, epoch: int, n_epochs: int, step: int, n_steps: int, metrics: dict[str, float]) -> None:
        assert set(metrics) == {"train"}
        self.steps.append((epoch, step, n_steps))


def test_progress_is_told_after_each_step(autoencoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "train_on_batch", lambda *_, **__: 0.5)
    config = PatPretrainingConfig(mask_ratio=0.75, n_epochs=2, batch_size=2)
    weeks, told = weeks_of(3, 360), Told()
    pretrain(autoencoder, pat_size("S"), weeks, weeks, config, progress=told)
    assert told.steps == [(1, 1, 4), (1, 2, 4), (2, 3, 4), (2, 4, 4)]
