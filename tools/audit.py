"""Known vulnerabilities of every locked package, by pip-audit; one that nobody could ask about is not clean.

`make audit` runs it where a vulnerability service answers. pip-audit itself is fetched by uv for the run and is in no
lock. Where the service does not know a package, pip-audit says "No known vulnerabilities found" and ends with 0; this
ends with 2. A finding that docs/security.md names by its id is explained; any other ends the run with 1.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.locked import locked

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/security.md"
PIP_AUDIT = "pip-audit==2.10.1"
CLEAN, FOUND, NOT_ASKED = 0, 1, 2


class NotAskedError(RuntimeError):
    """No vulnerability service answered; the message has its words."""


@dataclass(frozen=True)
class Finding:
    """One vulnerability of one locked package: its ids (the same one has several) and the versions that mend it."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def explained(self, page: str) -> bool:
        """Whether the page names one of the ids, in full."""
        return not set(re.findall(r"[\w-]+", page)).isdisjoint(self.ids)


def findings(report: Mapping[str, Any]) -> tuple[list[Finding], list[str]]:
    """What pip-audit found, and the packages that it could not ask about.

    Args:
        report: What `pip-audit --format json` writes.
    """
    packages = report["dependencies"]
    found = [
        Finding(entry["name"], entry["version"], (one["id"], *one["aliases"]), tuple(one["fix_versions"]))
        for entry in packages
        for one in entry.get("vulns", [])
    ]
    return found, [entry["name"] for entry in packages if "skip_reason" in entry]


def ask(packages: Mapping[str, str], command: Sequence[str]) -> dict[str, Any]:
    """The report of pip-audit about these versions.

    Args:
        packages: Name to version.
        command: What starts pip-audit.

    Raises:
        NotAskedError: it did not run, or no service answered.
    """
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "locked.txt")
        lock.write_text("".join(f"{name}=={version}\n" for name, version in packages.items()))
        words = ["--format", "json", "--aliases", "on", "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        done = subprocess.run(
            [*command, *words, "--requirement", str(lock)], capture_output=True, text=True, check=False
        )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise NotAskedError((done.stderr.strip().splitlines() or ["it said nothing"])[-1]) from None
    return report


def verdict(found: Sequence[Finding], skipped: Sequence[str], n_packages: int, page: str) -> tuple[int, str]:
    """Exit code and words for a person: 0 all asked and clean or explained, 1 something new, 2 not asked about all."""
    lines = []
    for finding in found:
        state = f"explained in {PAGE}" if finding.explained(page) else f"NOT explained in {PAGE}"
        fixed = f"fixed in {', '.join(finding.fixed_in)}" if finding.fixed_in else "no version mends it"
        lines.append(f"{finding.package} {finding.version}: {' = '.join(finding.ids)}; {fixed}; {state}")
    new = sum(not finding.explained(page) for finding in found)
    lines.append(f"{n_packages - len(skipped)} of {n_packages} packages asked about, {len(found)} findings, {new} new")
    if skipped:
        some = ", ".join(skipped[:5]) + (" ..." if len(skipped) > 5 else "")
        lines.append(
            f"not asked about: {some}; that is no verdict on them: run `make audit` where a public vulnerability "
            "service can be reached"
        )
    if new:
        lines.append(f"raise the version in pyproject.toml and run `make lock`, or explain the id in {PAGE}")
    return FOUND if new else NOT_ASKED if skipped else CLEAN, "\n".join(lines)


def main() -> int:
    """Ask about every locked package; returns the exit code."""
    packages = locked(ROOT)
    uv = str(Path(sys.executable).with_name("uv"))
    try:
        report = ask(packages, [uv, "tool", "run", "--quiet", PIP_AUDIT])
    except NotAskedError as error:
        sys.stderr.write(
            f"no vulnerability service could be asked ({error}): nothing is said about the {len(packages)} packages; "
            "run `make audit` where the package index and its vulnerability service can be reached\n"
        )
        return NOT_ASKED
    code, words = verdict(*findings(report), len(packages), (ROOT / PAGE).read_text())
    sys.stdout.write(f"{words}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
