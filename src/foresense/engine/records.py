"""What became of each asset, on the disk: one file an asset, complete or absent."""

import fcntl
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from foresense.engine.jobs import Job, Outcome, Work, outcome_from_json
from foresense.signals import read_json, write_json

SCHEMA_VERSION = 1
#: Capital letters are not plain: two names that differ only in case would be one file on some file systems.
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")

log = logging.getLogger(__name__)


class RecordsBusyError(RuntimeError):
    """Another run writes the same records."""


def file_stem(asset: str) -> str:
    """A file name for any name of an asset: short, safe everywhere, another one for every other asset.

    A plain name (lower case) is its own; every other keeps what can be read of it and gets `~` and a digest, and `~`
    is in no plain name.
    """
    if _PLAIN.fullmatch(asset):
        return asset
    legible = re.sub(r"[^A-Za-z0-9_-]+", "-", asset)[:60].strip("-")
    return f"{legible}~{hashlib.sha256(asset.encode()).hexdigest()[:16]}"


class Records:
    """The records of one folder.

    Args:
        folder: Where they lie; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def path(self, asset: str) -> Path:
        """The record of an asset, `<asset>.json`."""
        return self.folder / f"{file_stem(asset)}.json"

    def log_path(self, asset: str) -> Path:
        """What the worker printed in the last try of an asset, `<asset>.log`."""
        return self.folder / f"{file_stem(asset)}.log"

    def read(self, asset: str) -> Outcome | None:
        """The last outcome of an asset; None where there is none, or where the file is damaged (said in the log)."""
        path = self.path(asset)
        try:
            content = read_json(path)
            version = content.pop("schema_version", None) if isinstance(content, dict) else None
            outcome = outcome_from_json(content)
            if version != SCHEMA_VERSION:
                raise ValueError(f"schema_version {version}, this program reads {SCHEMA_VERSION}")
            if outcome.asset != asset:
                raise ValueError(f"it is of the asset {outcome.asset!r}")
        except FileNotFoundError:
            return None
        except ValueError as error:
            log.warning("record of %s counts as not there: %s: %s", asset, path, error)
            return None
        return replace(outcome, log=str(self.folder / outcome.log) if outcome.log else None)

    def write(self, outcome: Outcome) -> None:
        """Write the record of an outcome; the name of its log is kept relative to this folder."""
        name = Path(outcome.log).name if outcome.log else None
        content = {"schema_version": SCHEMA_VERSION, **outcome.as_json(), "log": name}
        write_json(self.path(outcome.asset), content)

    def new_log(self) -> Path:
        """A fresh, empty file to print into while a job runs."""
        self._running.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(suffix=".log", dir=self._running)
        os.close(handle)
        return Path(path)

    def drop_log(self, written: Path, assets: Iterable[str]) -> None:
        """Remove `written`, and the logs of earlier tries of these assets with it."""
        written.unlink()
        for asset in assets:
            self.log_path(asset).unlink(missing_ok=True)

    def keep_log(self, written: Path, assets: Iterable[str]) -> None:
        """Make `written` the log of each of these assets; it is gone afterwards. An old log is replaced as a whole."""
        for asset in assets:
            beside = written.with_name(f"{written.name}.{file_stem(asset)}")
            shutil.copyfile(written, beside)
            os.replace(beside, self.log_path(asset))
        written.unlink()

    def left(self, jobs: Iterable[Job]) -> Iterator[Outcome | Work]:
        """Of each job the outcomes that are known, then the work that is left of it.

        Known is an asset whose record has the job's digest and says `success` or `skipped`.
        """
        for job in jobs:
            finished, pairs, tries = set[str](), [], []
            for asset, digest in zip(job.assets, job.digests, strict=True):
                found = self.read(asset)
                same = found if found is not None and found.digest == digest else None
                if same is not None and same.status != "failed":
                    finished.add(asset)
                    yield replace(same, resumed=True)
                else:
                    pairs.append((asset, digest))
                    tries.append(same.n_tries if same is not None else 0)
            if pairs:
                assets, digests = zip(*pairs, strict=True)
                yield Work(Job(assets, digests, job.arguments), tuple(tries))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for one run; the kernel lets go of it however this process ends.

        Raises:
            RecordsBusyError: another run holds it; says which process.
        """
        self._running.mkdir(parents=True, exist_ok=True)
        with (self._running / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise RecordsBusyError(
                    f"{self.folder}: another run writes these records, process {file.read().strip() or 'unknown'}; "
                    "wait for it, or stop it"
                ) from error
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            for stale in self._running.glob("*.log*"):  # of a run that was killed
                stale.unlink(missing_ok=True)
            yield

    @property
    def _running(self) -> Path:
        return self.folder / ".running"
