"""Networks of the detectors and their training, in one file: importing TensorFlow costs a process six seconds."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from sklearn.metrics import roc_auc_score

from foresense.config.anomaly import (
    AnomalyIngestConfig,
    AnomalyNetworkConfig,
    AssetSplitConfig,
    ClipConfig,
    ConvAutoencoderConfig,
    DenseAutoencoderConfig,
    DetectorFitConfig,
    ParityConfig,
    SmallConfig,
)
from foresense.features.logmel import LogMel
from foresense.models.anomaly import (
    EMBEDDING,
    WEIGHTS,
    Scaling,
    build_network,
    embedding_of,
    keras_module,
    load_network,
    save_network,
)
from foresense.models.density import fit_density
from foresense.sources import Places
from foresense.sources.conditions import load_conditions
from foresense.training.anomaly import (
    Detector,
    Examples,
    _batches,
    anomaly_scores,
    condition_probabilities,
    embeddings,
    fit_detector,
)
from foresense.training.sinks import ListSink, NullSink
from foresense.windows.clips import cut_clips, split_clips

THERMAL, ACOUSTIC = ParityConfig(), ParityConfig(shape=(128, 128, 1))
SMALL = SmallConfig(shape=(16, 8, 1), widths=(4, 8), strides=(1, 2))
CONV = ConvAutoencoderConfig(shape=(16, 8, 1), widths=(4, 8), latent_channels=2)
DENSE = DenseAutoencoderConfig(n_mels=4, n_stacked=2, width=8, n_hidden=1, latent=2)
BLOCKS = SmallConfig(shape=(16, 8, 1), widths=(4,), strides=(2,), blocks=(4, 2))
NETWORKS: tuple[AnomalyNetworkConfig, ...] = (ParityConfig(shape=(16, 12, 1)), SMALL, BLOCKS, CONV, DENSE)
QUICK = DetectorFitConfig(n_epochs=3, learning_rate=1e-2)


def inputs_of(config: AnomalyNetworkConfig, n: int = 40) -> np.ndarray:
    """Grey levels, of which every second has a bright corner."""
    found = 100 + 10 * np.random.default_rng(0).standard_normal((n, *config.shape))
    found[1::2, :2] += 60
    return found.astype(np.float32)


def examples_of(config: AnomalyNetworkConfig, n: int = 40) -> Examples:
    return Examples.of(inputs_of(config, n), np.arange(n) % 2)


def fitted(config: AnomalyNetworkConfig) -> Detector:
    train, validation = examples_of(config), examples_of(config, 20)
    return fit_detector(config, QUICK, train, validation, scaling=Scaling(100.0, 20.0), sink=NullSink())


@pytest.fixture(scope="module")
def trained() -> dict[str, Detector]:
    return {config.network: fitted(config) for config in (SMALL, CONV, DENSE)}


# Published counts


@pytest.mark.parametrize(("config", "n_parameters"), [(THERMAL, 11_963_457), (ACOUSTIC, 3_705_345)])
def test_the_parity_networks_have_the_published_parameters_layer_by_layer(
    config: ParityConfig, n_parameters: int
) -> None:
    network = build_network(config, Scaling(128.0, 30.0))
    assert network.count_params() == n_parameters
    assert network.output_shape == (None, 1)
    assert network.input_shape == (None, *config.shape)
    counts = [layer.count_params() for layer in network.layers if layer.count_params()]
    first, flat = 9 * config.shape[2] * 32 + 32, 64 * ((((config.shape[0] - 2) // 2) - 2) // 2) ** 2
    assert counts == [first, 18_496, flat * 64 + 64, 65]


def test_the_dense_autoencoder_is_that_of_dcase_and_mlperf_tiny() -> None:
    """269,992 parameters in the summary of the baseline of DCASE 2020 Task 2."""
    network = build_network(DenseAutoencoderConfig(), Scaling())
    assert network.count_params() == 269_992
    assert network.input_shape == network.output_shape == (None, 640)


@pytest.mark.parametrize(
    ("shape", "strides", "published"),
    [((40, 24, 1), (1, 2, 2, 1), 11_963_457), ((64, 64, 1), (2, 2, 2, 1), 3_705_345)],
)
def test_the_small_network_has_fewer_than_a_hundred_and_fiftieth_of_the_parameters(
    shape: tuple[int, int, int], strides: tuple[int, ...], published: int
) -> None:
    network = build_network(SmallConfig(shape=shape, strides=strides), Scaling())
    widths = (16, 32, 64, 96)
    norms = 4 * (16 + sum(n_in + n_out for n_in, n_out in pairwise(widths)))
    layers = 9 * 16 + sum(9 * n_in + n_in * n_out for n_in, n_out in pairwise(widths)) + 97
    assert network.count_params() == norms + layers
    assert network.count_params() <= published / 150


def test_the_mean_over_time_keeps_bands_apart_and_forgets_when() -> None:
    """Moved by whole strides in time, away from the borders, a click is the same click; moved in frequency not."""
    clicks = np.zeros((3, 32, 32, 1), np.float32)
    clicks[0, 8, 8] = clicks[1, 8, 16] = clicks[2, 16, 8] = 50
    for pool, is_told in (("image", False), ("time", True)):
        config = SmallConfig(shape=(32, 32, 1), widths=(4, 8), strides=(2, 2), pool=pool)
        first, later, higher = np.asarray(embedding_of(build_network(config, Scaling()))(clicks))
        np.testing.assert_allclose(later, first, rtol=1e-5, atol=1e-6)
        assert np.allclose(higher, first, rtol=1e-3, atol=1e-6) != is_told
    wide = build_network(SmallConfig(shape=(64, 64, 1), strides=(2, 2, 2, 1), pool="time"), Scaling())
    assert wide.count_params() <= 3_705_345 / 150


# What every network does


def test_the_statistics_that_a_small_network_sees_are_those_of_numpy() -> None:
    images = inputs_of(BLOCKS, 3)
    network = build_network(BLOCKS, Scaling(100.0, 20.0))
    seen = keras_module().Model(network.input, network.get_layer("statistics").output)(images.astype(np.float32))
    x = (images[..., 0] - 100) / 20
    blocks = x.reshape(3, 4, 4, 2, 4).transpose(0, 1, 3, 2, 4).reshape(3, 8, 16)
    means = blocks.mean(axis=2)
    rows, columns = x.mean(axis=2), x.mean(axis=1)
    expected = np.concatenate(
        [
            means,
            np.abs(blocks - means[..., None]).mean(axis=2),
            *(np.abs(np.diff(x, axis=axis)).mean(axis=(1, 2))[:, None] for axis in (1, 2)),
            *(
                end(one.reshape(3, -1), axis=1)[:, None] * sign
                for one in (x, rows, columns)
                for end, sign in ((np.max, 1), (np.min, -1))
            ),
        ],
        axis=1,
    )
    np.testing.assert_allclose(np.asarray(seen), expected, rtol=0, atol=2e-6)  # float32 of values up to 4


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: config.network)
def test_a_batch_is_its_clips_one_by_one_and_units_stay_outside(config: AnomalyNetworkConfig) -> None:
    """The same weights see the same standardised values, whatever unit the clips are in."""
    keras = keras_module()
    inputs = inputs_of(config, 4)
    keras.utils.set_random_seed(0)
    network = build_network(config, Scaling(100.0, 20.0))
    outputs = np.asarray(network(inputs))
    single = np.concatenate([np.asarray(network(one[None])) for one in inputs])
    np.testing.assert_allclose(outputs, single, rtol=1e-4, atol=1e-5)
    keras.utils.set_random_seed(0)
    halved = np.asarray(build_network(config, Scaling(50.0, 10.0))(inputs / 2))
    unit = 2 if config.network.endswith("autoencoder") else 1
    np.testing.assert_allclose(halved * unit, outputs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: config.network)
def test_a_network_comes_back_as_it_was_saved(config: AnomalyNetworkConfig, tmp_path: Path) -> None:
    scaling = Scaling(100.0, 20.0)
    network = build_network(config, scaling)
    save_network(tmp_path, network, config, scaling)
    found, found_config, found_scaling = load_network(tmp_path)
    assert (found_config, found_scaling) == (config, scaling)
    np.testing.assert_array_equal(np.asarray(found(inputs_of(config))), np.asarray(network(inputs_of(config))))
    n_bytes = sum(weight.numpy().nbytes for weight in network.weights)
    assert n_bytes < (tmp_path / WEIGHTS).stat().st_size < n_bytes + 8192  # no state of an optimiser


def test_a_folder_that_holds_no_network_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "thermal"
    with pytest.raises(FileNotFoundError, match="run `foresense train"):
        load_network(folder)
    save_network(folder, build_network(SMALL, Scaling()), SMALL, Scaling())
    weights = (folder / WEIGHTS).read_bytes()
    wider = SMALL.model_copy(update={"widths": (4, 16)})
    save_network(folder, build_network(wider, Scaling()), wider, Scaling())
    (folder / WEIGHTS).write_bytes(weights)
    with pytest.raises(ValueError, match=r"weights of another network than network\.json describes"):
        load_network(folder)
    (folder / "network.json").write_text('{"network": {"network": "tiny"}}')
    with pytest.raises(ValueError, match=r"(?s)not a network of this release .* train again"):
        load_network(folder)


def test_without_tensorflow_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match=r"anomaly detectors need TensorFlow: pip install 'foresense\[edge\]'"):
        build_network(SMALL, Scaling())


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="2 widths, 1 strides; give one of each"):
        SmallConfig(shape=(8, 8, 1), widths=(4, 8), strides=(1,))
    with pytest.raises(ValidationError, match=r"blocks \(3, 2\) do not divide 8 rows and 8 columns; give numbers that"):
        SmallConfig(shape=(8, 8, 1), widths=(4,), strides=(1,), blocks=(3, 2))
    with pytest.raises(ValidationError, match=r"both must divide by 8; found 40 x 20: give fewer widths, or resize"):
        ConvAutoencoderConfig(shape=(40, 20, 1))
    with pytest.raises(ValueError, match=r"with mean 7\.0 and deviation 0\.0 cannot be standardised"):
        Scaling.of(np.full((3, 4), 7.0))
    assert Scaling.of(np.array([1, 3], np.uint8)) == Scaling(2.0, 1.0)


# Training


def test_training_is_a_function_of_its_seed(trained: dict[str, Detector]) -> None:
    first, again = trained["small"], fitted(SMALL)
    assert again.losses == first.losses
    for one, other in zip(again.network.get_weights(), first.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_weights_of_the_best_epoch_are_kept_and_every_epoch_is_told() -> None:
    """A step so long that later epochs are worse: the loss of what is kept is that of the best."""
    sink, validation = ListSink(), examples_of(DENSE, 20)
    fit = DetectorFitConfig(n_epochs=8, patience=3, learning_rate=0.3)
    found = fit_detector(DENSE, fit, examples_of(DENSE), validation, scaling=Scaling(100.0, 20.0), sink=sink)
    told = [value for name, value, _ in sink.rows if name == "validation/loss"]
    assert tuple(told) == found.losses
    assert found.best_epoch == int(np.argmin(told)) < len(told) - 1
    assert anomaly_scores(found, validation.normal).mean() == pytest.approx(min(told), rel=1e-4)


@pytest.mark.parametrize("network", ["small", "conv_autoencoder", "dense_autoencoder"])
def test_anomalous_clips_score_higher(network: str, trained: dict[str, Detector]) -> None:
    found = trained[network]
    test = examples_of(found.config, 60)
    assert roc_auc_score(test.labels, anomaly_scores(found, test)) > 0.9
    assert len(anomaly_scores(found, test)) == 60


def test_an_autoencoder_sees_normal_clips_alone(trained: dict[str, Detector]) -> None:
    inputs, labels = inputs_of(DENSE), np.arange(40) % 2
    inputs[labels == 1] = 1e6
    train, validation = Examples.of(inputs, labels), examples_of(DENSE, 20)
    other = fit_detector(DENSE, QUICK, train, validation, scaling=Scaling(100.0, 20.0), sink=NullSink())
    assert other.losses == trained["dense_autoencoder"].losses


def test_conditions_have_a_probability_each_and_the_score_is_that_of_not_normal() -> None:
    config = SMALL.model_copy(update={"n_outputs": 3})
    rng = np.random.default_rng(0)
    inputs, labels = (100 + 10 * rng.standard_normal((60, 16, 8, 1))).astype(np.float32), np.arange(60) % 3
    inputs[labels == 2, -2:] -= 60
    inputs[labels == 1, :2] += 60
    examples = Examples.of(inputs, labels)
    fit = DetectorFitConfig(n_epochs=8, learning_rate=2e-2, patience=8)
    found = fit_detector(config, fit, examples, examples, scaling=Scaling.of(inputs), sink=NullSink())
    said = condition_probabilities(found, examples)
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(anomaly_scores(found, examples), 1 - said[:, 0])
    assert ((said.argmax(axis=1) == 2) == (labels == 2)).mean() > 0.9


def test_embeddings_of_normal_clips_make_a_density_that_tells_the_others(trained: dict[str, Detector]) -> None:
    found = trained["conv_autoencoder"]
    test = examples_of(CONV, 60)
    train = embeddings(found, examples_of(CONV).normal)
    assert train.shape == (20, 4 * 2 * 2)
    assert roc_auc_score(test.labels, fit_density(train).scores(embeddings(found, test))) > 0.9
    first = found.network.layers[0]
    cut = keras_module().Model(first.output, first.output, name="cut")
    with pytest.raises(ValueError, match=f"network 'cut' has no layer '{EMBEDDING}'"):
        embedding_of(cut)


def test_parts_that_cannot_teach_are_refused() -> None:
    train = examples_of(SMALL)
    fit = {"scaling": Scaling(), "sink": NullSink()}
    anomalous = Examples.of(inputs_of(SMALL, 4), np.ones(4, int))
    with pytest.raises(ValueError, match="the validation part has no normal example among 4"):
        fit_detector(SMALL, QUICK, train, anomalous, **fit)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"only normal examples \(20\), and network 'small' learns from both kinds"):
        fit_detector(SMALL, QUICK, train.normal, train, **fit)  # type: ignore[arg-type]
    unknown = Examples.of(inputs_of(SMALL, 4), np.array([0, 1, -1, 0]))
    with pytest.raises(ValueError, match="the training part has examples whose condition nobody knows"):
        fit_detector(SMALL, QUICK, unknown, train, **fit)  # type: ignore[arg-type]
    broken = Examples.of(np.full((20, 8), np.nan, np.float32), np.zeros(20, int))
    with pytest.raises(ValueError, match=r"validation losses \(nan,.*: expected finite ones; lower fit\.learning_rate"):
        fit_detector(DENSE, QUICK, broken, broken, **fit)  # type: ignore[arg-type]
    config, many = SMALL.model_copy(update={"n_outputs": 2}), Examples.of(inputs_of(SMALL, 3), np.arange(3))
    with pytest.raises(ValueError, match="labels reach 2, and network 'small' has 2 outputs; give one each"):
        fit_detector(config, QUICK, many, many, **fit)  # type: ignore[arg-type]


def test_training_images_are_turned_over_in_every_way_and_keep_their_labels() -> None:
    inputs, labels = inputs_of(SMALL), np.arange(40) % 2
    fit = DetectorFitConfig(flips=("vertical", "horizontal"), balance=False)
    batches = _batches(keras_module(), SMALL, Examples.of(inputs, labels), fit, rng=np.random.default_rng(0))
    ways = [inputs, inputs[:, ::-1], inputs[:, :, ::-1], inputs[:, ::-1, ::-1]]
    found: set[tuple[int, int]] = set()
    for number in range(len(batches)):
        for image, label in zip(*batches[number][:2], strict=True):
            (place,) = [(way, n) for way in range(4) for n in range(40) if np.array_equal(ways[way][n], image)]
            assert label == labels[place[1]]
            found.add(place)
    assert {n for _, n in found} == set(range(40))
    assert {way for way, _ in found} == {0, 1, 2, 3}
    before = batches.order.copy()
    batches.on_epoch_end()
    assert not np.array_equal(batches.order, before)


def test_training_images_are_moved_by_rows_up_and_down_and_those_that_choose_stay() -> None:
    """Against numpy's padding with edges, cut out again at every place."""
    inputs, labels = inputs_of(SMALL), np.arange(40) % 2
    fit, examples = DetectorFitConfig(shift_rows=2, balance=False), Examples.of(inputs, labels)
    batches = _batches(keras_module(), SMALL, examples, fit, rng=np.random.default_rng(0))
    padded = np.pad(inputs, ((0, 0), (2, 2), (0, 0), (0, 0)), mode="edge")
    ways = {down: padded[:, 2 - down : 18 - down] for down in range(-2, 3)}
    found: set[tuple[int, int]] = set()
    for number in range(len(batches)):
        for image, label in zip(*batches[number][:2], strict=True):
            (place,) = [(way, n) for way in ways for n in range(40) if np.array_equal(ways[way][n], image)]
            assert label == labels[place[1]]
            found.add(place)
    assert {n for _, n in found} == set(range(40))
    assert {way for way, _ in found} == {-2, -1, 0, 1, 2}
    choosing = _batches(keras_module(), SMALL, examples, fit, rng=None)
    np.testing.assert_array_equal(choosing[0][0], inputs[:16])


def test_a_rare_condition_weighs_as_much_as_a_frequent_one() -> None:
    labels = np.array([0, 0, 0, 1])
    for balance, expected in ((True, [2 / 3, 2 / 3, 2 / 3, 2]), (False, [1, 1, 1, 1])):
        fit = DetectorFitConfig(balance=balance)
        batches = _batches(keras_module(), SMALL, Examples.of(inputs_of(SMALL, 4), labels), fit, rng=None)
        np.testing.assert_allclose(batches[0][2], expected, rtol=1e-6)


# The smoke profile: 100 simulated samples dealt 80/20, two epochs


def simulated(source: str, **asked: object) -> tuple[Examples, Examples]:
    """Training and validation part, 80 and 20."""
    config = TypeAdapter(AnomalyIngestConfig).validate_python({"source": source, "n_recordings": 104, **asked})
    found = load_conditions(source)(config, Places(Path(), Path(), Path())).recordings
    waves = source == "synthetic_vibration"
    clips = cut_clips(found, ClipConfig(length=2016, hop=2016) if waves else ClipConfig())
    clips = split_clips(clips, AssetSplitConfig(kind="assets", train=80 / 104, validation=20 / 104))
    spectra = LogMel(rate_hz=12_000, n_fft=512, hop=32, n_mels=64, fmin_hz=0, fmax_hz=5000)

    def gather(numbers: np.ndarray) -> np.ndarray:
        own = clips.gather(numbers)
        return (spectra(own) if waves else own)[..., None].astype(np.float32)

    everything = Examples(gather, clips.labels)
    train, validation = everything.only(clips.of("train")), everything.only(clips.of("validation"))
    assert (len(train.labels), len(validation.labels)) == (80, 20)
    return train, validation


def validation_auc(source: str, config: AnomalyNetworkConfig, fit: DetectorFitConfig, **asked: object) -> float:
    train, validation = simulated(source, **asked)
    scaling = Scaling.of(train.everything())
    found = fit_detector(config, fit, train, validation, scaling=scaling, sink=NullSink())
    assert len(found.losses) == 2
    return float(roc_auc_score(validation.labels, anomaly_scores(found, validation)))


@pytest.mark.parametrize(
    ("source", "config", "fit"),
    [
        ("synthetic_images", ParityConfig(shape=(40, 24, 1)), DetectorFitConfig()),
        (
            "synthetic_vibration",
            SmallConfig(shape=(64, 64, 1), strides=(2, 2, 2, 1), pool="time"),
            DetectorFitConfig(learning_rate=1e-2),
        ),
    ],
    ids=["parity", "small"],
)
def test_two_epochs_learn_the_rule_and_nothing_without_it(
    source: str, config: AnomalyNetworkConfig, fit: DetectorFitConfig
) -> None:
    """Chance with 10 and 10 validation clips: 0.5 with a standard deviation of sqrt(21 / 1200) = 0.13."""
    assert validation_auc(source, config, fit) >= 0.9
    assert 0.1 < validation_auc(source, config, fit, rule="none") < 0.87
