"""Signals with physical meaning, real data where it lies beside the checkout, and no telemetry."""

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from foresense.__main__ import QUIET
from foresense.config import STEPS
from foresense.signals import Layout, Recording


def pytest_configure() -> None:
    os.environ.update(QUIET)
    data = Path(__file__).parents[2] / "shared" / "data"
    if data.is_dir():
        os.environ.setdefault("FORESENSE_DATA", str(data))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets; the test is skipped where there is none."""
    folder = os.environ.get("FORESENSE_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set FORESENSE_DATA to the folder that holds ett/ETTh1.csv")
    return Path(folder)


def _module_of(name: str) -> ModuleType:
    """A helper in tests/export/, which is no package."""
    from foresense.export.quiet import quieted

    path = Path(__file__).parent / "export" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"export_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with quieted():
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def workshop() -> ModuleType:
    """tests/export/workshop.py: makes windows and models as `window` and `train` would leave them."""
    return _module_of("workshop")


@pytest.fixture(scope="session")
def pi_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Pi folder with a float32 and an int8 file made by hand, and what a benchmark would say of their quality."""
    return Path(_module_of("tiny_tflite").make_pi_folder(tmp_path_factory.mktemp("pi")))


@pytest.fixture(scope="session")
def empty_mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an MLflow store that holds nothing: making one takes 5 s, copying it none."""
    from foresense.tracking import open_client

    root = tmp_path_factory.mktemp("mlflow-store")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        open_client(Layout(root, root))
    return root / "mlflow" / "mlflow.db"


@pytest.fixture
def mlflow_store(empty_mlflow_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of its own below `tmp_path`, as a project there finds it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = tmp_path / "mlflow" / "mlflow.db"
    store.parent.mkdir()
    return Path(shutil.copy(empty_mlflow_store, store))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty project with the digests of code that reports carry."""
    (tmp_path / "code.json").write_text(json.dumps({step: {"steps": "0" * 64} for step in STEPS}))
    return Layout(root=tmp_path, project=tmp_path)


@pytest.fixture(scope="session")
def machine_hours() -> Recording:
    """100 days of one machine: temperature follows the day, current follows the shifts of the week."""
    hours = np.arange(2400)
    rng = np.random.default_rng(0)
    day, working = np.sin(2 * np.pi * hours / 24), (hours // 24) % 7 < 5
    temp_c = 65 + 5 * day + 3 * working + 0.3 * rng.standard_normal(2400)
    current_a = 12 + 8 * working * (day > 0) + 0.2 * rng.standard_normal(2400)
    return Recording(
        asset="lathe-1-spindle",
        samples=np.stack([temp_c, current_a], axis=1),
        channels=("temp_body", "current"),
        units=("Cel", "A"),
        interval_s=3600.0,
        start=pd.Timestamp("2025-01-01", tz="UTC"),
    )
