"""Names in a folder that survive a power cut."""

import os
from pathlib import Path


def flush_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk: a file that was renamed there is found under its new name.

    Raises:
        OSError: the folder is not there, or the disk does not let us.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
