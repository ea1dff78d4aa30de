"""A stand-in for pip-audit that writes what pip-audit 2.10.1 wrote; no test asks a service."""

import json
import sys
from pathlib import Path

import pytest

from tools import audit
from tools.audit import CLEAN, FOUND, NOT_ASKED, Finding, NotAskedError, ask, findings, verdict

#: The shape was written by pip-audit 2.10.1 itself; the vulnerability is one that has no mended version.
REPORT = {
    "dependencies": [
        {"name": "numpy", "version": "2.4.6", "vulns": []},
        {
            "name": "diskcache",
            "version": "5.6.3",
            "vulns": [{"id": "GHSA-w8v5-vhqr-4h9v", "fix_versions": [], "aliases": ["CVE-2025-69872"]}],
        },
        {"name": "private", "skip_reason": "Dependency not found on PyPI and could not be audited: private (1.0)"},
    ],
    "fixes": [],
}
DISKCACHE = Finding("diskcache", "5.6.3", ("GHSA-w8v5-vhqr-4h9v", "CVE-2025-69872"), ())
URLLIB3 = Finding("urllib3", "2.0.0", ("PYSEC-2023-192",), ("2.0.6", "2.1"))


def stand_in(folder: Path, code: str) -> list[str]:
    script = folder / "pip_audit.py"
    script.write_text(code)
    return [sys.executable, str(script)]


def test_findings_and_packages_that_were_not_asked_about_are_told_apart() -> None:
    assert findings(REPORT) == ([DISKCACHE], ["private"])


def test_pip_audit_gets_every_locked_version(tmp_path: Path) -> None:
    code = (
        "import json, sys; from pathlib import Path; words = sys.argv[1:]; "
        "lock = Path(words[words.index('--requirement') + 1]).read_text(); "
        "print(json.dumps({'words': words, 'lock': lock})); "
        "sys.exit(1)"  # as pip-audit does when it found something
    )
    said = ask({"numpy": "2.4.6", "torch": "2.13.0"}, stand_in(tmp_path, code))
    assert said["lock"] == "numpy==2.4.6\ntorch==2.13.0\n"
    assert {"--no-deps", "--disable-pip"} <= set(said["words"])


def test_a_service_that_does_not_answer_is_not_a_clean_bill(tmp_path: Path) -> None:
    with pytest.raises(NotAskedError, match=r"^Failed to resolve the service$"):
        ask({}, stand_in(tmp_path, "import sys; sys.exit('Traceback\\nFailed to resolve the service')"))
    with pytest.raises(NotAskedError, match="it said nothing"):
        ask({}, stand_in(tmp_path, ""))


@pytest.mark.parametrize(
    ("found", "skipped", "page", "code", "words"),
    [
        ([], [], "", CLEAN, "2 of 2 packages asked about, 0 findings, 0 new"),
        ([DISKCACHE], [], "(CVE-2025-69872): ours", CLEAN, "no version mends it; explained in docs/security.md"),
        ([DISKCACHE], [], "CVE-2025-698720", FOUND, "NOT explained in docs/security.md"),
        ([URLLIB3], [], "", FOUND, "urllib3 2.0.0: PYSEC-2023-192; fixed in 2.0.6, 2.1; NOT explained"),
        ([URLLIB3], [], "", FOUND, "raise the version in pyproject.toml and run `make lock`, or explain the id"),
        ([], ["a", "b"], "", NOT_ASKED, "not asked about: a, b; that is no verdict on them: run `make audit` where"),
        ([URLLIB3], ["a"], "", FOUND, "1 of 2 packages asked about, 1 findings, 1 new"),
    ],
)
def test_the_verdict(found: list[Finding], skipped: list[str], page: str, code: int, words: str) -> None:
    said, text = verdict(found, skipped, 2, page)
    assert said == code
    assert words in text


@pytest.mark.parametrize(
    ("answer", "words"),
    [(json.dumps(REPORT), "not asked about: private"), ("no route", "nothing is said about the 3 packages")],
)
def test_the_command_says_what_it_could_not_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, words: str
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "security.md").write_text("`diskcache`, CVE-2025-69872: only DVC's own folder")
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    uv.chmod(0o755)
    monkeypatch.setattr(audit, "ROOT", tmp_path)
    monkeypatch.setattr(audit, "locked", lambda root: {"numpy": "2.4.6", "diskcache": "5.6.3", "private": "1.0"})
    monkeypatch.setattr(audit.sys, "executable", str(tmp_path / "bin" / "python"))
    assert audit.main() == NOT_ASKED
    said = capsys.readouterr()
    assert words in said.out + said.err
