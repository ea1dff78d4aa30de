"""Dead letters: what the schema or the store refused, with the reason, one JSON object a line, on the disk for good."""

import base64
import io
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from foresense.signals.folders import flush_folder


class LettersError(RuntimeError):
    """The file of dead letters cannot be written; the message says what to do."""


class Letter(NamedTuple):
    """One message that was refused, in whole or in part.

    Attributes:
        topic: Where it was published.
        received_ns: When it came, nanoseconds since 1970 UTC.
        payload: As it came.
        reasons: Why; for the first refused records of it.
        n_refused: Records of it that were refused.
        spool_id: Its id in the queue; None where there is no queue.
    """

    topic: str
    received_ns: int
    payload: bytes
    reasons: Sequence[str]
    n_refused: int
    spool_id: int | None


class Letters:
    """Lines in `<folder>/dead-letters.jsonl`; a full file is renamed to `dead-letters-<number>.jsonl` and kept.

    After a crash the messages of the last batch come again; those whose letter is in the file are left out.

    Attributes:
        path: The file that is written now.
        n_letters: Lines written since the start.
        n_refused: Records in them.
    """

    def __init__(self, folder: Path, *, spool_identity: int = 0, max_mib: float = 64.0) -> None:
        """Open the file; the beginning of a line that a crash cut off is removed (its message comes again).

        Args:
            folder: Where; made when missing.
            spool_identity: Which queue the ids belong to.
            max_mib: Size at which the file is renamed.

        Raises:
            LettersError: the file cannot be opened.
        """
        self.path = folder / "dead-letters.jsonl"
        self.n_letters = 0
        self.n_refused = 0
        self._spool = spool_identity
        self._max_bytes = int(max_mib * 2**20)
        self._file: io.FileIO | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._known = _ids(self.path, spool_identity)
        except OSError as error:
            raise self._problem(error) from error

    def write(self, letters: Sequence[Letter]) -> None:
        """Append letters; they are on the disk when this returns.

        Raises:
            LettersError: nothing was written, so what they are about must be kept.
        """
        new = [letter for letter in letters if letter.spool_id is None or letter.spool_id not in self._known]
        if not new:
            return
        try:
            file = self._opened()
            before = file.seek(0, os.SEEK_END)
            try:
                _write_all(file, b"".join(_line(letter, self._spool) for letter in new))
                os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, before)
                raise
        except OSError as error:
            self.close()
            raise self._problem(error) from error
        self._known |= {letter.spool_id for letter in new if letter.spool_id is not None}
        self.n_letters += len(new)
        self.n_refused += sum(letter.n_refused for letter in new)

    def forget(self, up_to_id: int) -> None:
        """Messages up to this id are gone from the queue and cannot come again."""
        self._known = {known for known in self._known if known > up_to_id}

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:  # what it could not write was said before
                raise self._problem(error) from error

    def _opened(self) -> io.FileIO:
        if self._file is not None and self._file.tell() >= self._max_bytes:
            self.close()
        if self._file is None:
            if self.path.exists() and self.path.stat().st_size >= self._max_bytes:
                self.path.rename(_free_name(self.path))
            self._file = io.FileIO(self.path, "ab")
            flush_folder(self.path.parent)
        return self._file

    def _problem(self, error: OSError) -> LettersError:
        return LettersError(f"{self.path}: cannot be written: {error}; make room, then it goes on by itself")


def _line(letter: Letter, spool: int) -> bytes:
    content: dict[str, Any] = {
        "received_utc": datetime.fromtimestamp(letter.received_ns / 1e9, UTC).isoformat(),
        "topic": letter.topic,
        "reason": "; ".join(letter.reasons),
        "n_refused": letter.n_refused,
        "spool": spool,
        "spool_id": letter.spool_id,
    }
    try:
        content["payload"] = letter.payload.decode()
    except UnicodeDecodeError:
        content["payload_base64"] = base64.b64encode(letter.payload).decode()
    return orjson.dumps(content) + b"\n"


def _write_all(file: io.FileIO, content: bytes) -> None:
    """A full disk takes a part and says so only at the next call."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _ids(path: Path, spool: int) -> set[int]:
    """Ids of the letters of this queue in the file; a last line without its end is cut off."""
    if not path.exists():
        return set()
    found: set[int] = set()
    end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            try:
                letter = orjson.loads(line)
            except orjson.JSONDecodeError:  # not ours, and not ours to judge
                continue
            if isinstance(letter, dict) and letter.get("spool") == spool and isinstance(letter.get("spool_id"), int):
                found.add(letter["spool_id"])
    if end < path.stat().st_size:
        os.truncate(path, end)
    return found


def _free_name(path: Path) -> Path:
    numbers = (found.stem.rpartition("-")[2] for found in path.parent.glob("dead-letters-*.jsonl"))
    taken = [int(number) for number in numbers if number.isdecimal()]
    return path.with_name(f"dead-letters-{max(taken, default=0) + 1:06d}.jsonl")
