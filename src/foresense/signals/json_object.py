"""JSON files that hold an object: what several readers of manifests and reports check alike."""

from pathlib import Path
from typing import Any

from foresense.signals.files import read_json


def read_object(path: Path) -> dict[str, Any]:
    """Read one JSON file with an object at its top.

    Raises:
        FileNotFoundError: with the path.
        ValueError: not JSON in UTF-8, or something else than an object; the message names the file.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(content).__name__}; it is another file")
    return content
