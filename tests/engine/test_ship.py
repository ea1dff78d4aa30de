import subprocess
import sys
import zipfile
from pathlib import Path

from foresense.engine.ship import extra_places, shipped, unpacked


def package(folder: Path) -> Path:
    (folder / "pkg" / "__pycache__").mkdir(parents=True)
    (folder / "pkg" / "__init__.py").write_text("X = 1\n")
    (folder / "pkg" / "table.csv").write_text("a,b\n")
    (folder / "pkg" / "__pycache__" / "x.pyc").write_bytes(b"old")
    return folder / "pkg"


def test_a_package_is_a_zip_of_the_same_name_for_the_same_code(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    first = shipped(package(tmp_path / "one"), into)
    assert shipped(package(tmp_path / "two"), into) == first
    assert zipfile.ZipFile(first).namelist() == ["pkg/__init__.py", "pkg/table.csv"]
    (tmp_path / "two" / "pkg" / "__init__.py").write_text("X = 2\n")
    assert shipped(tmp_path / "two" / "pkg", into) != first
    assert sorted(path.suffix for path in into.iterdir()) == [".zip", ".zip"]


def test_a_zip_comes_out_as_it_went_in_and_can_be_imported(tmp_path: Path) -> None:
    folder = unpacked(shipped(package(tmp_path), tmp_path), tmp_path / "out")
    assert (folder / "pkg" / "table.csv").read_text() == "a,b\n"
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import pkg; sys.exit(pkg.X - 1)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_file_travels_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "one.py").touch()
    assert shipped(tmp_path / "one.py", tmp_path) == tmp_path / "one.py"


def test_extra_places_are_those_that_another_start_of_the_interpreter_would_lack(tmp_path: Path, monkeypatch) -> None:
    bare = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(*sys.path, sep='\\n')"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "missing"), *bare])
    brought = {Path(place) for place in bare if "python" in Path(place).parent.name or "site-packages" in place}
    assert extra_places()[0] == tmp_path
    assert not brought & set(extra_places())
    assert tmp_path / "missing" not in extra_places()
