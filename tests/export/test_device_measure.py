"""Parts of what runs on a device that no process of this machine can show: other runtimes, other systems."""

import types
from pathlib import Path

import pytest

from foresense.export.device import measure


@pytest.mark.parametrize(
    ("module", "found"),
    [("tflite_runtime.interpreter", "tflite-runtime"), ("tensorflow", "tensorflow")],
)
def test_an_older_runtime_serves_where_the_new_one_is_absent(
    monkeypatch: pytest.MonkeyPatch, module: str, found: str
) -> None:
    old = types.SimpleNamespace(__version__="9.9", Interpreter="I", lite=types.SimpleNamespace(Interpreter="I"))

    def import_module(name: str) -> object:
        if name in (module, "numpy"):
            return old
        raise ImportError(f"no {name}")

    def version(distribution: str) -> str:
        raise measure.importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(measure.importlib, "import_module", import_module)
    monkeypatch.setattr(measure.importlib.metadata, "version", version)
    assert measure.find_runtime() == (found, "9.9", "I")


def test_other_ways_to_memory_are_taken_where_linux_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(self: Path, encoding: str) -> str:
        raise FileNotFoundError(self)

    honest = measure.peak_rss_mib()
    monkeypatch.setattr(measure.Path, "read_text", absent)
    inherited = measure.peak_rss_mib()
    assert honest is not None
    assert inherited is not None
    assert inherited >= honest - 1  # ru_maxrss: at least this process's own peak

    class Windows:
        def Process(self) -> "Windows":  # noqa: N802
            return self

        def memory_info(self) -> "Windows":
            return self

        peak_wset = 5 * 2**20

    monkeypatch.setattr(measure.importlib, "import_module", lambda name: Windows())
    assert measure.peak_rss_mib() == 5

    def nothing(name: str) -> types.ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(measure.importlib, "import_module", nothing)
    assert measure.peak_rss_mib() is None


def test_percentiles_are_those_of_known_times() -> None:
    assert measure.percentiles([float(n) for n in range(1, 102)]) == {"p50": 51.0, "p95": 96.0, "p99": 100.0}
