"""`foresense gc`: files of MLflow and DVC within a disk budget, never what a champion or a kept night needs."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foresense.registry.collect import Collectable, bytes_of, collectables, delete, find_needed
from foresense.registry.store import fetched_versions
from foresense.signals import Layout

GIB = 2**30
NIGHT_NAME = re.compile(r"^night-(\d{4}-\d{2}-\d{2})")
#: What DVC keeps: the workspace's own dvc.lock, tips of branches, tags, and every experiment that is left.
KEPT_BY_DVC = ("--workspace", "--all-branches", "--all-tags", "--all-experiments")
NIGHTS_AT_ONCE = 7  # each `dvc gc` reads every revision: not one for each night

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Budget:
    """How much may lie on the disk, and what stays whatever that is.

    Attributes:
        keep_gib: MLflow's files, fetched versions and DVC's cache together.
        keep_nights: Newest nights whose experiments and runs are never touched.
        depth: Champions before the one now that a rollback may go back to.
    """

    keep_gib: float = 20.0
    keep_nights: int = 14
    depth: int = 3


@dataclass(frozen=True)
class Disk:
    """Bytes on the disk."""

    mlflow: int
    fetched: int
    dvc: int

    @property
    def total(self) -> int:
        """All three."""
        return self.mlflow + self.fetched + self.dvc

    def __str__(self) -> str:
        parts = (("MLflow", self.mlflow), ("fetched versions", self.fetched), ("DVC cache", self.dvc))
        return f"{_gib(self.total)} GiB ({', '.join(f'{name} {_gib(n_bytes)}' for name, n_bytes in parts)})"


def collect(layout: Layout, budget: Budget, *, dry_run: bool, tell: Tell) -> bool:
    """Free what nothing needs until the budget holds, oldest first; each thing is told before it goes.

    First versions that nothing refers to and files of old runs; then what DVC's cache holds for nobody; then
    experiments of old nights, a week at a time. Where `MLFLOW_TRACKING_URI` names a server, its files are not on this
    disk and stay.

    Args:
        layout: The project.
        budget: What may stay.
        dry_run: Only tell.
        tell: Takes one line.

    Returns:
        Whether the budget holds afterwards; of a dry run, whether it holds now.

    Raises:
        RuntimeError: DVC or git failed; with their last lines.
    """
    from foresense.tracking import open_client

    disk, limit = measure(layout), int(budget.keep_gib * GIB)
    tell(f"on disk: {disk}; budget {budget.keep_gib:g} GiB")
    if disk.total <= limit:
        tell("nothing to free")
        return True
    client = open_client(layout)
    needed, free = find_needed(layout, budget.depth)
    tell(
        f"kept: {len(needed.versions)} versions (champions, {budget.depth} before each, challengers, and the champions "
        "that their evidence names)"
    )
    over = disk.total - limit
    for one in collectables(layout, client, needed, free, keep_nights=budget.keep_nights):
        if over <= 0:
            break
        tell(_line(one))
        if not dry_run:
            delete(client, needed, one)
        over -= one.n_bytes
    if over > 0 and has_dvc(layout):
        _collect_dvc(layout, budget, needed.nights, limit, dry_run=dry_run, tell=tell)
    if dry_run:
        tell("dry run: nothing was deleted")
        return False
    left = measure(layout)
    tell(f"on disk now: {left}")
    if left.total > limit:
        tell(f"STILL {_gib(left.total - limit)} GiB OVER THE BUDGET: all that is left is needed; raise --keep-gib")
    return left.total <= limit


def measure(layout: Layout) -> Disk:
    """What lies on the disk now."""
    cache = _dvc_cache(layout) if has_dvc(layout) else None
    return Disk(
        mlflow=bytes_of(layout.tracking / "artifacts"),
        fetched=bytes_of(fetched_versions(layout)),
        dvc=bytes_of(cache) if cache else 0,
    )


def has_dvc(layout: Layout) -> bool:
    """Whether the project is one of DVC's."""
    return (layout.project / ".dvc").is_dir()


def night_experiments(layout: Layout) -> dict[str, str]:
    """Experiments of nights: name -> `YYYY-MM-DD`, oldest first; others are not ours to delete."""
    refs = _ran(layout, "git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    names = {ref.rpartition("/")[2] for ref in refs}
    nights = {name: found[1] for name in names if (found := NIGHT_NAME.match(name))}
    return dict(sorted(nights.items(), key=lambda item: (item[1], item[0])))


def _collect_dvc(
    layout: Layout, budget: Budget, needed: frozenset[str], limit: int, *, dry_run: bool, tell: Tell
) -> None:
    experiments = night_experiments(layout)
    newest = set(sorted(set(experiments.values()))[-budget.keep_nights :]) if budget.keep_nights else set()
    old = [name for name, night in experiments.items() if night not in newest | needed]
    tell(f"dvc gc {' '.join(KEPT_BY_DVC)}")
    tell(_dvc_gc(layout, "--dry"))
    if dry_run:
        if old:
            tell(f"experiments of old nights, a week at a time while that is not enough: {', '.join(old)}")
        return
    _dvc_gc(layout, "--force")
    while old and measure(layout).total > limit:
        names, old = old[:NIGHTS_AT_ONCE], old[NIGHTS_AT_ONCE:]
        tell(f"experiments of old nights: {', '.join(names)}")
        _dvc(layout, "exp", "remove", *names)
        tell(_dvc_gc(layout, "--dry"))
        _dvc_gc(layout, "--force")


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / GIB:.3f}"


def _line(one: Collectable) -> str:
    return f"{one.n_bytes / 2**20:9.2f} MiB  {one.label}"


def _dvc_gc(layout: Layout, *words: str) -> str:
    return _dvc(layout, "gc", *KEPT_BY_DVC, *words)


def _dvc_cache(layout: Layout) -> Path:
    return (layout.project / _dvc(layout, "cache", "dir").strip().splitlines()[-1]).resolve()


def _dvc(layout: Layout, *words: str) -> str:
    return _ran(layout, sys.executable, "-m", "dvc", *words)


def _ran(layout: Layout, *command: str) -> str:
    done = subprocess.run(command, cwd=layout.project, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
        raise RuntimeError(f"`{' '.join(command[-6:])}` failed (exit code {done.returncode}):\n{tail}")
    return done.stdout.strip()
