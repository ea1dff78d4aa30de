"""What `ingest` keeps of the stores that it has read: below .foresense, and never needed."""

import shutil
from pathlib import Path

_PLACE = Path(".foresense") / "kept"


def forget_kept(root: Path) -> str:
    """Delete it where old samples of a store have become others, so that everything is asked for again.

    Args:
        root: Folder that holds data/ and .foresense/.

    Returns:
        A line for the person at the terminal; "" where there was nothing.
    """
    folder = root / _PLACE
    if not folder.exists():
        return ""
    shutil.rmtree(folder)
    return f"removed: {folder} (what ingest read of the store before; it asks for everything again)"
