"""Shuffled batches of windows: ours against torch's DataLoader, and the memory that ours takes.

Run from the project root: `python -m benchmarks.windows`.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import ROOT, compare, interleave, write_results
from foresense.signals import Scaler, Windows, open_windows
from foresense.windows import write_windows

LOG = logging.getLogger(__name__)
N_ROWS, N_CHANNELS, CONTEXT, HORIZON, BATCH = 1_000_000, 4, 1200, 240, 128
LIMIT_MIB = 40.0
MIB = 2**20


class InMemory(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """What a tutorial writes: a tensor in memory, one slice per window, collated by torch."""

    def __init__(self, samples: torch.Tensor) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples) - CONTEXT - HORIZON + 1

    def __getitem__(self, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        origin = start + CONTEXT
        return self.samples[start:origin], self.samples[origin : origin + HORIZON]


class OnDisk(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The same on a memory-mapped file, as ours reads it."""

    def __init__(self, path: Path) -> None:
        # "c" and not "r": torch warns of arrays that cannot be written to
        self.samples = np.load(path, mmap_mode="c", allow_pickle=False)

    def __len__(self) -> int:
        return len(self.samples) - CONTEXT - HORIZON + 1

    def __getitem__(self, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        origin = start + CONTEXT
        past, future = self.samples[start:origin], self.samples[origin : origin + HORIZON]
        return torch.from_numpy(past), torch.from_numpy(future)


def make_windows() -> Windows:
    """A million rows of four channels, every row a start."""
    rng = np.random.default_rng(0)
    channels = ("temp_body", "temp_shaft", "current", "vibration_magnitude")
    starts = np.arange(N_ROWS - CONTEXT - HORIZON + 1)
    none = np.array([], np.int64)
    return Windows(
        group="lathe",
        samples=rng.random((N_ROWS, N_CHANNELS), np.float32),
        channels=channels,
        units=("Cel", "Cel", "A", "g"),
        context=CONTEXT,
        horizon=HORIZON,
        starts={"train": starts, "validation": none, "test": none},
        row_times_s=3600 * np.arange(N_ROWS),
        asset_of_row=np.zeros(N_ROWS, np.int32),
        assets=("lathe",),
        interval_s=3600.0,
        time_zone="UTC",
        scaler=Scaler("minmax", channels, np.zeros(4), np.ones(4), np.full(4, 0.5)),
    )


def ours_per_s(windows: Windows, n_batches: int, seed: int = 0) -> float:
    """Windows per second: shuffled starts, gathered, split into context and horizon; the shuffle is not timed."""
    order = np.random.default_rng(seed).permutation(windows.starts["train"])
    begin = time.perf_counter()
    for first in range(0, n_batches * BATCH, BATCH):
        batch = torch.from_numpy(windows.gather(order[first : first + BATCH]))
        _require_shapes(batch[:, :CONTEXT], batch[:, CONTEXT:])
    return n_batches * BATCH / (time.perf_counter() - begin)


def loader_per_s(dataset: Dataset[tuple[torch.Tensor, torch.Tensor]], n_batches: int) -> float:
    """Windows per second of `dataset` in a DataLoader; its first batch, with the shuffle, is not timed."""
    batches = iter(DataLoader(dataset, batch_size=BATCH, shuffle=True))
    next(batches)
    begin = time.perf_counter()
    for batch in islice(batches, n_batches):
        _require_shapes(*batch)
    return n_batches * BATCH / (time.perf_counter() - begin)


def memory_raised_mib(folder: Path, n_batches: int) -> float:
    """Most resident memory of this process above its start, in MiB, while it opens windows and draws batches.

    Linux only: the high-water mark is set back through /proc/self/clear_refs (man 5 proc).
    """
    torch.from_numpy(np.zeros(1, np.float32))
    before = _status_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    ours_per_s(open_windows(folder), n_batches)
    return (_status_kib("VmHWM") - before) / 1024


def main() -> None:
    """Measure, write benchmarks/results/windows.json, and fail where memory is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", type=Path, help="measure memory in this process, on the windows in this folder")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.memory:
        sys.stdout.write(json.dumps(memory_raised_mib(options.memory, n_batches=4000)) + "\n")
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "lathe"
        write_windows(folder, make_windows())
        memory = [_memory_in_fresh_process(folder) for _ in range(3)]
        windows = open_windows(folder)
        in_memory = InMemory(torch.from_numpy(np.array(windows.samples)))
        on_disk = OnDisk(folder / "samples.npy")
        cases: dict[str, Callable[[], float]] = {
            "ours": lambda: ours_per_s(windows, 1000),
            "in memory": lambda: loader_per_s(in_memory, 150),
            "memory-mapped": lambda: loader_per_s(on_disk, 150),
        }
        speed = interleave(cases, options.repeats)
    limit = N_ROWS * N_CHANNELS * 4 / MIB + LIMIT_MIB
    rows: list[dict[str, Any]] = [
        *(
            compare(
                "shuffled batches of 128 windows of 1200 + 240 samples x 4 channels, one thread",
                "windows/s",
                ours=speed["ours"],
                peer=f"torch {torch.__version__} DataLoader, plain Dataset {kind}, 0 workers",
                peer_values=speed[kind],
            )
            for kind in ("in memory", "memory-mapped")
        ),
        compare(
            "peak memory raised by 4000 batches from 1,000,000 rows, fresh process",
            "MiB",
            ours=memory,
            peer="limit: the array + 40 MiB",
            peer_values=[limit],
            is_more_better=False,
        ),
    ]
    LOG.info("written: %s", write_results("windows", rows).relative_to(ROOT))
    for row in rows:
        LOG.info("%(case)s: %(ours)s %(unit)s, %(peer)s %(peer_value)s, ratio %(ratio)s", row)
    if max(memory) > limit:
        raise SystemExit(f"memory raised by {max(memory):.1f} MiB, the limit is {limit:.1f} MiB")


def _memory_in_fresh_process(folder: Path) -> float:
    words = [sys.executable, "-m", "benchmarks.windows", "--memory", str(folder)]
    return float(json.loads(subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout))


def _status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def _require_shapes(past: torch.Tensor, future: torch.Tensor) -> None:
    if past.shape != (BATCH, CONTEXT, N_CHANNELS) or future.shape != (BATCH, HORIZON, N_CHANNELS):
        raise ValueError(f"a batch must be {BATCH} whole windows, found {past.shape} and {future.shape}")


if __name__ == "__main__":
    main()
