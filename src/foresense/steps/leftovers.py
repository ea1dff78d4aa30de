"""What a killed step leaves beside its outputs: half a folder under a hidden name, which nothing reads."""

import logging
import re
import shutil
from pathlib import Path

from foresense.signals import Paths

_log = logging.getLogger(__name__)
#: Step -> the folder that it writes beside its place and then puts there, by its name in `Paths`.
WRITES = {"ingest": "recordings", "window": "windows", "features": "features", "train": "models", "export": "exports"}
_ENDING = re.compile(r"[a-z0-9_]{8}")  # what `tempfile` makes unique with


def clear_leftovers(paths: Paths, step: str) -> list[Path]:
    """Remove what earlier runs of `step` began and did not end; whoever calls holds the step's lock.

    Args:
        paths: Folders of the pipeline.
        step: Name of the step.

    Returns:
        What was removed, told as a warning, too.
    """
    places = [paths.reports / f"{step}.json"]
    places += [getattr(paths, WRITES[step])] if step in WRITES else []
    found = [
        path
        for place in places
        for path in sorted(place.parent.glob(f".{place.name}.*"))
        if _ENDING.fullmatch(path.name.removeprefix(f".{place.name}."))
    ]
    for path in found:
        _log.warning("%s: left by a run that was killed; removed", path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return found
