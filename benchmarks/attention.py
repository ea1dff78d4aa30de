"""Attention of the wrist transformer: torch's fused kernel against the written-out one, forward and with gradients.

At 10 and 12 tokens (patches, patches with the two tokens of the whole window) and at 200; batches of 64, 2 heads of 28
numbers, one thread, interleaved. The ratio is reported whatever it is. What they mix must agree to 1e-6 of the largest
number in float32; in float64 that and the gradients to 1e-12, so what float32 shows of gradients is rounding.

Run from the project root: `OMP_NUM_THREADS=1 python -m benchmarks.attention` (about a minute).
"""

import argparse
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.harness import ROOT, compare, interleave, write_results
from foresense.models.wrist_parts import Attend, Written, fused

LOG = logging.getLogger(__name__)
BATCH, N_HEADS, HEAD_WIDTH = 64, 2, 28
TOKENS = (10, 12, 200)
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
LEAST_S = 0.2  # of one measurement: shorter ones measure the clock
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def written(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention written out, its weights kept by nobody."""
    return Written()(query, key, value)


def inputs(n_tokens: int, dtype: torch.dtype = torch.float32) -> Inputs:
    """Queries, keys and values (BATCH, N_HEADS, n_tokens, HEAD_WIDTH)."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, BATCH, N_HEADS, n_tokens, HEAD_WIDTH)
    query, key, value = torch.randn(shape, generator=generator).to(dtype).unbind(0)
    return query.requires_grad_(), key.requires_grad_(), value.requires_grad_()


def forward(attend: Attend, given: Inputs) -> tuple[torch.Tensor, ...]:
    """Mixed values, without gradients."""
    with torch.no_grad():
        return (attend(*given),)


def both_ways(attend: Attend, given: Inputs) -> tuple[torch.Tensor, ...]:
    """Mixed values, and the gradients of half their sum of squares."""
    mixed = attend(*given)
    return (mixed.detach(), *torch.autograd.grad(mixed.square().sum() / 2, given))


def difference(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> float:
    """Largest difference of any two tensors, over the largest number of that tensor."""
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(one, other, strict=True))


def microseconds(work: Callable[[], object]) -> float:
    """Of one call: as many calls as take LEAST_S, together."""
    n, begun = 0, time.perf_counter()
    while (took := time.perf_counter() - begun) < LEAST_S:
        work()
        n += 1
    return took / n * 1e6


def measure(repeats: int) -> list[dict[str, Any]]:
    """One row for each number of tokens and each direction."""
    rows = []
    for n_tokens in TOKENS:
        given = inputs(n_tokens)
        for name, way in (("forward", forward), ("forward and backward", both_ways)):
            found = interleave(
                {each.__name__: partial(microseconds, partial(way, each, given)) for each in (fused, written)},
                repeats,
            )
            row = compare(
                f"attention, {name}: batch {BATCH}, {N_HEADS} heads of {HEAD_WIDTH}, {n_tokens} tokens, one thread",
                "us",
                ours=found["fused"],
                peer="written out: softmax(q k' / sqrt(width)) v",
                peer_values=found["written"],
                is_more_better=False,
            )
            rows.append(
                row | {"has_gradients": way is both_ways, "max_relative_difference": differences(way, n_tokens)}
            )
    return rows


def differences(way: Callable[[Attend, Inputs], tuple[torch.Tensor, ...]], n_tokens: int) -> dict[str, float]:
    """Number type -> largest difference between the two."""
    given = {name: inputs(n_tokens, getattr(torch, name)) for name in TOLERANCE}
    return {name: difference(way(fused, one), way(written, one)) for name, one in given.items()}


def apart(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Cases in which the two are not the same function: the mixture in float32, everything in float64."""
    return [
        f"{row['case']}: {found:.1e} in {name}"
        for row in rows
        for name, found in row["max_relative_difference"].items()
        if found > TOLERANCE[name] and not (name == "float32" and row["has_gradients"])
    ]


def main() -> None:
    """Measure, write benchmarks/results/attention.json, and fail where the two differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--look", action="store_true", help="write nothing")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("OMP_NUM_THREADS=1 must be set before torch starts: both sides are measured on one thread")
    rows = measure(options.repeats)
    for row in rows:
        LOG.info("%(case)s: fused %(ours)s us, written out %(peer_value)s us, ratio %(ratio)s", row)
        LOG.info("  largest difference: %s", row["max_relative_difference"])
    if not options.look:
        LOG.info("written: %s", write_results("attention", rows).relative_to(ROOT))
    if found := apart(rows):
        raise SystemExit(f"the two are not one function: {'; '.join(found)}")


if __name__ == "__main__":
    main()
