"""The training loop: micro-batches, early stopping with the best weights restored, resumed bitwise after a kill."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import nn

from foresense.training.checkpoint import (
    copy_of,
    named,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    under,
    write_checkpoint,
)
from foresense.training.schedule import Schedule, rate_at
from foresense.training.sinks import MetricSink, NullSink


class Objective(Protocol):
    """What is learnt: how a batch is made and what its error is."""

    n_items: int
    parts: tuple[str, ...]

    def batch(self, items: np.ndarray) -> Any:
        """Gather training items by number (int64, below `n_items`)."""

    def loss(self, model: Callable[..., Any], batch: Any) -> torch.Tensor:
        """(n_parts,) mean errors of the batch, differentiable; their mean is what is minimised."""

    def validate(self, model: Callable[..., Any]) -> float:
        """One number on the validation part, lower is better."""


class Progress(Protocol):
    """Shows a person how far a training is."""

    def update(self, *, epoch: int, n_epochs: int, step: int, n_steps: int, metrics: dict[str, float]) -> None:
        """Called after every optimizer step; steps count over all epochs."""


@dataclass(frozen=True)
class FitPlan:
    """How a model is trained.

    Attributes:
        n_epochs: At most so many passes.
        batch_size: Items of one optimizer step.
        learning_rate: The highest of the schedule.
        schedule: Its course over all optimizer steps.
        optimizer: Which.
        clip_norm: Longest gradient, of all parameters together; None: as long as it is.
        micro_batch: Items that go through the network at once; gradients add up to `batch_size`.
        patience: Stop after so many epochs without a better validation number.
        bf16: Run the forward pass under bfloat16 autocast.
        compile: Compile the forward and backward pass.
        seed: Of the order of the items and of dropout.
        checkpoint_every_s: Seconds between two checkpoints inside an epoch; one is written after each epoch too.
    """

    n_epochs: int
    batch_size: int
    learning_rate: float
    schedule: Schedule = "constant"
    optimizer: Literal["adamw", "adam"] = "adamw"
    clip_norm: float | None = 1.0
    patience: int = 5
    micro_batch: int = 128
    bf16: bool = False
    compile: bool = False
    seed: int = 0
    checkpoint_every_s: float = 60.0


@dataclass
class FitResult:
    """What a training gave.

    Attributes:
        best_validation: The validation number of the weights that the model now has.
        best_epoch: Counted from 1.
        history: One row per epoch: `epoch`, `train`, `validation`, and `train/<part>` for each part.
        batch_size: Items of one optimizer step: fewer than asked for where there are fewer.
        n_steps: Optimizer steps that were taken, before and since the last start.
        earlier_s: Seconds that the training took before the last start.
        step_ms: Duration of every optimizer step since the last start, in ms.
        items_per_s: Training items per second since the last start; 0 where nothing was left to do.
    """

    best_validation: float
    best_epoch: int
    history: list[dict[str, float]]
    batch_size: int = 0
    n_steps: int = 0
    earlier_s: float = 0.0
    step_ms: list[float] = field(default_factory=list)
    items_per_s: float = 0.0


@dataclass
class _State:
    epoch: int = 0
    step_in_epoch: int = 0
    best_validation: float = float("inf")
    best_epoch: int = 0
    finished: bool = False
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    model: nn.Module,
    objective: Objective,
    plan: FitPlan,
    *,
    checkpoint: Path,
    sink: MetricSink | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> FitResult:
    """Train `model` in place; afterwards it holds the weights of the best epoch.

    The order of items is a function of (seed, epoch), the learning rate one of the step, and the checkpoint holds
    weights, optimizer, random state and sums of the running epoch: a run that was killed anywhere ends with the same
    bits as one that was not. An epoch's incomplete last batch is left out (another one each epoch).

    Args:
        model: Its parameters are trained.
        objective: Items, errors, validation.
        plan: Sizes, rates and limits.
        checkpoint: File outside of every DVC output; read where it exists. The caller removes it.
        sink: Takes `train/loss`, `train/loss/<part>`, `validation/loss` and `learning_rate` of each epoch, after a
            restart those from before it, too.
        progress: Told after each optimizer step.
        device: `cpu` or `cuda`.

    Returns:
        The best epoch and the history.

    Raises:
        ValueError: there is nothing to train on, or the error stops being a number.
    """
    if objective.n_items < 1:
        raise ValueError(
            "no training windows; lower train_stride, window.context or window.horizon, or bring more data"
        )
    return _Fit(model, objective, plan, checkpoint, sink or NullSink(), progress, device).run()


class _Fit:
    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        plan: FitPlan,
        checkpoint: Path,
        sink: MetricSink,
        progress: Progress | None,
        device: str,
    ) -> None:
        self.model, self.objective, self.plan, self.checkpoint = model.to(device), objective, plan, checkpoint
        self.sink, self.progress, self.device = sink, progress, device
        self.micro = min(plan.micro_batch, plan.batch_size, objective.n_items)
        wanted = min(plan.batch_size, objective.n_items)
        self.batch_size = wanted - wanted % self.micro
        self.steps_per_epoch = max(1, objective.n_items // self.batch_size)
        self.n_steps = plan.n_epochs * self.steps_per_epoch
        kind = torch.optim.AdamW if plan.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind([p for p in model.parameters() if p.requires_grad], lr=plan.learning_rate)
        self.forward: Callable[..., Any] = torch.compile(model, dynamic=False) if plan.compile else model
        self.best = copy_of(model)
        self.state = _State()
        self.since_s = time.monotonic()
        self.sums = torch.zeros(len(objective.parts), dtype=torch.float64)
        self.step_ms: list[float] = []

    def run(self) -> FitResult:
        torch.manual_seed(self.plan.seed)
        self._restore()
        earlier_s = self.state.seconds
        begun, n_items = time.monotonic(), 0
        while not self.state.finished:
            n_items += self._epoch()
            self._end_epoch()
        self.model.load_state_dict(self.best)
        self.model.eval()
        speed = n_items / (time.monotonic() - begun) if n_items else 0.0
        state = self.state
        return FitResult(
            best_validation=state.best_validation,
            best_epoch=state.best_epoch,
            history=state.history,
            batch_size=self.batch_size,
            n_steps=state.epoch * self.steps_per_epoch,
            earlier_s=earlier_s,
            step_ms=self.step_ms,
            items_per_s=speed,
        )

    def _epoch(self) -> int:
        order = np.random.default_rng([self.plan.seed, self.state.epoch]).permutation(self.objective.n_items)
        saved_s, n_items = time.monotonic(), 0
        self.model.train()
        while self.state.step_in_epoch < self.steps_per_epoch:
            begun = time.monotonic()
            first = self.state.step_in_epoch * self.batch_size
            self._step(order[first : first + self.batch_size])
            n_items += self.batch_size
            self.state.step_in_epoch += 1
            self.step_ms.append((time.monotonic() - begun) * 1000)
            self._show()
            if time.monotonic() - saved_s > self.plan.checkpoint_every_s:
                self._save()
                saved_s = time.monotonic()
        return n_items

    def _step(self, items: np.ndarray) -> None:
        step = self.state.epoch * self.steps_per_epoch + self.state.step_in_epoch
        rate = rate_at(step, n_steps=self.n_steps, peak=self.plan.learning_rate, schedule=self.plan.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        for first in range(0, len(items), self.micro):
            batch = self.objective.batch(items[first : first + self.micro])
            with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.plan.bf16):
                errors = self.objective.loss(self.forward, batch)
            share = self.micro / len(items)
            (errors.mean() * share).backward()
            self.sums += errors.detach().double().cpu() * share
        if not torch.isfinite(self.sums).all():
            raise ValueError(
                f"the training error is no longer a number (epoch {self.state.epoch + 1}, step {step}, learning rate "
                f"{rate:g}); lower learning_rate, or set clip_norm"
            )
        if self.plan.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip_norm)
        self.optimizer.step()

    def _end_epoch(self) -> None:
        self.model.eval()
        with torch.no_grad():
            validation = self.objective.validate(self.model)
        state = self.state
        state.epoch += 1
        parts = (self.sums / self.steps_per_epoch).tolist()
        row = {"epoch": float(state.epoch), "train": float(np.mean(parts)), "validation": validation}
        row |= {f"train/{name}": value for name, value in zip(self.objective.parts, parts, strict=True)}
        row["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        state.history.append(row)
        if validation < state.best_validation:
            state.best_validation, state.best_epoch, self.best = validation, state.epoch, copy_of(self.model)
        waited = state.epoch - state.best_epoch
        state.finished = state.epoch >= self.plan.n_epochs or waited >= self.plan.patience
        state.step_in_epoch = 0
        self.sums.zero_()
        self._tell(row)
        self._save()
        self._show()

    def _tell(self, row: dict[str, float]) -> None:
        epoch = round(row["epoch"])
        self.sink.metric("train/loss", row["train"], epoch)
        self.sink.metric("validation/loss", row["validation"], epoch)
        for name in self.objective.parts:
            self.sink.metric(f"train/loss/{name}", row[f"train/{name}"], epoch)
        self.sink.metric("learning_rate", row["learning_rate"], epoch)

    def _show(self) -> None:
        if self.progress is None:
            return
        state = self.state
        done = state.step_in_epoch or (self.steps_per_epoch if state.history else 0)
        metrics = {"train": float(self.sums.mean()) / state.step_in_epoch} if state.step_in_epoch else {}
        if state.history:
            metrics["validation"] = state.history[-1]["validation"]
        at_end = not state.step_in_epoch
        epoch = state.epoch if at_end else state.epoch + 1
        step = (epoch - 1) * self.steps_per_epoch + done
        self.progress.update(epoch=epoch, n_epochs=self.plan.n_epochs, step=step, n_steps=self.n_steps, metrics=metrics)

    def _save(self) -> None:
        tensors = named("model", self.model.state_dict()) | named("best", self.best)
        tensors |= optimizer_tensors(self.optimizer) | {"sums": self.sums, "random": torch.get_rng_state()}
        if self.device == "cuda":
            tensors["random_cuda"] = torch.cuda.get_rng_state()
        state = self.state
        now_s = time.monotonic()
        state.seconds, self.since_s = state.seconds + now_s - self.since_s, now_s
        facts = {
            "epoch": state.epoch,
            "step_in_epoch": state.step_in_epoch,
            "best_validation": state.best_validation if np.isfinite(state.best_validation) else None,
            "best_epoch": state.best_epoch,
            "finished": state.finished,
            "seconds": state.seconds,
            "history": state.history,
        }
        write_checkpoint(self.checkpoint, tensors, facts)

    def _restore(self) -> None:
        found = read_checkpoint(self.checkpoint)
        if found is None:
            return
        tensors, facts = found
        self.model.load_state_dict(under("model", tensors))
        self.best = under("best", tensors)
        restore_optimizer(self.optimizer, tensors)
        self.sums = tensors["sums"]
        torch.set_rng_state(tensors["random"])
        if self.device == "cuda":
            torch.cuda.set_rng_state(tensors["random_cuda"])
        if facts["best_validation"] is None:
            facts["best_validation"] = float("inf")
        self.state = _State(**facts)
        for row in self.state.history:
            self._tell(row)
