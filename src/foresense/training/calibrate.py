"""Which way of taking an optimizer step is fastest on this machine: a short measurement, cached."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foresense.signals import read_json, write_json
from foresense.training.loop import Objective

WORTH_MS = 60_000  # a training that takes less than a minute anyhow is not measured first
WORTH_GROWING = 0.97
NO_COMPILER = "not compiled: no C++ compiler (c++, g++, clang++ or $CXX) found; a step takes about 1.5 times as long"
NO_BF16 = "float32: this processor has no bfloat16 arithmetic (AVX512-BF16 or AMX)"
MICRO_BATCHES = (4, 8, 32, 128)
ACTIVATIONS_MIB = 768  # kept for the backward pass at once; with weights, optimizer and libraries below 2 GiB
N_TIMED = 2  # passes after the first; the fastest counts, because a neighbour can only slow one down


@dataclass(frozen=True)
class Way:
    """One way of taking a step: items at once, compiled or not, bfloat16 or float32."""

    micro_batch: int
    compile: bool
    bf16: bool


@dataclass(frozen=True)
class Calibration:
    """The fastest way with what was measured.

    Attributes:
        way: What to use.
        ms_per_item: Forward and backward of each way that was tried, in ms per item; empty when the training is too
            short to be worth measuring.
        said: Sentences for a person: what was left out, and why.
    """

    way: Way
    ms_per_item: dict[str, float]
    said: list[str]


def has_compiler() -> bool:
    """Whether torch.compile can build CPU code here."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++") if name)


def has_bf16(device: str = "cpu") -> bool:
    """Whether the processor (AVX512-BF16 or AMX) or the accelerator multiplies bfloat16 natively."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def calibrate(
    build: Callable[[], torch.nn.Module],
    objective: Objective,
    *,
    batch_size: int,
    n_passes: int,
    cache: Path,
    key: object,
    device: str = "cpu",
) -> Calibration:
    """Choose micro-batch, compilation and precision for a training.

    Args:
        build: Makes a fresh model; the one that is trained is not touched.
        objective: Gives batches and errors.
        batch_size: Items of one optimizer step.
        n_passes: Items of the whole training (windows times epochs): a short one is not worth a measurement.
        cache: JSON file that remembers choices of this machine.
        key: What decides the choice beside the machine (sizes of the model and of a batch), JSON-able.
        device: `cpu` or `cuda`; where the model is.

    Returns:
        The choice; from the cache when the same question was asked on this machine before.
    """
    name = hashlib.sha256(json.dumps([key, batch_size, device, _machine()], sort_keys=True).encode()).hexdigest()[:16]
    known = read_json(cache) if cache.is_file() else {}
    if name in known:
        found = known[name]
        return Calibration(Way(**found["way"]), found["ms_per_item"], found["said"])
    sizes = sorted({min(size, batch_size, objective.n_items) for size in MICRO_BATCHES})
    limit = ACTIVATIONS_MIB / activations_mib(build(), objective)
    micro_batches = [size for size in sizes if size <= limit] or sizes[:1]
    plain = Way(micro_batches[0], compile=False, bf16=False)
    plain_ms = _ms_per_item(build(), objective, plain, device)
    if plain_ms * n_passes < WORTH_MS:
        largest = Way(micro_batches[-1], compile=False, bf16=False)
        return Calibration(
            largest, {}, [f"not calibrated: the training takes about {plain_ms * n_passes / 1000:.0f} s"]
        )
    said = [] if has_compiler() else [NO_COMPILER]
    said += [] if has_bf16(device) else [NO_BF16]
    measured = {plain: plain_ms}
    for bf16 in (False, True) if has_bf16(device) else (False,):
        _grow(build, objective, micro_batches, has_compiler(), bf16, measured, device)
    best = min(measured, key=lambda way: measured[way])
    figures = {json.dumps(asdict(way)): round(ms, 3) for way, ms in measured.items()}
    write_json(cache, {**known, name: {"way": asdict(best), "ms_per_item": figures, "said": said}})
    return Calibration(best, figures, said)


def _grow(
    build: Callable[[], torch.nn.Module],
    objective: Objective,
    micro_batches: list[int],
    compiled: bool,
    bf16: bool,
    measured: dict[Way, float],
    device: str,
) -> None:
    """Measure larger and larger micro-batches until one is no faster."""
    fastest = float("inf")
    for micro in micro_batches:
        way = Way(micro, compiled, bf16)
        if way not in measured:
            measured[way] = _ms_per_item(build(), objective, way, device)
        if measured[way] > fastest * WORTH_GROWING:
            return
        fastest = min(fastest, measured[way])


def activations_mib(model: torch.nn.Module, objective: Objective) -> float:
    """What one item keeps in memory for the backward pass, in MiB; a compiled model keeps less."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        errors = objective.loss(model, objective.batch(np.zeros(1, np.int64)))
    del errors  # held until here, so that no two tensors had one address
    return max(sum(kept.values()), 1) / 2**20


def _ms_per_item(model: torch.nn.Module, objective: Objective, way: Way, device: str) -> float:
    model.train()
    forward: Callable[..., Any] = torch.compile(model, dynamic=False) if way.compile else model
    items = np.arange(way.micro_batch, dtype=np.int64)
    times = []
    for _ in range(N_TIMED + 1):
        begun = time.perf_counter()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=way.bf16):
            errors = objective.loss(forward, objective.batch(items))
        errors.mean().backward()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    torch._dynamo.reset()
    return min(times[1:]) * 1000 / way.micro_batch


def _machine() -> list[object]:
    limits = [MICRO_BATCHES, ACTIVATIONS_MIB]
    return [torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), limits]
