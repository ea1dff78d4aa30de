import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from foresense.bench import lock

WAITER = """
import tempfile, sys
tempfile.tempdir = sys.argv[1]
from foresense.bench.lock import measuring
print("asking", flush=True)
with measuring():
    print("measuring", flush=True)
"""


def test_two_processes_never_measure_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with lock.measuring():
        assert lock.lock_path().parent == tmp_path
        other = subprocess.Popen([sys.executable, "-c", WAITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "asking\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=0.5)
    assert other.communicate(timeout=30)[0] == "measuring\n"
