"""The door of the engine: check what was asked, leave out what is finished, let an engine do the rest, tell of it."""

import logging
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import cast

from foresense.config import EngineConfig
from foresense.engine.calling import check_name
from foresense.engine.jobs import Job, Outcome
from foresense.engine.plan import Engine, Plan
from foresense.engine.records import Records

log = logging.getLogger(__name__)

ENGINES: dict[str, str] = {  # name -> module:function, imported when asked for
    "here": "foresense.engine.here:stream",
    "local": "foresense.engine.local:stream",
    "spark": "foresense.engine.spark:stream",
}


def start(
    function: str, jobs: Iterable[Job], *, settings: EngineConfig, records: Path, modules: Sequence[Path]
) -> Iterator[Outcome]:
    """See `foresense.engine.run_jobs`; what was asked is checked before the first outcome is waited for."""
    check_name(function)
    for module in modules:
        if not module.exists():
            raise FileNotFoundError(f"{module}: no such file or folder; `modules` names what {function} needs")
    each_once = _each_once(jobs)
    n_jobs = n_assets = None
    if isinstance(jobs, Sized):
        known = list(each_once)
        each_once, n_jobs, n_assets = iter(known), len(known), sum(len(job.assets) for job in known)
    engine = _engine(settings.name)
    return _told(engine, Plan(function, settings, Records(records), tuple(modules), n_jobs), each_once, n_assets)


def _told(engine: Engine, plan: Plan, jobs: Iterator[Job], n_assets: int | None) -> Iterator[Outcome]:
    of_all = "" if n_assets is None else f" of {n_assets}"
    with plan.records.held(), closing(engine(plan, plan.records.left(jobs))) as outcomes:
        for number, outcome in enumerate(outcomes, 1):
            _tell(f"{number}{of_all}: {outcome.asset} {outcome.status}", outcome)
            yield outcome


def _tell(begin: str, outcome: Outcome) -> None:
    when = "before, not run again" if outcome.resumed else f"in {outcome.seconds:.1f} s"
    why = f": {outcome.reason}" if outcome.reason else ""
    log.log(logging.WARNING if outcome.status == "failed" else logging.INFO, "%s %s%s", begin, when, why)


def _each_once(jobs: Iterable[Job]) -> Iterator[Job]:
    seen: set[str] = set()
    for job in jobs:
        if twice := sorted(seen.intersection(job.assets)):
            raise ValueError(f"asset {twice[0]!r} is in two jobs; every asset has one outcome")
        seen.update(job.assets)
        yield job


def _engine(name: str) -> Engine:
    module, _, attribute = ENGINES[name].partition(":")
    return cast("Engine", getattr(import_module(module), attribute))
