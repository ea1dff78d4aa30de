"""The documents: links lead somewhere, and every number of a report stands in the glossary."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foresense.config import STEPS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Objects of a report whose keys are names: of machines, people, channels, candidates and the like.
OF_NAMES = frozenset({
    "against_default", "assets", "baselines", "block", "by_group", "candidates", "channel", "channels", "conditions",
    "features", "groups", "machines", "minus_best_rival", "missing", "models", "modules", "ms_per_window", "n_unseen",
    "outcomes", "people", "per_channel", "per_class", "random", "scores", "smoothed", "splits", "stages_ms", "studies",
    "test", "thread_sweep_ms", "train", "validation", "variants",
})  # fmt: skip
#: Those that hold nothing but names and how many, or what; of groups the same as of all.
ONLY_NAMES = frozenset({
    "by_class", "by_person", "digests", "f1", "f1_intervals", "labels", "minutes", "operators", "reasons", "refused",
    "season", "station", "tensor_types", "versions",
})  # fmt: skip


def headings(page: Path) -> set[str]:
    """Anchors as GitHub makes them: lower case, blanks to hyphens, no other signs."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    found = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def keys(content: Any, *, are_names: bool = False) -> Iterator[str]:
    """Every key that is no name of something; one with a hyphen, a blank or a capital letter is always a name."""
    if isinstance(content, list):
        for one in content:
            yield from keys(one)
    elif isinstance(content, dict):
        for key, value in content.items():
            if not are_names and re.fullmatch(r"[a-z][a-z0-9_]*", key):
                yield key
            if key not in ONLY_NAMES:
                yield from keys(value, are_names=key in OF_NAMES and not are_names)


@pytest.mark.parametrize("file", [*STEPS, "metrics_edge", "profile", "service", "smoke_test"])
def test_every_number_of_a_report_stands_in_the_glossary(file: str) -> None:
    words = set(re.findall(r"\w+", (ROOT / "docs" / "glossary.md").read_text()))
    reports = sorted((ROOT / "reports").glob(f"*/{file}.json"))
    found = {key: report.parent.name for report in reports for key in keys(json.loads(report.read_text()))}
    assert found
    assert {key: pipeline for key, pipeline in found.items() if key not in words} == {}
