"""What a fuzz target is, and the few things that all of them need."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foresense.sources import Places, SourceError

#: What a source may answer with.
SOURCE = (SourceError, FileNotFoundError)


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        file: Path of the file that is damaged, below a folder of its own.
        whole: Its content when nothing is wrong.
        read: Reads it, given the folder; raises AssertionError where something was lost without a word.
        refuses: What it may raise; the message names the file or its folder.
        beside: Whole files that lie there, too.
        is_sealed: Cut off anywhere, the file must be refused; a file of lines may end after any of them.
    """

    file: str
    whole: Callable[[], bytes]
    read: Callable[[Path], object]
    refuses: tuple[type[Exception], ...]
    beside: Callable[[], Mapping[str, bytes]] = field(default=dict)
    is_sealed: bool = True


def in_memory(write: Callable[[io.BytesIO], object]) -> bytes:
    """What `write` writes into a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def as_json(content: object) -> bytes:
    return json.dumps(content).encode()


def places(folder: Path) -> Places:
    return Places(raw=folder, project=folder, kept=folder / "kept")
