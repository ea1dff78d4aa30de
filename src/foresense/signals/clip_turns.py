"""Clips with all the ways in which they are split: each turn has its own training, validation and test part."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foresense.signals.clips import Clips, open_clips, write_clips
from foresense.signals.files import read_json, write_json
from foresense.signals.labelled import write_array

_FILE = "turns.json"


@dataclass(frozen=True, eq=False)
class ClipTurns:
    """Clips, and their parts in every turn.

    Attributes:
        clips: With the parts of the first turn.
        splits: (n_turns,): the split that each turn belongs to; turns of one split follow each other.
        parts: (n_turns, n_clips), int64: as `Clips.parts`.
    """

    clips: Clips
    splits: tuple[str, ...]
    parts: np.ndarray

    def turn(self, number: int) -> Clips:
        """The clips with the parts of one turn."""
        return replace(self.clips, parts=self.parts[number])

    def turns_of(self, split: str) -> list[int]:
        """Numbers of the turns of a split."""
        return [number for number, name in enumerate(self.splits) if name == split]

    @property
    def names(self) -> list[str]:
        """Of the splits, in order; the first one chooses."""
        return list(dict.fromkeys(self.splits))


def write_turns(folder: Path, splits: Sequence[str], turns: Sequence[Clips]) -> None:
    """Write the same clips as every turn splits them; samples are written once. `folder` is created."""
    write_clips(folder, turns[0])
    write_array(folder / "turn_parts.npy", np.stack([clips.parts for clips in turns]))
    write_json(folder / _FILE, {"schema_version": 1, "splits": list(splits)})


def open_turns(folder: Path) -> ClipTurns:
    """Open what `write_turns` wrote, samples memory-mapped.

    Raises:
        FileNotFoundError: the step `window` has not finished.
    """
    clips = open_clips(folder)
    parts = np.load(folder / "turn_parts.npy", allow_pickle=False)
    return ClipTurns(clips, tuple(read_json(folder / _FILE)["splits"]), parts)
