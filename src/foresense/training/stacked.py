"""The training of many small models at once: each ends where the loop of `foresense.training.loop` would bring it.

Every model takes its own batches, at its own learning rate, clips its own gradient, and stops at its own epoch. Models
with fewer windows have shorter epochs and finish sooner; one that is finished leaves the stack. Nothing that happens
to one model, not even an error that is no longer a number, reaches another one.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from foresense.config import CandidateConfig
from foresense.models import build_model
from foresense.models.stacked import StackedPatchTst
from foresense.signals import Windows
from foresense.training.checkpoint import copy_of
from foresense.training.forecast import ForecastObjective
from foresense.training.loop import FitResult, Progress
from foresense.training.schedule import rate_at

AT_ONCE = 16  # models in one stack
VALIDATION_BATCH = 64  # windows of each model at once
_BETAS, _EPS, _DECAY = (0.9, 0.999), 1e-8, {"adamw": 1e-2, "adam": 0.0}  # of torch.optim.AdamW and Adam

NO_WINDOWS = "no training windows; lower train_stride, window.context or window.horizon, or bring more data"
SHORTCUT = "net.shortcut"

State = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class StackedResult:
    """One group after its training.

    Attributes:
        group: As in its windows.
        state: Weights of the best epoch, for `load_state_dict` of the model that `build_model` makes.
        fit: Epochs and times; a step of the stack counts as equal shares of its models.
    """

    group: str
    state: State
    fit: FitResult


@dataclass(frozen=True)
class StackedFailure:
    """One group that could not be trained; `reason` says why and what to do, as an error of `fit` does."""

    group: str
    reason: str


@dataclass(eq=False)
class _Member:
    """One group's place in a stack, and how far its training is."""

    number: int  # among all groups
    objective: ForecastObjective
    candidate: CandidateConfig
    state: State
    epoch: int = 0
    step_in_epoch: int = 0
    best_validation: float = float("inf")
    best_epoch: int = 0
    failure: str | None = None
    seconds: float = 0.0
    step_ms: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batch_size = min(self.candidate.batch_size, self.objective.n_items)
        self.steps_per_epoch = self.objective.n_items // self.batch_size
        self.n_steps = self.candidate.n_epochs * self.steps_per_epoch
        self.sums = torch.zeros(len(self.objective.parts), dtype=torch.float64)
        self.order = np.empty(0, np.int64)

    @property
    def group(self) -> str:
        return self.objective.windows.group

    @property
    def is_done(self) -> bool:
        waited = self.epoch - self.best_epoch
        is_last = self.epoch >= self.candidate.n_epochs or waited >= self.candidate.patience
        return self.failure is not None or (is_last and self.step_in_epoch == 0)

    def next_batch(self, seed: int) -> torch.Tensor:
        if self.step_in_epoch == 0:
            self.order = np.random.default_rng([seed, self.epoch]).permutation(self.objective.n_items)
        first = self.step_in_epoch * self.batch_size
        return self.objective.batch(self.order[first : first + self.batch_size])

    def end_epoch(self, validation: float, rate: float) -> bool:
        """Write the epoch down; whether it is the best so far."""
        self.epoch += 1
        self.step_in_epoch = 0
        errors = (self.sums / self.steps_per_epoch).tolist()
        row = {"epoch": float(self.epoch), "train": float(np.mean(errors)), "validation": validation}
        row |= {f"train/{name}": error for name, error in zip(self.objective.parts, errors, strict=True)}
        self.history.append(row | {"learning_rate": rate})
        self.sums.zero_()
        is_best = validation < self.best_validation
        if is_best:
            self.best_validation, self.best_epoch = validation, self.epoch
        return is_best

    def result(self) -> StackedResult | StackedFailure:
        if self.failure is not None:
            return StackedFailure(self.group, self.failure)
        n_steps = self.epoch * self.steps_per_epoch
        return StackedResult(
            group=self.group,
            state=self.state,
            fit=FitResult(
                best_validation=self.best_validation,
                best_epoch=self.best_epoch,
                history=self.history,
                batch_size=self.batch_size,
                n_steps=n_steps,
                step_ms=self.step_ms,
                items_per_s=n_steps * self.batch_size / self.seconds,
            ),
        )


class _Adam:
    """Adam or AdamW over the rows of a matrix, each at its own rate: the formulas of `torch.optim`, row by row."""

    def __init__(self, weights: torch.Tensor, decay: float) -> None:
        self.mean, self.square = torch.zeros_like(weights), torch.zeros_like(weights)
        self.decay, self.n_steps = decay, 0

    def step(self, weights: torch.Tensor, gradients: torch.Tensor, rates: torch.Tensor) -> None:
        """One step; `rates` (n_models, 1)."""
        self.n_steps += 1
        first, second = _BETAS
        self.mean.lerp_(gradients, 1 - first)
        self.square.mul_(second).addcmul_(gradients, gradients, value=1 - second)
        root = (self.square.sqrt() / (1 - second**self.n_steps) ** 0.5).add_(_EPS)
        weights.mul_(1 - rates * self.decay)
        weights.addcdiv_(self.mean * (-rates / (1 - first**self.n_steps)), root)

    def keep(self, rows: torch.Tensor) -> None:
        self.mean, self.square = self.mean[rows], self.square[rows]


class _Stack:
    """Members that train side by side: one step of the stack is a step of each that is not finished."""

    def __init__(self, candidate: CandidateConfig, members: list[_Member], seed: int) -> None:
        self.candidate, self.members, self.seed = candidate, members, seed
        windows = members[0].objective.windows
        self.context = windows.context
        self.network = StackedPatchTst(
            candidate,
            [member.state for member in members],
            n_channels=len(windows.channels),
            context=windows.context,
            horizon=windows.horizon,
            random=torch.Generator().manual_seed(seed),
        )
        self.adam = _Adam(self.network.weights, _DECAY[candidate.optimizer])
        self.tick = 0

    def step(self) -> list[_Member]:
        """Take a step, validate whose epoch ends, let go of who is finished; returns those who took the step."""
        begun, taking = time.monotonic(), self.members
        rates = [self._rate(member) for member in taking]
        self._learn(torch.tensor(rates))
        share_s = (time.monotonic() - begun) / len(taking)
        for member in taking:
            member.step_in_epoch += 1
            member.step_ms.append(share_s * 1000)
            member.seconds += share_s
        self.tick += 1
        ending = [
            row
            for row, member in enumerate(taking)
            if member.failure is None and member.step_in_epoch == member.steps_per_epoch
        ]
        if ending:
            self._end_epoch(ending, rates)
        self._let_go()
        return taking

    def _rate(self, member: _Member) -> float:
        candidate = self.candidate
        return rate_at(self.tick, n_steps=member.n_steps, peak=candidate.learning_rate, schedule=candidate.schedule)

    def _learn(self, rates: torch.Tensor) -> None:
        network = self.network.train()
        network.weights.grad = None
        errors = self._errors(torch.stack([member.next_batch(self.seed) for member in self.members])).mean(1)
        errors.mean(1).sum().backward()
        for member, found, rate in zip(self.members, errors.detach().double(), rates.tolist(), strict=True):
            member.sums += found
            if not torch.isfinite(member.sums).all():
                member.failure = (
                    f"the training error is no longer a number (epoch {member.epoch + 1}, step "
                    f"{self.tick}, learning rate {rate:g}); lower learning_rate, or set clip_norm"
                )
        gradients = network.weights.grad
        if gradients is None:
            raise AssertionError("unreachable: backward fills it")
        if self.candidate.clip_norm is not None:
            norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
            gradients *= (self.candidate.clip_norm / (norms + 1e-6)).clamp(max=1.0)  # as clip_grad_norm_
        with torch.no_grad():
            self.adam.step(network.weights, gradients, rates[:, None])

    def _errors(self, windows: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """(n_models, n, length, n_channels) to mean squared errors over the horizon, (n_models, n, n_channels)."""
        context, truth = windows[:, :, : self.context], windows[:, :, self.context :]
        errors: torch.Tensor = (self.network(context, rows) - truth).square().mean(2)
        return errors

    def _end_epoch(self, ending: list[int], rates: list[float]) -> None:
        begun = time.monotonic()
        found = self._validate(ending)
        share_s = (time.monotonic() - begun) / len(ending)
        for row, validation in zip(ending, found, strict=True):
            member = self.members[row]
            member.seconds += share_s
            if member.end_epoch(validation, rates[row]):
                member.state = self.network.state(row)

    def _validate(self, ending: list[int]) -> list[float]:
        """Mean squared error over the validation windows of these members; short ones are filled up and not counted."""
        objectives = [self.members[row].objective for row in ending]
        totals = torch.zeros(len(ending), dtype=torch.float64)
        self.network.eval()
        for first in range(0, max(len(one.validation) for one in objectives), VALIDATION_BATCH):
            numbers = np.arange(first, first + VALIDATION_BATCH)
            chosen = [one.validation[np.minimum(numbers, len(one.validation) - 1)] for one in objectives]
            windows = [one.windows.gather(starts) for one, starts in zip(objectives, chosen, strict=True)]
            counts = torch.stack([torch.from_numpy(numbers < len(one.validation)) for one in objectives])
            with torch.no_grad():
                errors = self._errors(torch.from_numpy(np.stack(windows)), torch.tensor(ending)).mean(2)
            totals += (errors.double() * counts).sum(1)
        return [total / len(one.validation) for total, one in zip(totals.tolist(), objectives, strict=True)]

    def _let_go(self) -> None:
        staying = [row for row, member in enumerate(self.members) if not member.is_done]
        if len(staying) == len(self.members):
            return
        self.members = [self.members[row] for row in staying]
        rows = torch.tensor(staying, dtype=torch.int64)
        self.network.keep(rows)
        self.adam.keep(rows)


def fit_stacked(
    candidate: CandidateConfig,
    groups: Sequence[Windows],
    *,
    validation_stride: int,
    seed: int,
    start: Mapping[str, torch.Tensor] | None = None,
    linear: Sequence[np.ndarray] | None = None,
    progress: Progress | None = None,
) -> list[StackedResult | StackedFailure]:
    """Train one candidate on every group, many at once.

    What a group gets does not depend on the others. It is what `foresense.training.fit` gives with the same first
    weights and seed, up to the order in which float32 numbers are added: the same batches, rates, masks of dropout,
    epochs and limits. A batch goes through the network whole.

    Args:
        candidate: A PatchTST without path dropout.
        groups: Their windows, with equal numbers of channels, context and horizon.
        validation_stride: Every so many validation windows judge an epoch.
        seed: Of first weights, order of windows and dropout; the same for every group.
        start: State of a model that every group begins with; first weights from `seed` where absent.
        linear: The linear forecast of each group (`PatchTst.start_from`), for a candidate with a linear shortcut.
        progress: Told after each step of a stack; its steps are those of all groups together.

    Returns:
        For each group, in order, its result or why there is none: nothing to train on, or an error that stopped being
        a number.

    Raises:
        ValueError: groups that do not fit together, or a candidate that cannot be stacked.
    """
    _require_alike(groups)
    members: list[_Member] = []
    results: dict[int, StackedResult | StackedFailure] = {}
    states = _first_states(candidate, groups, seed, start, linear)
    for number, (windows, state) in enumerate(zip(groups, states, strict=True)):
        objective = ForecastObjective(windows, stride=candidate.train_stride, validation_stride=validation_stride)
        if objective.n_items < 1:
            results[number] = StackedFailure(windows.group, NO_WINDOWS)
            continue
        members.append(_Member(number, objective, candidate, state))
    shown = _Shown(progress, members)
    for stacked in _stacks(members):
        stack = _Stack(candidate, stacked, seed)
        while stack.members:
            shown.update(stack.step())
    results |= {member.number: member.result() for member in members}
    return [results[number] for number in range(len(groups))]


def _require_alike(groups: Sequence[Windows]) -> None:
    sizes = [(len(windows.channels), windows.context, windows.horizon) for windows in groups]
    for windows, found in zip(groups, sizes, strict=True):
        if found != sizes[0]:
            raise ValueError(
                f"group {windows.group!r} has (channels, context, horizon) {found}, {groups[0].group!r} {sizes[0]}; "
                "one stack needs one layout: train groups of another layout in a call of their own"
            )


def _first_states(
    candidate: CandidateConfig,
    groups: Sequence[Windows],
    seed: int,
    start: Mapping[str, torch.Tensor] | None,
    linear: Sequence[np.ndarray] | None,
) -> list[State]:
    if not groups:
        return []
    if (candidate.shortcut == "linear") != (linear is not None):
        raise ValueError(
            f"shortcut is {candidate.shortcut!r}, and linear forecasts are {'absent' if linear is None else 'given'}; "
            "give one of each group for a linear shortcut, and none otherwise"
        )
    first = groups[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(candidate, n_channels=len(first.channels), context=first.context, horizon=first.horizon)
    states = []
    for number in range(len(groups)):
        state = copy_of(model) if start is None else {name: tensor.clone() for name, tensor in start.items()}
        if linear is not None:
            model.start_from(linear[number])  # type: ignore[operator]  # a PatchTST has it, and only it is stacked
            state |= {SHORTCUT: copy_of(model)[SHORTCUT]}
        states.append(state)
    return states


class _Shown:
    """Tells a person how far all groups are; what a finished group did not need counts as done."""

    def __init__(self, progress: Progress | None, members: Sequence[_Member]) -> None:
        self.progress = progress
        self.members = members
        self.n_steps = sum(member.n_steps for member in members)

    def update(self, stepped: Sequence[_Member]) -> None:
        if self.progress is None:
            return
        done = sum(member.n_steps if member.is_done else len(member.step_ms) for member in self.members)
        metrics = {
            name: float(np.mean([member.history[-1][name] for member in stepped if member.history]))
            for name in ("train", "validation")
            if any(member.history for member in stepped)
        }
        self.progress.update(
            epoch=max(member.epoch for member in stepped),
            n_epochs=stepped[0].candidate.n_epochs,
            step=done,
            n_steps=self.n_steps,
            metrics=metrics,
        )


def _stacks(members: list[_Member]) -> list[list[_Member]]:
    """Members of one batch size, at most `AT_ONCE` together."""
    sizes = sorted({member.batch_size for member in members})
    alike = [[member for member in members if member.batch_size == size] for size in sizes]
    return [some[first : first + AT_ONCE] for some in alike for first in range(0, len(some), AT_ONCE)]
