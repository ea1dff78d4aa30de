"""docs/research.md names code that is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_paper_is_mapped_to_code_that_is_there() -> None:
    found = re.findall(r"`([\w/]+\.py):(\w+)`", (ROOT / "docs" / "research.md").read_text())
    assert len(found) > 15
    for path, name in found:
        tree = ast.parse((ROOT / "src" / "foresense" / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}, path
