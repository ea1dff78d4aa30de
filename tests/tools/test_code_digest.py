from pathlib import Path

import pytest

from tools.closure import Code
from tools.code_digest import ENTRIES, differences, digests, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of two rooms: each step calls `models.work`, through a re-export; `train` also a catalog."""
    files = {
        "steps/__init__.py": "",
        "models/__init__.py": "from foresense.models.work import work\n\n__all__ = ['work']\n",
        "models/work.py": "LIMIT = 3\n\n\ndef work(x):\n    '''Say.'''\n    return x + LIMIT\n\n\n"
        "def unused():\n    return 1\n",
        "models/catalog.py": "MODELS = {'net': 'foresense.models.net:build'}\n",
        "models/net.py": "def build():\n    return 1\n",
        "tracking/__init__.py": "def log():\n    return 1\n",
        "__init__.py": "",
    }
    body = "from foresense.models import work\n\n\ndef {0}(run):\n    return work(run)\n"
    files |= {f"steps/{step}.py": body.format(step) for step in ENTRIES}
    files["steps/train.py"] = (
        "from foresense.models import work\nfrom foresense.tracking import log\n\n\n"
        "def train(run):\n    from foresense.models.catalog import MODELS\n\n    log()\n    return work(MODELS)\n"
    )
    for name, text in files.items():
        path = tmp_path / "foresense" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def change(package: Path, file: str, old: str, new: str) -> list[str]:
    before = digests(package)
    path = package / "foresense" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return differences(before, digests(package))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("models/work.py", "    '''Say.'''\n", "    '''Say more.'''\n    # why\n"),
        ("models/work.py", "x + LIMIT", "(x\n            + LIMIT)"),
        ("models/work.py", "return 1", "return 2"),
        ("tracking/__init__.py", "return 1", "return 2"),
    ],
    ids=["a docstring and a comment", "layout", "what no step reaches", "what only writes reports"],
)
def test_this_makes_no_step_stale(package: Path, file: str, old: str, new: str) -> None:
    assert change(package, file, old, new) == []


def test_a_changed_line_makes_every_step_stale_that_reaches_it(package: Path) -> None:
    assert change(package, "models/work.py", "x + LIMIT", "x - LIMIT") == sorted(f"{step}: models" for step in ENTRIES)


def test_a_changed_constant_counts(package: Path) -> None:
    assert "export: models" in change(package, "models/work.py", "LIMIT = 3", "LIMIT = 4")


def test_what_a_catalog_names_counts_for_the_steps_that_reach_the_catalog(package: Path) -> None:
    assert change(package, "models/net.py", "return 1", "return 2") == ["train: models"]


def test_check_says_which_step_and_room_are_old(package: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / "code.json"
    assert main(["--source", str(package), "--file", str(file)]) == 0
    assert main(["--source", str(package), "--file", str(file), "--check"]) == 0
    change(package, "models/net.py", "return 1", "return 2")
    assert main(["--source", str(package), "--file", str(file), "--check"]) == 1
    assert "is old: train: models changed; run `make code`" in capsys.readouterr().err


def test_a_missing_step_is_named(package: Path) -> None:
    (package / "foresense" / "steps" / "export.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"no module foresense\.steps\.export"):
        digests(package)


def test_every_reached_name_of_the_real_package_lies_in_a_module_that_python_would_import() -> None:
    """Compared with grimp, which follows modules and not names: ours has to be part of it."""
    import grimp

    graph = grimp.build_graph("foresense", cache_dir=None)
    code = Code(ROOT / "src", "foresense")
    for step in ("ingest", "window"):
        imported = graph.find_upstream_modules(f"foresense.steps.{step}") | {f"foresense.steps.{step}"}
        named = {
            match for name in imported for match in code.paths if f'"{match}:' in code.paths[name].read_text()
        }  # catalogs
        for module in set(named):
            imported |= graph.find_upstream_modules(module) | {module}
        reached = {name for name, _ in code.reach((f"foresense.steps.{step}", step))}
        assert reached <= imported
        assert f"foresense.steps.{step}" in reached
