"""Run one function over many assets: engines `here`, `local` and `spark`, one record an asset, resumed by digest.

Imports nothing heavy: worker processes are started below this module, and whatever it imports would be their memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foresense.engine.jobs import Job, Outcome, Skipped, SkippedError, Status

if TYPE_CHECKING:
    from foresense.config import EngineConfig

__all__ = ["Job", "Outcome", "Skipped", "SkippedError", "Status", "forget_record", "run_jobs"]


def run_jobs(
    function: str, jobs: Iterable[Job], *, settings: "EngineConfig", records: Path, modules: Sequence[Path] = ()
) -> Iterator[Outcome]:
    """Call `function` for every job, and give the outcome of each asset as soon as it is known.

    Exactly one outcome comes for every asset, whatever becomes of it: what a function raises, a death of its process
    and a limit that it breaks are outcomes. Each is also a file in `records`, so that a later start with equal digests
    runs only what is left; the records of assets that are not asked for stay as they are. A job of several assets that
    does not return is taken apart into jobs of one asset. Closing the iterator, or an exception at the caller's, ends
    every worker.

    Args:
        function: "module:name", called as `function(assets, arguments)` with the assets as a tuple of names. It gives
            a dictionary from each asset to a small JSON object or to `Skipped(reason)`; for a job of one asset it may
            raise SkippedError instead. Big results it writes itself, into folders that `arguments` names; paths
            there must be absolute, because a Spark worker has another current folder.
        jobs: A sequence, or anything that can be iterated; it is read no faster than jobs are started (engine
            `spark`: read to its end, Spark keeps the queue).
        settings: Which engine, how many workers, which limits.
        records: Folder of the records and logs; engine `spark` needs it on storage that all its workers share.
        modules: Python files or package folders outside of foresense that `function` needs; they travel to the
            workers.

    Raises:
        ValueError: `function` is not "module:name", or an asset is in two jobs.
        FileNotFoundError: one of `modules` is not there.
        RecordsBusyError: another run holds `records`.
        ImportError: engine `spark` without PySpark; names the extra.
    """
    from foresense.engine.run import start

    return start(function, jobs, settings=settings, records=records, modules=modules)


def forget_record(records: Path, asset: str) -> None:
    """Remove the record of one asset, where there is one: the next run calls the function for it again."""
    from foresense.engine.records import Records

    Records(records).path(asset).unlink(missing_ok=True)
