"""Train the networks of the anomaly detectors (Keras), and let them score clips.

Inputs are made batch by batch: 840 images at 224 x 224 x 3 would be half a GiB at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foresense.config.anomaly import AnomalyNetworkConfig, DetectorFitConfig, SmallConfig
from foresense.models.anomaly import Scaling, build_network, embedding_of, is_autoencoder, keras_module
from foresense.signals.clips import NORMAL
from foresense.training.sinks import MetricSink

if TYPE_CHECKING:
    import keras

_BATCH = 64  # clips at once, where nothing is learnt


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs of a network, made when they are needed.

    Attributes:
        gather: Numbers (k,) to inputs (k, ...), float32.
        labels: (n,), int64: condition of each, NORMAL or another.
    """

    gather: Callable[[np.ndarray], np.ndarray]
    labels: np.ndarray

    @classmethod
    def of(cls, inputs: np.ndarray, labels: np.ndarray) -> Examples:
        """Of inputs (n, ...) that are there already."""
        return cls(lambda numbers: inputs[numbers].astype(np.float32), labels)

    @property
    def normal(self) -> Examples:
        """Those of normal machines."""
        return self.only(np.flatnonzero(self.labels == NORMAL))

    def only(self, numbers: np.ndarray) -> Examples:
        """Some of them, (k,) in that order."""
        return Examples(lambda chosen: self.gather(numbers[chosen]), self.labels[numbers])

    def everything(self) -> np.ndarray:
        """(n, ...), float32: all inputs at once."""
        return self.gather(np.arange(len(self.labels)))


@dataclass(frozen=True, eq=False)
class Detector:
    """A trained network.

    Attributes:
        network: With the weights of its best epoch.
        config: What it was built from.
        scaling: Of its training part.
        best_epoch: Counted from 0.
        losses: Of the validation part, epoch by epoch.
    """

    network: keras.Model
    config: AnomalyNetworkConfig
    scaling: Scaling
    best_epoch: int
    losses: tuple[float, ...]


def fit_detector(
    config: AnomalyNetworkConfig,
    fit: DetectorFitConfig,
    train: Examples,
    validation: Examples,
    *,
    scaling: Scaling,
    sink: MetricSink,
) -> Detector:
    """Train a network; the weights of the epoch with the lowest validation loss are kept.

    One output learns NORMAL against all else, more outputs the conditions, both by cross-entropy; an autoencoder
    learns to rebuild normal clips, by the squared error of standardised values, and sees no others, neither to learn
    from nor to choose its epoch. Equal arguments give equal weights on one machine.

    Args:
        config: Which network.
        fit: How.
        train: Examples of the training part.
        validation: Of the validation part.
        scaling: Mean and deviation of the training inputs.
        sink: Takes `train/loss` and `validation/loss` of each epoch.

    Raises:
        ValueError: a part without a normal example, labels that the network has no output for, or a validation loss
            that is not finite.
        ImportError: TensorFlow is not installed; names the extra.
    """
    if is_autoencoder(config):
        train, validation = train.normal, validation.normal
    _check(config, train, validation)
    keras = keras_module()
    keras.utils.set_random_seed(fit.seed)
    network = build_network(config, scaling)
    network.compile(keras.optimizers.Adam(fit.learning_rate), loss=_loss(keras, config, scaling))
    best = keras.callbacks.EarlyStopping(monitor="val_loss", patience=fit.patience, restore_best_weights=True)
    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: _tell(sink, epoch, logs))
    history = network.fit(
        _batches(keras, config, train, fit, rng=np.random.default_rng(fit.seed)),
        validation_data=_batches(keras, config, validation, fit, rng=None),
        epochs=fit.n_epochs,
        callbacks=[best, told],
        verbose=0,
        shuffle=False,  # the batches shuffle, by their own seed
    ).history
    losses = tuple(float(loss) for loss in history["val_loss"])
    if not np.isfinite(losses).all():
        raise ValueError(
            f"validation losses {losses}: expected finite ones; lower fit.learning_rate ({fit.learning_rate:g}), or "
            "look for inputs that are not finite"
        )
    return Detector(network, config, scaling, int(np.argmin(losses)), losses)


def anomaly_scores(detector: Detector, examples: Examples) -> np.ndarray:
    """How anomalous each example is: (n,), float64, higher is more so.

    The probability of an anomaly; 1 - that of NORMAL where the outputs are conditions; of an autoencoder the mean
    squared error of standardised values.
    """
    errors = np.empty(len(examples.labels))
    for numbers in _chunks(len(examples.labels)):
        inputs = examples.gather(numbers)
        outputs = _said(detector.network, inputs)
        if is_autoencoder(detector.config):
            wrong = ((outputs - inputs) / detector.scaling.std) ** 2
            errors[numbers] = wrong.reshape(len(numbers), -1).mean(axis=1)
        else:
            errors[numbers] = outputs[:, 0] if outputs.shape[1] == 1 else 1 - outputs[:, NORMAL]
    return errors


def condition_probabilities(detector: Detector, examples: Examples) -> np.ndarray:
    """(n, n_outputs), float64: what a network with an output for each condition says."""
    return np.concatenate(
        [_said(detector.network, examples.gather(numbers)) for numbers in _chunks(len(examples.labels))]
    )


def embeddings(detector: Detector, examples: Examples) -> np.ndarray:
    """(n, d), float64: the embedding of each example, laid flat; for `models.density`."""
    network = embedding_of(detector.network)
    return np.concatenate(
        [
            _said(network, examples.gather(numbers)).reshape(len(numbers), -1)
            for numbers in _chunks(len(examples.labels))
        ]
    )


def _said(network: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """Outputs, float64. A plain call: `predict` compiles anew for each size of the last batch."""
    return np.asarray(network(inputs, training=False), np.float64)


def _check(config: AnomalyNetworkConfig, train: Examples, validation: Examples) -> None:
    for name, part in (("training", train), ("validation", validation)):
        if not (part.labels == NORMAL).any():
            raise ValueError(f"the {name} part has no normal example among {len(part.labels)}; a detector needs some")
        if part.labels.min() < NORMAL:
            raise ValueError(f"the {name} part has examples whose condition nobody knows; leave them out")
    if not is_autoencoder(config) and not (train.labels != NORMAL).any():
        raise ValueError(
            f"the training part has only normal examples ({len(train.labels)}), and network {config.network!r} learns "
            "from both kinds: use an autoencoder, or bring anomalous ones"
        )
    n_outputs = _n_outputs(config)
    highest = int(max(train.labels.max(), validation.labels.max()))
    if n_outputs > 1 and highest >= n_outputs:
        raise ValueError(
            f"labels reach {highest}, and network {config.network!r} has {n_outputs} outputs; give one each"
        )


def _loss(keras: Any, config: AnomalyNetworkConfig, scaling: Scaling) -> Any:
    if is_autoencoder(config):
        axes = tuple(range(1, 1 + len(config.shape)))
        return lambda truth, rebuilt: keras.ops.mean(keras.ops.square((truth - rebuilt) / scaling.std), axis=axes)
    return "binary_crossentropy" if _n_outputs(config) == 1 else "sparse_categorical_crossentropy"


def _n_outputs(config: AnomalyNetworkConfig) -> int:
    return config.n_outputs if isinstance(config, SmallConfig) else 1


def _tell(sink: MetricSink, epoch: int, logs: dict[str, float]) -> None:
    sink.metric("train/loss", float(logs["loss"]), epoch)
    sink.metric("validation/loss", float(logs["val_loss"]), epoch)


def _chunks(n: int) -> list[np.ndarray]:
    return np.array_split(np.arange(n), range(_BATCH, n, _BATCH))


def _batches(
    keras: Any,
    config: AnomalyNetworkConfig,
    examples: Examples,
    fit: DetectorFitConfig,
    *,
    rng: np.random.Generator | None,
) -> Any:
    """A `PyDataset` of (inputs, targets, weights); with `rng` shuffled, flipped, shifted and weighted for training."""
    rebuilds = is_autoencoder(config)
    labels = examples.labels if _n_outputs(config) > 1 else (examples.labels != NORMAL).astype(np.int64)
    weights = _weights(labels, fit.balance and not rebuilds)

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
        def __init__(self) -> None:
            super().__init__()
            self.order = np.arange(len(labels))
            self.turned = np.zeros((len(fit.flips), len(labels)), bool)
            self.shifts = np.zeros(len(labels), np.int64)
            self.on_epoch_end()

        def __len__(self) -> int:
            return -(-len(labels) // fit.batch_size)

        def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            numbers = self.order[number * fit.batch_size : (number + 1) * fit.batch_size]
            inputs = _flipped(examples.gather(numbers), fit.flips, self.turned[:, numbers])
            if fit.shift_rows:
                inputs = _shifted(inputs, self.shifts[numbers])
            return inputs, inputs if rebuilds else labels[numbers, None].astype(np.float32), weights[numbers]

        def on_epoch_end(self) -> None:
            if rng is not None:
                self.order = rng.permutation(len(labels))
                self.turned = rng.random(self.turned.shape) < 0.5
                self.shifts = rng.integers(-fit.shift_rows, fit.shift_rows + 1, len(labels))

    return Batches()


def _weights(labels: np.ndarray, balance: bool) -> np.ndarray:
    """(n,), float32, mean 1: each label weighs the same in sum where `balance`, else each example."""
    if not balance:
        return np.ones(len(labels), np.float32)
    found, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(len(labels) / (len(found) * counts[places]), np.float32)


def _flipped(
    inputs: np.ndarray, flips: tuple[Literal["vertical", "horizontal"], ...], turned: np.ndarray
) -> np.ndarray:
    """Inputs (n, height, width, channels) turned over along each axis of `flips` where `turned` (n_flips, n) says."""
    for flip, chosen in zip(flips, turned, strict=True):
        inputs = np.where(chosen.reshape(-1, 1, 1, 1), np.flip(inputs, 1 if flip == "vertical" else 2), inputs)
    return inputs


def _shifted(inputs: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Inputs (n, height, width, channels), each moved down by its number of rows (n,); the row at the edge repeats."""
    n, height = inputs.shape[:2]
    rows = np.clip(np.arange(height) - shifts[:, None], 0, height - 1)
    return np.asarray(inputs[np.arange(n)[:, None], rows])
