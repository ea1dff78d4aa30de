"""The module nights.py as a fixture: tests are no package."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def nights() -> ModuleType:
    """Makes what a night leaves for promotion: windows, models, reports."""
    path = Path(__file__).parent / "nights.py"
    spec = importlib.util.spec_from_file_location("steps_nights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
