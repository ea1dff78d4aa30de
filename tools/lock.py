"""Write requirements.lock: plain `name==version` lines for Python 3.11 and 3.12, no index address, torch left out.

torch is installed first and by pip, so that a machine's own pip configuration (a local wheel, a CPU index) is honoured.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: xdsl 0.28 asks for typing-extensions<4.13 and works with the version that pydantic needs.
OVERRIDE = "typing-extensions>=4.14.1\n"
LEFT_OUT = re.compile(r"^(nvidia-|cuda-|torch==|triton==|pywin32)")


def locked(compiled: str) -> str:
    """What the resolver wrote, without torch and its CUDA parts, and without local version suffixes."""
    lines = (line.replace("+cpu", "") for line in compiled.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not LEFT_OUT.match(line))


def main() -> int:
    """Resolve and write; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        override, output = Path(folder, "override.txt"), Path(folder, "lock.txt")
        override.write_text(OVERRIDE)
        output.write_text((ROOT / "requirements.lock").read_text())  # uv keeps what stands there and still fits
        command = [
            str(Path(sys.executable).with_name("uv")),
            "pip",
            "compile",
            "pyproject.toml",
            "--all-extras",
            "--universal",
        ]
        command += ["--python-version", "3.11", "--override", str(override), "--no-header", "--no-annotate", "-q"]
        subprocess.run([*command, "-o", str(output)], cwd=ROOT, check=True)
        (ROOT / "requirements.lock").write_text(locked(output.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
