"""The loop: learns, stops, restores the best weights, and survives a kill to the bit."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from foresense.training import FitPlan, ListSink, fit
from foresense.training.schedule import rate_at


class Line:
    """Learn y = 2x + 1 on two outputs; validation errors can be scripted."""

    parts = ("a", "b")

    def __init__(self, n_items: int = 64, script: list[float] | None = None) -> None:
        self.n_items = n_items
        self.x = torch.linspace(-1, 1, n_items)[:, None]
        self.y = torch.cat([2 * self.x + 1, -self.x], dim=1)
        self.script = script

    def batch(self, items: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.from_numpy(items)
        return self.x[chosen], self.y[chosen]

    def loss(self, model, batch) -> torch.Tensor:  # type: ignore[no-untyped-def]
        x, y = batch
        return (model(x) - y).square().mean(0)

    def validate(self, model) -> float:  # type: ignore[no-untyped-def]
        if self.script is not None:
            return self.script.pop(0)
        return float(self.loss(model, (self.x, self.y)).mean())


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 2))


def plan(**changes: object) -> FitPlan:
    return FitPlan(**{"n_epochs": 5, "batch_size": 16, "learning_rate": 1e-2, **changes})  # type: ignore[arg-type]


def digest(model: nn.Module) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in model.state_dict().values())).hexdigest()


def test_it_learns_and_tracks_every_part(tmp_path: Path) -> None:
    sink = ListSink()
    result = fit(network(), Line(), plan(n_epochs=60), checkpoint=tmp_path / "c", sink=sink)
    assert result.best_validation < 0.05
    assert sink.last("train/loss") == pytest.approx((sink.last("train/loss/a") + sink.last("train/loss/b")) / 2)


def test_a_restart_tells_the_epochs_from_before_and_counts_their_time(tmp_path: Path) -> None:
    first, again = ListSink(), ListSink()
    whole = fit(network(), Line(), plan(), checkpoint=tmp_path / "c", sink=first)
    resumed = fit(network(), Line(), plan(), checkpoint=tmp_path / "c", sink=again)
    assert again.rows == first.rows
    assert (whole.earlier_s, resumed.step_ms) == (0.0, [])
    assert resumed.earlier_s >= sum(whole.step_ms) / 1000
    assert (resumed.n_steps, resumed.batch_size) == (5 * 4, 16)


def test_early_stopping_restores_the_best_weights(tmp_path: Path) -> None:
    seen: list[str] = []

    class Scripted(Line):
        def validate(self, model) -> float:  # type: ignore[no-untyped-def]
            seen.append(digest(model))
            return [3.0, 1.0, 2.0, 2.0, 0.5][len(seen) - 1]

    model = network()
    result = fit(model, Scripted(), plan(patience=2), checkpoint=tmp_path / "c")
    assert (result.best_epoch, len(result.history)) == (2, 4)  # 0.5 is never reached: two epochs without a better one
    assert digest(model) == seen[1]


def test_micro_batches_add_up_to_the_batch(tmp_path: Path) -> None:
    without_dropout = {"micro": nn.Linear(1, 2), "whole": nn.Linear(1, 2)}
    without_dropout["micro"].load_state_dict(without_dropout["whole"].state_dict())
    for name, size in (("micro", 4), ("whole", 16)):
        fit(without_dropout[name], Line(), plan(micro_batch=size), checkpoint=tmp_path / name)
    for a, b in zip(*(model.parameters() for model in without_dropout.values()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # float32 sums in another order, through Adam


def test_same_seed_same_weights_other_seed_others(tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate([0, 0, 1]):
        model = network()
        fit(model, Line(), plan(seed=seed), checkpoint=tmp_path / str(number))
        found.append(digest(model))
    assert found[0] == found[1] != found[2]


def test_gradients_are_clipped_to_the_norm(tmp_path: Path) -> None:
    line = Line(16)
    line.y = line.y * 1e6
    model = nn.Linear(1, 2)
    before = [weight.detach().clone() for weight in model.parameters()]
    seen: list[float] = []
    original = torch.optim.AdamW.step

    def spy(self, *arguments, **named):  # type: ignore[no-untyped-def]
        grads = [weight.grad for group in self.param_groups for weight in group["params"]]
        seen.append(float(torch.linalg.vector_norm(torch.cat([grad.flatten() for grad in grads]))))
        return original(self, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", spy)
        fit(model, line, plan(n_epochs=2, clip_norm=1.0), checkpoint=tmp_path / "c")
    assert len(before) == 2
    assert seen == pytest.approx([1.0, 1.0], rel=1e-4)


def test_nothing_to_train_on_says_what_to_change(tmp_path: Path) -> None:
    line = Line(1)
    line.n_items = 0
    with pytest.raises(ValueError, match="no training windows; lower train_stride"):
        fit(network(), line, plan(), checkpoint=tmp_path / "c")


def test_a_diverging_training_stops_with_advice(tmp_path: Path) -> None:
    line = Line()
    line.y = line.y * float("inf")
    with pytest.raises(ValueError, match=r"no longer a number \(epoch 1, step 0, .*lower learning_rate"):
        fit(network(), line, plan(), checkpoint=tmp_path / "c")


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, {folder!r})
from test_loop import Line, network, plan, digest
from foresense.training import fit
import foresense.training.loop as loop

torch.set_num_threads(1)
kill_at = int(sys.argv[2])
original, count = loop._Fit._step, 0
def counted(self, items):
    global count
    original(self, items)
    count += 1
    if count == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
loop._Fit._step = counted
model = network()
fit(model, Line(256), plan(n_epochs=6, checkpoint_every_s=0.0), checkpoint=Path(sys.argv[1]))
print(digest(model))
"""


@pytest.mark.slow
def test_a_run_killed_in_mid_epoch_ends_with_the_same_bits(tmp_path: Path) -> None:
    script = KILLED.format(folder=str(Path(__file__).parent))

    def run(checkpoint: str, kill_at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, str(tmp_path / checkpoint), str(kill_at)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))

    whole = run("whole", -1)
    assert whole.returncode == 0, whole.stderr
    killed = run("killed", 23)  # 16 steps an epoch: in the middle of the second
    assert killed.returncode == -signal.SIGKILL
    again = run("killed", 40)  # and once more, later
    assert again.returncode == -signal.SIGKILL
    resumed = run("killed", -1)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == whole.stdout


@pytest.mark.parametrize("n_steps", [20, 101])
def test_onecycle_is_pytorchs(n_steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=n_steps)
    for step in range(n_steps):
        ours = rate_at(step, n_steps=n_steps, peak=0.5, schedule="onecycle")
        assert ours == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < n_steps - 1:
            theirs.step()
