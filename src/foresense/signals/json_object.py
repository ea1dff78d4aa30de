"""JSON files that hold an object: what several readers of manifests and reports check alike."""

from pathlib import Path
from typing import Any

from foresense.signals.files import read_json


def read_object(path: Path) -> dict[str, Any]:
    """Read one JSON file with an object at its top.

    Raises:
        FileNotFoundError: with the path.
        ValueError: not UTF-8, not JSON, or something else than an object; the message names the file.
    """
    try:
        content = read_json(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error}); the file was damaged") from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply to be ours; the file was damaged or edited by hand") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(content).__name__}; it is another file")
    return content
