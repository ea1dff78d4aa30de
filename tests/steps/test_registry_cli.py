"""`foresense promote`, `rollback`, `versions`: what a person reads, and what is recorded."""

import sys
from getpass import getuser
from pathlib import Path

import pytest

from foresense.__main__ import main
from foresense.registry import open_registry, seal_version
from foresense.registry.folder import PARTS
from foresense.signals import Layout


def register(layout: Layout, text: str, *, asset: str = "lathe-1", pipeline: str = "plant") -> None:
    folder = layout.root / "made" / f"{pipeline}-{asset}-{text}"
    for name in (*PARTS, "reference.json"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    seal_version(folder, pipeline=pipeline, asset=asset, data_sha256="ab" * 32, trained_until_s=1_700_000_000)
    open_registry(layout, pipeline).register(folder)


@pytest.fixture
def project(layout: Layout, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("FORESENSE_PROJECT", str(layout.root))
    monkeypatch.setenv("FORESENSE_DEBUG", "")
    (layout.root / "params.yaml").touch()
    for text in ("v1", "v2", "v3"):
        register(layout, text)
    return layout


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["foresense", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.mark.slow
def test_a_person_promotes_overrules_a_refusal_and_goes_back(project, monkeypatch, capsys) -> None:
    registry = open_registry(project, "plant")
    assert call(monkeypatch, "promote", "lathe-1", "--version", "1", "--reason", "first") == 0
    assert "plant/lathe-1: version 1 is the champion (before: none)" in capsys.readouterr().out
    registry.refuse("lathe-1", 3, who="night", reason="no better than the champion", night="2026-03-04")

    assert call(monkeypatch, "promote", "lathe-1", "--reason", "bearing replaced") == 0
    shown = capsys.readouterr()
    assert "OVERRULES THE REFUSAL of 2" in shown.err
    assert "by night: no better than the champion" in shown.err
    assert "version 3 is the champion (before: 1)" in shown.out
    event = registry.history("lathe-1")[-1]
    assert (event.who, event.reason, event.overrules) == (getuser(), "bearing replaced", "no better than the champion")
    assert call(monkeypatch, "promote", "lathe-1", "--reason", "again") == 1
    assert "plant/lathe-1: version 3 is the champion already" in capsys.readouterr().err

    assert call(monkeypatch, "rollback", "lathe-1", "--reason", "false alarms") == 0
    assert "version 1 is the champion again (before: 3)" in capsys.readouterr().out
    assert call(monkeypatch, "rollback", "lathe-1", "--reason", "more of them") == 1
    assert "no champion to go back to (version 1 is the first)" in capsys.readouterr().err

    assert call(monkeypatch, "versions", "lathe-1") == 0
    told = " ".join(capsys.readouterr().out.split())
    for words in ("rollback", "false alarms", "bearing replaced; OVERRULES: no better than", "champion", "2026-03-04"):
        assert words in told
    registry.client.delete_model_version("plant.lathe-1", "3")
    assert call(monkeypatch, "versions", "lathe-1") == 0
    assert "3 (collected)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_what_is_missing_or_ambiguous_is_said(project, monkeypatch, capsys) -> None:
    assert call(monkeypatch, "promote", "lathe-1") == 2
    assert "Missing option '--reason'" in capsys.readouterr().err
    assert call(monkeypatch, "promote", "lathe-1", "--reason", " ") == 1
    assert "--reason: empty; say in words why" in capsys.readouterr().err
    assert call(monkeypatch, "rollback", "lathe-1", "--reason", "x") == 1
    assert "no champion to go back to (there is none now)" in capsys.readouterr().err
    assert call(monkeypatch, "versions", "lath-1") == 1
    assert "asset 'lath-1' has no version in any pipeline; did you mean 'lathe-1'?" in capsys.readouterr().err
    assert call(monkeypatch, "promote", "lathe-1", "--version", "7", "--reason", "x") == 1
    assert "plant/lathe-1: no version 7 (versions: 1, 2, 3)" in capsys.readouterr().err

    register(project, "v1", pipeline="other")
    assert call(monkeypatch, "versions", "lathe-1") == 1
    assert "asset 'lathe-1' is in several pipelines: other, plant; name one with --pipeline" in capsys.readouterr().err
    assert call(monkeypatch, "versions", "lathe-1", "--pipeline", "other") == 0
    assert "other/lathe-1: versions" in capsys.readouterr().out
    assert call(monkeypatch, "versions", "lathe-1", "--pipeline", "third") == 1
    shown = capsys.readouterr().err
    assert "asset 'lathe-1' has no version in pipeline 'third'; `foresense night promote third` registers" in shown


@pytest.mark.parametrize("words", [("versions", "lathe-1"), ("rollback", "lathe-1", "--reason", "x"), ("gc",)])
def test_outside_of_a_project_nothing_is_made(words: tuple[str, ...], tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FORESENSE_PROJECT", str(tmp_path))
    monkeypatch.setenv("FORESENSE_DEBUG", "")
    assert call(monkeypatch, *words) == 1
    assert capsys.readouterr().err.endswith("params.yaml: no such file; run from the project root, or pass --project\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_gc_exits_1_only_where_the_budget_does_not_hold(project, monkeypatch, capsys) -> None:
    assert call(monkeypatch, "gc") == 0
    assert "nothing to free" in capsys.readouterr().out
    assert call(monkeypatch, "gc", "--keep-gib", "0", "--dry-run") == 0
    assert "dry run: nothing was deleted" in capsys.readouterr().out
    assert call(monkeypatch, "gc", "--keep-gib", "0") == 1
    shown = capsys.readouterr().out
    assert shown.index("version 1 of plant/lathe-1") < shown.index("version 2 of plant/lathe-1")
    assert "OVER THE BUDGET" in shown
    assert [one.number for one in open_registry(project, "plant").versions("lathe-1")] == [3]


@pytest.mark.slow
def test_a_damaged_store_is_one_message(project, monkeypatch, capsys) -> None:
    (project.tracking / "mlflow.db").write_bytes(b"not a database" * 100)
    assert call(monkeypatch, "versions", "lathe-1") == 1
    shown = capsys.readouterr().err
    assert shown.startswith("foresense: ")
    assert "mlflow.db" in shown
