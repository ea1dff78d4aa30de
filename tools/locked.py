"""What `make setup` installs: the packages of requirements.lock, and before them torch and uv by the Makefile."""

import re
from pathlib import Path

from packaging.requirements import Requirement

#: `NAME := package==1.2` or `install package==1.2` in the Makefile.
_PINNED = re.compile(r"(?:^\w+ := |install .*?)\b([a-z][\w-]*==[\w.]+)", re.MULTILINE)


def locked(root: Path) -> dict[str, str]:
    """Name to version of every package that this machine gets, by name; lines for other machines are left out.

    Args:
        root: Folder of requirements.lock and the Makefile.

    Raises:
        ValueError: a line is not `name==version`, with or without a marker; names the file and the line.
    """
    lines = (root / "requirements.lock").read_text().splitlines()
    lines += _PINNED.findall((root / "Makefile").read_text())
    found: dict[str, str] = {}
    for line in lines:
        requirement = Requirement(line)
        versions = [part.version for part in requirement.specifier if part.operator == "=="]
        if len(versions) != 1:
            raise ValueError(f"requirements.lock: expected lines like 'numpy==2.4.0', found {line!r}; run `make lock`")
        if requirement.marker is None or requirement.marker.evaluate():
            found[requirement.name] = versions[0]
    return dict(sorted(found.items()))
