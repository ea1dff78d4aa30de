"""The folder names of this repository must not hide installed packages."""

import re
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import typer

from foresense.__main__ import app
from foresense.config import STEPS

ROOT = Path(__file__).parents[1]


def test_mlflow_folder_holds_no_python() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mlflow").rglob("*.py")}
    found -= {name for name in found if name.startswith("mlflow/artifacts/")}  # the code that artefacts travel with
    assert found == set(), f"mlflow/ is for server files only; move {sorted(found)} to src/foresense/tracking"


def test_mlflow_is_the_installed_package() -> None:
    mlflow = import_module("mlflow")
    assert mlflow.__file__ is not None, "mlflow is not installed: python found the folder mlflow/ instead"
    assert not Path(mlflow.__file__).is_relative_to(ROOT / "mlflow")


@pytest.mark.parametrize("folder", ["flows", "tasks", "tools"])
def test_no_module_here_takes_the_name_of_another_package(folder: str) -> None:
    taken = set(packages_distributions()) | set(sys.stdlib_module_names) | {"flows", "tasks", "tools"}
    names = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    assert names & taken == set()
    assert folder not in packages_distributions()


def test_the_lock_names_versions_and_no_place_to_get_them_from() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in packages if "==" not in line or "://" in line or "/" in line.partition(";")[0]] == []
    assert not any(line.startswith("torch==") for line in packages)


#: Of a distribution that nothing here imports: who needs it at this version.
NEEDED_BY_OTHERS = {
    "fastapi": "prefect",
    "onnxscript": "torch.onnx",
    "sqlalchemy": "prefect",
}


def test_every_core_dependency_is_imported_or_pinned_for_another() -> None:
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[=<>]", line)[0] for line in core}
    files = [path for folder in ("src", "flows", "tasks", "tools") for path in (ROOT / folder).rglob("*.py")]
    imported = set(
        re.findall(r"^\s*(?:from|import) (\w+)", "\n".join(path.read_text() for path in files), re.MULTILINE)
    )
    of_module = packages_distributions()
    used = {name.lower().replace("_", "-") for module in imported for name in of_module.get(module, [])}
    used |= {"ruamel.yaml"} if "ruamel" in imported else set()  # its distribution is named after a submodule
    assert names - used == set(NEEDED_BY_OTHERS)


def test_no_file_is_longer_than_400_lines() -> None:
    folders = ("src", "flows", "tasks", "tools", "tests", "benchmarks")
    long = {
        path.relative_to(ROOT).as_posix(): n
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if (n := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_every_test_that_the_security_page_names_is_there() -> None:
    named = re.findall(r"`((?:tests/[\w/]*)?test_\w+\.py)`", (ROOT / "docs" / "security.md").read_text())
    assert len(named) > 10
    assert [name for name in named if not any(ROOT.glob(name if "/" in name else f"tests/**/{name}"))] == []


def test_every_command_and_every_target_of_make_stands_in_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = set(typer.main.get_group(app).commands) - set(STEPS)
    assert len(targets) > 10
    assert len(commands) > 20
    assert [name for name in targets if f"`make {name}`" not in page and name != "help"] == []
    assert [name for name in sorted(commands) if not re.search(rf"`(foresense )?{name}\b", page)] == []
