"""Run the Pi folders on emulated ARM: the aarch64 runtime in a Debian arm64 root. Proves answers, claims no speed.

Run by `make test-arm`. The root is built once by debootstrap (7 minutes, 0.4 GB) and kept in .foresense/arm64/.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SUITE, PYTHON_VERSION = "bookworm", "3.11"  # Raspberry Pi OS 12 is built on it
#: Tags of wheels that this suite's C library (2.36) can load.
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
BINFMT = Path("/proc/sys/fs/binfmt_misc")
HANDLER = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
#: Rows that need time, memory, or the whole test part: an emulated processor has none of them.
UNMEASURED_GATES = frozenset({"latency", "memory", "smoke tests", "quality drop", "duration"})
#: One process there; importing numpy alone takes seconds.
PROCESS_S = 600


class ArmError(RuntimeError):
    """This machine cannot emulate ARM, or something failed on it."""


def missing() -> list[str]:
    """What this machine lacks; empty where it can emulate ARM."""
    found = []
    if sys.platform != "linux":
        return [f"Linux (this is {sys.platform})"]
    if os.geteuid() != 0:
        found.append("root, for chroot: run it in a container or virtual machine of your own")
    if shutil.which("debootstrap", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        found.append("the Debian package debootstrap")
    if platform.machine() != "aarch64" and not HANDLER.is_file() and not handlers():
        found.append("the Debian package qemu-user-static")
    return found


def handlers() -> list[Path]:
    """Entries of the kernel that run aarch64 programs."""
    return sorted(path for path in BINFMT.glob("*aarch64*") if path.read_text().startswith("enabled"))


def register() -> None:
    """Tell the kernel to run aarch64 programs by qemu, as systemd does at start where it runs; until the next start.

    Raises:
        ArmError: the kernel does not take it.
    """
    if platform.machine() == "aarch64" or handlers():
        return
    try:
        if not (BINFMT / "register").exists():
            _run("mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT))
        (BINFMT / "register").write_text(HANDLER.read_text().strip())
    except OSError as error:
        raise ArmError(f"{BINFMT}: this kernel does not take a handler for aarch64 programs: {error}") from error
    say(f"registered qemu for aarch64 programs in {BINFMT} (until the next start of this machine)")


def build_root(root: Path) -> None:
    """A Debian arm64 root with Python; complete or absent."""
    if root.is_dir():
        return
    beside = root.with_name(f"{root.name}.partial")
    if beside.exists():
        shutil.rmtree(beside)
    beside.parent.mkdir(parents=True, exist_ok=True)
    say(f"building {root}: about 7 minutes")
    packages = "python3-minimal,libpython3-stdlib"
    _run("debootstrap", "--arch=arm64", "--variant=minbase", f"--include={packages}", SUITE, str(beside))
    beside.rename(root)


def install(root: Path, requirements: Path) -> None:
    """Unpack the aarch64 wheels of a Pi folder's requirements into the root."""
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--only-binary=:all:"]
    words += [word for tag in PLATFORMS for word in ("--platform", tag)]
    words += ["--python-version", PYTHON_VERSION, "--implementation", "cp", "--target", str(root / "opt/packages")]
    _run(*words, "--requirement", str(requirements))


def smoke_test(root: Path, folder: Path) -> dict[str, Any]:
    """Run a Pi folder's own smoke test in the root; gives its result."""
    inside = root / "opt" / "pi"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(folder, inside)
    words = ["chroot", str(root), "/usr/bin/env", "-i", "PATH=/usr/bin:/bin", "PYTHONPATH=/opt/packages"]
    words += ["/usr/bin/python3", "/opt/pi/smoke_test.py", "--emulated", "--timeout-s", str(PROCESS_S)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    say(done.stdout)
    written = inside / "smoke_test.json"
    if not written.is_file():
        raise ArmError(f"{folder}: no result, exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    content: dict[str, Any] = json.loads(written.read_text())
    return content


def problems(result: Mapping[str, Any]) -> list[str]:
    """What an emulated processor could have shown, and did not: everything but time, memory and quality."""
    unmeasured_tests = {"memory", *(f"{name} inference" for name in result["models"])}
    found = []
    if result["machine"]["architecture"] != "aarch64":
        found.append(f"ran on {result['machine']['architecture']}, expected aarch64")
    for kind, unmeasured in (("tests", unmeasured_tests), ("gates", UNMEASURED_GATES)):
        found += [
            f"{kind[:-1]} {row['name']}: {row['verdict']}: {row['detail']}"
            for row in result[kind]
            if row["verdict"] != "PASS" and row["name"] not in unmeasured
        ]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every Pi folder; 0 when each gave on ARM what it gave where it was made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="default: exports/*/pi")
    parser.add_argument("--root", type=Path, default=ROOT / ".foresense" / "arm64")
    options = parser.parse_args(arguments)
    folders = options.folders or sorted(ROOT.glob("exports/*/pi"))
    lacking = missing()
    if not folders:
        lacking.append("a Pi folder in exports/*/pi: run `foresense export thermal` first")
    if lacking:
        say("cannot run on emulated ARM; missing here:\n" + "\n".join(f"  {what}" for what in lacking))
        return 1
    failed = []
    try:
        register()
        build_root(options.root)
        for folder in folders:
            install(options.root, folder / "requirements_pi.txt")
            result = smoke_test(options.root, folder)
            failed += [f"{folder}: {problem}" for problem in problems(result)]
            for name, facts in result["models"].items():
                if "problem" not in facts:
                    say(f"{folder}: {name}: differs from the golden vectors by {facts['golden_max_abs_error']:.3g}")
    except ArmError as error:
        failed.append(str(error))
    if failed:
        say("FAIL on emulated aarch64:\n" + "\n".join(f"  {line}" for line in failed))
        return 1
    say("PASS on emulated aarch64: loading, answers and determinism. Time, memory and quality: not measured there.")
    return 0


def say(text: str) -> None:
    """Lines for the person at the terminal, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise ArmError(f"{' '.join(words[:4])} ... failed with exit code {done.returncode}:\n{tail}")


if __name__ == "__main__":
    sys.exit(main())
