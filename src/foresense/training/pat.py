"""Both trainings of the Pretrained Actigraphy Transformer: weeks without labels, then one label of a week.

One loop for both: Adam, early stopping on the validation part with the best weights restored, the rate halved on a
plateau. Order, masks and dropout are functions of the seed. Source: the notebooks of njacobsonlab; where they use
Keras' AUC (200 thresholds) this has the exact one, and validation masks stay the same in all epochs.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from sklearn.metrics import roc_auc_score

from foresense.config.actigraphy_model import PatFineTuningConfig, PatPretrainingConfig, PatSchedule
from foresense.config.pat import PatSize
from foresense.models.pat import INPUT, ORDER, POOLED, n_hidden
from foresense.training.loop import FitResult, Progress
from foresense.training.sinks import MetricSink, NullSink

#: Inputs, targets, weights of the errors.
Batch = tuple[Any, np.ndarray, np.ndarray]
PLATEAU_FACTOR = 0.5


def pretrain(
    autoencoder: Any,
    size: PatSize,
    train: np.ndarray,
    validation: np.ndarray,
    config: PatPretrainingConfig,
    *,
    seed: int = 0,
    sink: MetricSink | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Train a masked autoencoder, and with it its encoder, in place; afterwards it has the weights of the best epoch.

    Args:
        autoencoder: What `build_autoencoder` made of `size` with the mask ratio of `config`.
        size: Its size.
        train: (n, n_minutes), float32: standardised weeks.
        validation: The same of other people.
        config: Budget and rates; the official ones where it gives none.
        seed: Of order and masks.
        sink: Takes `train/loss`, `validation/loss` and `learning_rate` of each epoch.
        progress: Told after each step.

    Returns:
        The best epoch and the history; errors are mean squares of the minutes that count.

    Raises:
        ValueError: no weeks, weeks of another length, another mask ratio than the autoencoder's, or values or an error
            that are no longer numbers.
    """
    length = autoencoder.inputs[0].shape[1]
    _require_weeks(train, length, "train")
    _require_weeks(validation, length, "validation")
    n_patches = size.n_patches(length)
    hidden, built = n_hidden(n_patches, config.mask_ratio), autoencoder.get_layer("mask_layer").n_hidden
    if hidden != built:
        raise ValueError(
            f"mask_ratio {config.mask_ratio:g} hides {hidden} of {n_patches} patches, the autoencoder was built to "
            f"hide {built}; build it with the same mask_ratio"
        )
    places = _Places(size.patch_length, n_patches, n_patches - hidden, config.loss)
    optimizer = _optimized(autoencoder, config.schedule(size), "mean_squared_error")
    held = [places.batch(validation[some], _rng(seed, -1, number)) for number, some in _cut(validation, config)]

    def batches(epoch: int) -> Iterator[Batch]:
        order = _rng(seed, epoch).permutation(len(train))
        for number, some in _cut(train, config):
            yield places.batch(train[np.sort(order[some])], _rng(seed, epoch, number))

    def validate() -> float:
        squares = weights = 0.0
        for inputs, patches, counts in held:
            error = np.square(np.asarray(autoencoder.predict_on_batch(inputs), np.float64) - patches).mean(axis=2)
            squares += float((error * counts).sum())
            weights += float(counts.sum())
        return squares / weights

    loop = _Loop(autoencoder, optimizer, config.schedule(size), config.n_epochs, sink or NullSink(), progress)
    return loop.run(batches, validate, n_items=len(train), batch_size=config.batch_size)


def fine_tune(
    classifier: Any,
    size: PatSize,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    config: PatFineTuningConfig,
    *,
    weights: np.ndarray | None = None,
    seed: int = 0,
    sink: MetricSink | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Train a classifier in place; afterwards it has the weights of the best epoch.

    Classes are weighted by the share of the other one, where nothing else is said; weeks come in another order in each
    epoch (in the notebook in one order). `linear_probe` trains the head on features that are computed once, without the
    encoder's dropout (the notebook leaves that on).

    Args:
        classifier: What `build_classifier` made of an encoder of `size`.
        size: Its size.
        train: Weeks (n, n_minutes), float32, and labels (n,) of 0 and 1.
        validation: The same of other people; both labels occur.
        config: Style, budget and rates; the official ones where it gives none.
        weights: (n,), of the training weeks; None: classes are weighted by the share of the other one.
        seed: Of the order.
        sink: Takes `train/loss`, `validation/loss` (1 - AUC) and `learning_rate` of each epoch.
        progress: Told after each step.

    Returns:
        The best epoch and the history; validation numbers are 1 - AUC.

    Raises:
        ValueError: no weeks, weeks of another length, values that are not finite, or labels of one class only.
    """
    length = classifier.inputs[0].shape[1]
    for name, (weeks, labels) in (("train", train), ("validation", validation)):
        _require_weeks(weeks, length, name)
        _require_labels(labels, len(weeks), name)
    trained, (inputs, labels), (held, held_labels) = classifier, train, validation
    if config.style == "linear_probe":
        body, trained = _split(classifier)
        inputs, held = (body.predict(weeks, batch_size=config.batch_size, verbose=0) for weeks in (inputs, held))
    share = float(np.mean(labels))
    by_class = np.where(labels == 1, 1 - share, share)
    weighted = np.asarray(by_class if weights is None else weights, np.float32)
    optimizer = _optimized(trained, config.schedule(size), "binary_crossentropy")

    def batches(epoch: int) -> Iterator[Batch]:
        order = _rng(seed, epoch).permutation(len(inputs))
        for _, some in _cut(inputs, config):
            items = np.sort(order[some])
            yield inputs[items], labels[items, None].astype(np.float32), weighted[items]

    def validate() -> float:
        found = trained.predict(held, batch_size=config.batch_size, verbose=0)
        return 1 - float(roc_auc_score(held_labels, found[:, 0]))

    loop = _Loop(trained, optimizer, config.schedule(size), config.n_epochs, sink or NullSink(), progress)
    return loop.run(batches, validate, n_items=len(inputs), batch_size=config.batch_size)


@dataclass(frozen=True)
class _Places:
    """Cuts weeks into patches, hides some of them, and says which of their minutes count."""

    patch_length: int
    n_patches: int
    n_visible: int
    loss: Literal["all", "masked"]

    def batch(self, weeks: np.ndarray, rng: np.random.Generator) -> Batch:
        """One mask for the whole batch, as the official training has it; weights are (n, n_patches)."""
        order = rng.permutation(self.n_patches).astype(np.int32)
        counts = np.ones(self.n_patches, np.float32)
        if self.loss == "masked":
            counts[order[: self.n_visible]] = 0.0
        n = len(weeks)
        inputs = {INPUT: weeks, ORDER: np.tile(order, (n, 1))}
        return inputs, weeks.reshape(n, self.n_patches, self.patch_length), np.tile(counts, (n, 1))


@dataclass
class _Loop:
    model: Any
    optimizer: Any
    schedule: PatSchedule
    n_epochs: int
    sink: MetricSink
    progress: Progress | None
    history: list[dict[str, float]] = field(default_factory=list)
    step_ms: list[float] = field(default_factory=list)

    def run(
        self, batches: Callable[[int], Iterator[Batch]], validate: Callable[[], float], *, n_items: int, batch_size: int
    ) -> FitResult:
        """Epochs until the budget or the patience ends; the model then has the weights of the best one."""
        begun = time.monotonic()
        steps = -(-n_items // batch_size)
        best, best_epoch, waited, kept = np.inf, 0, 0, self.model.get_weights()
        for epoch in range(1, self.n_epochs + 1):
            row = {"epoch": float(epoch), "learning_rate": float(self.optimizer.learning_rate)}
            row |= {"train": self._epoch(batches(epoch), epoch, steps), "validation": validate()}
            self._require_number(row["validation"], "validation", f"epoch {epoch}")
            self._tell(row)
            if row["validation"] < best:
                best, best_epoch, waited, kept = row["validation"], epoch, 0, self.model.get_weights()
            waited = self._slow_down(waited, is_best=best_epoch == epoch)
            if epoch - best_epoch >= self.schedule.patience:
                break
        self.model.set_weights(kept)
        return FitResult(
            best_validation=best,
            best_epoch=best_epoch,
            history=self.history,
            batch_size=min(batch_size, n_items),
            n_steps=len(self.step_ms),
            step_ms=self.step_ms,
            items_per_s=len(self.history) * n_items / (time.monotonic() - begun),
        )

    def _epoch(self, batches: Iterator[Batch], epoch: int, steps: int) -> float:
        self.model.reset_metrics()
        loss = 0.0
        for number, (inputs, targets, weights) in enumerate(batches, start=1):
            begun = time.monotonic()
            loss = float(self.model.train_on_batch(inputs, targets, sample_weight=weights))  # mean since the reset
            self.step_ms.append((time.monotonic() - begun) * 1000)
            self._require_number(loss, "training", f"epoch {epoch}, step {number}")
            if self.progress is not None:
                step, n_steps = (epoch - 1) * steps + number, self.n_epochs * steps
                self.progress.update(
                    epoch=epoch, n_epochs=self.n_epochs, step=step, n_steps=n_steps, metrics={"train": loss}
                )
        return loss

    def _slow_down(self, waited: int, *, is_best: bool) -> int:
        """Keras' ReduceLROnPlateau without its threshold: epochs waited since the best one or the last halving."""
        waited = 0 if is_best else waited + 1
        if self.schedule.plateau_patience is None or waited < self.schedule.plateau_patience:
            return waited
        rate = float(self.optimizer.learning_rate)
        self.optimizer.learning_rate = min(rate, max(rate * PLATEAU_FACTOR, self.schedule.min_learning_rate))
        return 0

    def _require_number(self, error: float, part: str, when: str) -> None:
        if not np.isfinite(error):
            raise ValueError(
                f"the {part} error is no longer a number ({when}, learning rate "
                f"{float(self.optimizer.learning_rate):g}); lower learning_rate"
            )

    def _tell(self, row: dict[str, float]) -> None:
        self.history.append(row)
        epoch = round(row["epoch"])
        self.sink.metric("train/loss", row["train"], epoch)
        self.sink.metric("validation/loss", row["validation"], epoch)
        self.sink.metric("learning_rate", row["learning_rate"], epoch)


def _optimized(model: Any, schedule: PatSchedule, loss: str) -> Any:
    """Compile a model with Adam as the notebooks have it; gives the optimizer."""
    import keras

    losses = {
        # the mean over what counts, and not over everything
        "mean_squared_error": keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        "binary_crossentropy": keras.losses.BinaryCrossentropy(),
    }
    optimizer = keras.optimizers.Adam(schedule.learning_rate)
    model.compile(optimizer=optimizer, loss=losses[loss], jit_compile=False)
    return optimizer


def _split(classifier: Any) -> tuple[Any, Any]:
    """The part up to the pooled features, and the head alone; both share the classifier's weights."""
    import keras

    pooled = classifier.get_layer(POOLED).output
    return keras.Model(classifier.input, pooled), keras.Model(pooled, classifier.output)


def _cut(weeks: np.ndarray, config: PatPretrainingConfig | PatFineTuningConfig) -> Iterator[tuple[int, slice]]:
    for number, first in enumerate(range(0, len(weeks), config.batch_size)):
        yield number, slice(first, first + config.batch_size)


def _rng(seed: int, epoch: int, batch: int = -1) -> np.random.Generator:
    return np.random.default_rng([seed, epoch + 1, batch + 1])


def _require_weeks(weeks: np.ndarray, length: int, name: str) -> None:
    if weeks.ndim != 2 or not len(weeks) or weeks.shape[1] != length:
        raise ValueError(f"{name}: expected (n, {length}) standardised minutes, found {weeks.shape}")
    n_bad = int((~np.isfinite(weeks)).any(axis=1).sum())
    if n_bad:
        raise ValueError(f"{name}: {n_bad} of {len(weeks)} weeks hold values that are not numbers; leave them out")


def _require_labels(labels: np.ndarray, n: int, name: str) -> None:
    found = set(np.unique(labels).tolist())
    if labels.shape != (n,) or found != {0, 1}:
        raise ValueError(
            f"{name}: expected {n} labels of 0 and 1, both of them, found shape {labels.shape} and values "
            f"{sorted(found)}; with one class there is nothing to tell apart"
        )
