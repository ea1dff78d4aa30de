"""Functions that tests run over assets; workers import this module by its name."""

import ctypes
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from foresense.engine import Skipped, SkippedError


def act(assets: tuple[str, ...], arguments: dict[str, Any]) -> dict[str, Any]:
    """Do with each asset what `arguments["kinds"]` says; leave a mark of every call."""
    results: dict[str, Any] = {}
    for asset in assets:
        mark(arguments, asset)
        results[asset] = KINDS[arguments["kinds"][asset]](asset, arguments)
    return {asset: result for asset, result in results.items() if result is not None}


def mark(arguments: dict[str, Any], asset: str) -> None:
    folder = Path(arguments["marks"])
    (folder / uuid.uuid4().hex).write_text(asset)


def good(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"length": len(asset)}


def too_short(asset: str, arguments: dict[str, Any]) -> Skipped:
    return Skipped("1102 of 1920 hours")


def raises(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    sys.stdout.write("about to fail\n")
    raise ValueError("all values are NaN\nsecond line")


def raises_skipped(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    raise SkippedError("no rows")


def breaks_memory(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    sys.stdout.write("before the crash\n")
    ctypes.string_at(0)
    return {}


def exits(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    os._exit(3)


def leaves(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    sys.exit("no licence")


def hangs(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    time.sleep(600)
    return {}


def hogs(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    held = []
    while True:
        held.append(b"x" * (64 << 20))
        time.sleep(0.05)


def hogs_below(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The memory belongs to a child process in a session of its own."""
    code = "import time; held = b'x' * (700 << 20); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    Path(arguments["marks"], "child.pid").write_text(str(child.pid))
    child.wait()
    return {}


def peaks(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    len(b"x" * (300 << 20))  # shorter than any poll
    return {}


def keeps(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Leave 150 MiB behind in its worker."""
    KEPT.append(b"x" * (150 << 20))
    return {}


def shouts(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """10 MB of what a protocol would stumble over, by Python, by C, and by a child process."""
    line = b"\x00\x00\x00\x00\x00\x00\x00\x05{}\xff\n"
    os.write(1, line)
    sys.stdout.buffer.write(line * (10_000_000 // len(line)))
    ctypes.CDLL(None).puts(b"from C")
    subprocess.run(["echo", "from a child"], check=True)
    sys.stderr.write("from stderr\n")
    return {"input": sys.stdin.read()}


def closes_output(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    sys.stdout.close()
    return {}


def forks(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Dies, and leaves a fork behind that holds its pipes open."""
    if (pid := os.fork()) == 0:
        time.sleep(600)
    Path(arguments["marks"], "child.pid").write_text(str(pid))
    os._exit(4)


def threads(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {"omp": os.environ["OMP_NUM_THREADS"], "torch": torch.get_num_threads()}


def no_json(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"rmse": float("nan")}


def nothing(asset: str, arguments: dict[str, Any]) -> None:
    return None


def who(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"pid": os.getpid(), "imported": IMPORTED}


def gate(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Say that it runs, it and a child process of it; then wait until the test opens the gate."""
    folder = Path(arguments["marks"]).parent
    with subprocess.Popen(["sleep", "600"]) as child:
        for pid in (child.pid, os.getpid()):
            beside = folder / f"beside-{pid}"
            beside.write_text(asset)
            beside.rename(folder / f"running-{pid}")
        while not (folder / "open").exists():
            time.sleep(0.01)
        child.kill()
    return {}


def kills_spark(asset: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Take the process down that started this one: a Python worker of Spark."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
    return {}


KEPT: list[bytes] = []
IMPORTED = uuid.uuid4().hex
KINDS = {
    function.__name__: function
    for function in (
        good,
        too_short,
        raises,
        raises_skipped,
        breaks_memory,
        exits,
        leaves,
        hangs,
        hogs,
        hogs_below,
        peaks,
        keeps,
        shouts,
        closes_output,
        forks,
        threads,
        no_json,
        nothing,
        who,
        gate,
        kills_spark,
    )
}


def train(assets: tuple[str, ...], arguments: dict[str, Any]) -> dict[str, Any]:
    """Train a small network for each asset, seeded by it; weights go to a folder, their digest comes back."""
    import hashlib

    import torch
    from safetensors.torch import save

    results: dict[str, Any] = {}
    for asset in assets:
        seed = int.from_bytes(hashlib.sha256(asset.encode()).digest()[:4], "big")
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(24, 32), torch.nn.GELU(), torch.nn.Linear(32, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        inputs = torch.randn(256, 24, generator=generator)
        for _ in range(30):
            loss = ((model(inputs)[:, 0] - inputs.mean(dim=1)) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        content = save(model.state_dict())
        Path(arguments["weights"], f"{asset}.safetensors").write_bytes(content)
        results[asset] = {"sha256": hashlib.sha256(content).hexdigest(), "loss": loss.item()}
    return results
