"""Artefacts, made once: one with every format of a small PatchTST, one quick one of a DLinear to break in tests."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Converting to every format takes half a minute."""
    for item in items:
        if "full_artefact" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def build(workshop: ModuleType) -> Callable[..., Path]:
    """Build one artefact below a folder and give its path."""
    from foresense.export.artefact import Origin, build_artefact, calibration_contexts
    from foresense.export.quiet import quieted
    from foresense.export.source import ExportSource
    from foresense.models import load_model
    from foresense.signals import open_windows, read_json

    def build(root: Path, candidate: object, variants: tuple[str, ...]) -> Path:
        with quieted():
            layout = workshop.make_project(root, candidate)
            paths = layout.of("plant")
            model = load_model(paths.models / "lathe-1")
        windows = open_windows(paths.windows / "lathe-1")
        folder = paths.exports / "lathe-1"
        folder.mkdir(parents=True)
        (root / "scratch").mkdir()
        calibration = {"context": calibration_contexts(windows, 12)}
        source = ExportSource(model=model, calibration=calibration, output="forecast", scratch=root / "scratch")
        evaluation = read_json(paths.models / "lathe-1" / "evaluation.json")
        origin = Origin("plant", "ab" * 32, evaluation["model_sha256"], evaluation)
        build_artefact(folder, source, windows, origin, variants=variants, n_golden=3)
        return folder

    return build


@pytest.fixture(scope="session")
def full_artefact(tmp_path_factory: pytest.TempPathFactory, workshop: ModuleType, build: Callable[..., Path]) -> Path:
    from foresense.export import FORMATS

    return build(tmp_path_factory.mktemp("full"), workshop.PATCHTST, tuple(FORMATS))


@pytest.fixture(scope="session")
def quick_artefact(tmp_path_factory: pytest.TempPathFactory, workshop: ModuleType, build: Callable[..., Path]) -> Path:
    return build(tmp_path_factory.mktemp("quick"), workshop.DLINEAR, ("onnx-float32",))


@pytest.fixture
def artefact(quick_artefact: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(quick_artefact, tmp_path / "artefact"))
