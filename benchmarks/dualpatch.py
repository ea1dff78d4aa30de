"""Training windows per second: the dual-patch transformer against transformers' PatchTST of as many parameters.

Run `python -m benchmarks.dualpatch` from the project root (some minutes on two cores, nothing else running).

Both get the same windows, channels, patches, layers, heads, width, batch and optimizer. Ours takes raw values with NaN,
two categorical channels and padding besides, and has two branches of so many layers; PatchTST gets the numeric channels
with holes filled, and a feed-forward width that makes its parameters as many as ours within 5 %. Each way of a pair is
a process of its own.
"""

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from benchmarks.harness import ROOT, compare, interleave, write_results
from foresense.config.dualpatch import DualPatchConfig
from foresense.models.mixed import build_mixed

LOG = logging.getLogger(__name__)
BATCH, WARM_UP_STEPS = 32, 3
BAR = 1.5  # of the issue
WITHIN = 0.05  # parameters of the two
#: The spec's set, a week of the stations' hours, two days of the stays' hours: sizes, and the task.
CASES: dict[str, dict[str, Any]] = {
    "spec": {"n_numeric": 4, "n_steps": 64, "patch_length": 16, "patch_stride": 8, "head": "classes", "n_outputs": 3},
    "air": {"n_numeric": 11, "n_steps": 168, "patch_length": 24, "patch_stride": 12, "head": "values", "n_outputs": 1},
    "icu": {"n_numeric": 37, "n_steps": 48, "patch_length": 12, "patch_stride": 6, "head": "classes", "n_outputs": 2},
}
WAYS = ("ours", "patchtst")


def ours_config(case: str) -> DualPatchConfig:
    """The default model at the sizes of a case, with two categorical channels of five values."""
    return DualPatchConfig.model_validate(CASES[case])


def patchtst(case: str) -> nn.Module:
    """PatchTST for the task of a case, with the feed-forward width that comes closest to our parameters.

    Raises:
        ValueError: no width brings the parameters within 5 % of ours.
    """
    from transformers import PatchTSTConfig, PatchTSTForClassification, PatchTSTForRegression

    config = ours_config(case)
    builder = PatchTSTForClassification if config.head == "classes" else PatchTSTForRegression

    def built(ffn_dim: int) -> nn.Module:
        made: nn.Module = builder(
            PatchTSTConfig(
                num_input_channels=config.n_numeric,
                context_length=config.n_steps,
                patch_length=config.patch_length,
                patch_stride=config.patch_stride,
                d_model=config.d_model,
                num_attention_heads=config.n_heads,
                num_hidden_layers=config.n_layers,
                ffn_dim=ffn_dim,
                ff_dropout=config.dropout,
                num_targets=config.n_outputs,
                use_cls_token=False,
                pooling_type="mean",
                loss="mse",
            )
        )
        return made

    asked = n_parameters(build_mixed(config))
    small, large = (n_parameters(built(width)) for width in (64, 65))
    width = max(1, 64 + round((asked - small) / (large - small)))
    model = built(width)
    found = n_parameters(model)
    if abs(found - asked) > WITHIN * asked:
        raise ValueError(f"{case}: PatchTST has {found} parameters at ffn_dim {width}, ours {asked}: not of one size")
    return model


def n_parameters(model: nn.Module) -> int:
    """Trained numbers of a model."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def stepper(case: str, way: str) -> tuple[nn.Module, Callable[[], None]]:
    """A model in training and one optimizer step of it on a batch of windows with 30 % of the values missing."""
    config = ours_config(case)
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(BATCH, config.n_numeric, config.n_steps)).astype(np.float32)
    numbers[rng.random(numbers.shape) < 0.3] = np.nan
    classes = torch.from_numpy(rng.integers(0, config.n_outputs, BATCH))
    values = torch.from_numpy(rng.normal(size=(BATCH, config.n_outputs)).astype(np.float32))
    torch.manual_seed(0)
    if way == "ours":
        model: nn.Module = build_mixed(config)
        codes = rng.integers(0, 7, (BATCH, config.n_categorical, config.n_steps))
        inputs = {"numbers": torch.from_numpy(numbers), "categories": torch.from_numpy(codes)}
        inputs["lengths"] = torch.from_numpy(rng.integers(config.n_steps // 2, config.n_steps + 1, BATCH))
    else:
        model = patchtst(case)
        inputs = {"past_values": torch.from_numpy(np.nan_to_num(numbers).transpose(0, 2, 1).copy())}
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-3)  # spec D-10

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        found = model(**inputs)
        if way != "ours":
            found = found.prediction_logits if config.head == "classes" else found.regression_outputs
        loss = cross_entropy(found, classes) if config.head == "classes" else mse_loss(found, values)
        loss.backward()
        optimizer.step()

    return model, step


def worker(case: str, way: str, seconds: float) -> dict[str, float]:
    """Train one way for so long in this process: windows per second, and its parameters."""
    model, step = stepper(case, way)
    for _ in range(WARM_UP_STEPS):
        step()
    begun, n_steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        step()
        n_steps += 1
    return {"windows_per_s": n_steps * BATCH / (time.perf_counter() - begun), "n_parameters": n_parameters(model)}


def measured(case: str, way: str, seconds: float) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.dualpatch", "--worker", way, "--case", case, "--seconds", str(seconds)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Interleave fresh processes of both ways of every case; write benchmarks/results/dualpatch.json."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", choices=WAYS)
    parser.add_argument("--case", choices=sorted(CASES))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.worker:
        sys.stdout.write(json.dumps(worker(arguments.case, arguments.worker, arguments.seconds)) + "\n")
        return
    peer = f"transformers {version('transformers')}"
    rows = []
    for case in [arguments.case] if arguments.case else list(CASES):
        sizes: dict[str, float] = {}

        def once(way: str, case: str = case, sizes: dict[str, float] = sizes) -> float:
            found = measured(case, way, arguments.seconds)
            sizes[way] = found["n_parameters"]
            return found["windows_per_s"]

        found = interleave({way: lambda way=way, once=once: once(way) for way in WAYS}, arguments.repeats)  # type: ignore[misc]
        kind = "PatchTSTForClassification" if CASES[case]["head"] == "classes" else "PatchTSTForRegression"
        row = compare(
            f"training, {case}: batch {BATCH}, {CASES[case]['n_numeric']} channels of {CASES[case]['n_steps']} steps",
            "windows/s",
            ours=found["ours"],
            peer=f"{kind} of {peer}",
            peer_values=found["patchtst"],
        )
        rows.append({**row, "bar": BAR, "n_parameters": sizes["ours"], "peer_n_parameters": sizes["patchtst"]})
        LOG.info("%s", rows[-1])
    LOG.info("%s", write_results("dualpatch", rows))


if __name__ == "__main__":
    main()
