"""Our optimizer step against HuggingFace's plain one: the asked size, effective batch 128, interleaved in one run.

Run `python -m benchmarks.training` from the project root (about 15 minutes on two cores, nothing else running).
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import mse_loss
from transformers import PatchTSTForPrediction

from benchmarks.harness import write_results
from foresense.config import CandidateConfig
from foresense.models import build_model
from foresense.models.patchtst import hf_config
from foresense.training.calibrate import Way, has_bf16, has_compiler

BATCH, CONTEXT, HORIZON, N_CHANNELS = 128, 1200, 240, 4
ASKED = CandidateConfig()
WAYS = ("ours", "huggingface-eager", "huggingface-default")
BAR = {"huggingface-eager": 3.0, "huggingface-default": 2.4 if has_bf16() else 1.5}


def stepper(way: str, micro: int, dropout: bool) -> Callable[[torch.Tensor, torch.Tensor], float]:
    """A function that takes one optimizer step on (128, 1440, 4) windows and returns the loss before it."""
    torch.manual_seed(0)
    candidate = ASKED if dropout else ASKED.model_copy(update={"ff_dropout": 0.0, "head_dropout": 0.0})
    if way == "ours":
        model: torch.nn.Module = build_model(candidate, n_channels=N_CHANNELS, context=CONTEXT, horizon=HORIZON)
        forward: Callable[..., torch.Tensor] = torch.compile(model, dynamic=False) if has_compiler() else model
    else:
        config = hf_config(candidate, n_channels=N_CHANNELS, context=CONTEXT, horizon=HORIZON)
        theirs = PatchTSTForPrediction(config)
        if way == "huggingface-eager":
            theirs.config._attn_implementation = "eager"
        model, micro = theirs, BATCH
        forward = lambda context: theirs(past_values=context).prediction_outputs  # noqa: E731
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    bf16 = way == "ours" and has_bf16()

    def step(context: torch.Tensor, truth: torch.Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for first in range(0, BATCH, micro):
            part = slice(first, first + micro)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                loss = mse_loss(forward(context[part]).float(), truth[part])
            (loss * micro / BATCH).backward()
            total += float(loss.detach()) * micro / BATCH
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return total

    return step


def worker(way: str, micro: int, repeats: int) -> dict[str, object]:
    """Measure one way in this process: first loss without dropout, seconds of each step with it, peak memory."""
    import resource

    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.random((BATCH, CONTEXT + HORIZON, N_CHANNELS), dtype=np.float32))
    context, truth = rows[:, :CONTEXT].contiguous(), rows[:, CONTEXT:].contiguous()
    loss = stepper(way, micro, dropout=False)(context, truth)
    step = stepper(way, micro, dropout=True)
    step(context, truth)
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        step(context, truth)
        seconds.append(time.perf_counter() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first_loss": loss, "seconds": seconds, "peak_rss_mib": peak}


def matrix_limit_gflops() -> float:
    """Best rate of this machine's float32 matrix product, in GFLOP/s: what no training step can exceed."""
    a = torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(8):
        begun = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begun)
    return 2 * 2048**3 / best / 1e9


def step_gflop() -> float:
    """Arithmetic of one step: products of forward and backward (three times the forward pass), in GFLOP."""
    tokens, d, ffn = BATCH * N_CHANNELS * 397, ASKED.d_model, ASKED.ffn_dim
    per_token = 2 * (ASKED.patch_length * d + ASKED.n_layers * (4 * d * d + 2 * d * ffn + 2 * 397 * d))
    return 3 * tokens * per_token / 1e9


def main() -> None:
    """Interleave fresh processes of every way and write benchmarks/results/training.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", choices=WAYS)
    parser.add_argument("--micro", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.worker:
        sys.stdout.write(json.dumps(worker(arguments.worker, arguments.micro, arguments.repeats)) + "\n")
        return
    found: dict[str, list[dict[str, object]]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.training", "--worker", way, "--micro", str(arguments.micro)]
            command += ["--repeats", str(arguments.repeats)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
            found[way].append(json.loads(ran.stdout.splitlines()[-1]))
            sys.stderr.write(f"{way}: {found[way][-1]}\n")
    seconds = {way: float(np.median([s for run in runs for s in run["seconds"]])) for way, runs in found.items()}  # type: ignore[attr-defined]
    memory = {way: max(float(run["peak_rss_mib"]) for run in runs) for way, runs in found.items()}  # type: ignore[arg-type]
    losses = {way: float(runs[0]["first_loss"]) for way, runs in found.items()}  # type: ignore[arg-type]
    limit = matrix_limit_gflops()
    rows: list[dict[str, object]] = []
    for peer in WAYS[1:]:
        row = {"case": f"optimizer step, batch {BATCH}", "unit": "s", "ours": seconds["ours"], "peer": peer}
        row |= {"peer_value": seconds[peer], "ratio": seconds[peer] / seconds["ours"], "bar": BAR[peer]}
        row |= {
            "repeats": arguments.rounds * arguments.repeats,
            "way": vars(Way(arguments.micro, has_compiler(), has_bf16())),
        }
        rows.append(row)
        memory_row = {"case": "peak resident memory", "unit": "MiB", "ours": memory["ours"], "peer": peer}
        rows.append(memory_row | {"peer_value": memory[peer], "ratio": memory[peer] / memory["ours"]})
        loss_row = {"case": "loss at the first step, dropout off", "unit": "1", "ours": losses["ours"], "peer": peer}
        rows.append(loss_row | {"peer_value": losses[peer], "ratio": losses[peer] / losses["ours"]})
    reached = step_gflop() / seconds["ours"]
    limit_row = {"case": "arithmetic rate", "unit": "GFLOP/s", "ours": reached, "peer": "this machine's matrix product"}
    rows.append(limit_row | {"peer_value": limit, "ratio": reached / limit})
    write_results("training", rows)


if __name__ == "__main__":
    main()
