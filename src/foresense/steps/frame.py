"""What all six steps share: the clock, the provenance, and the report at the end."""

import os
import platform
import resource
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeVar

from foresense.config import EngineConfig
from foresense.signals import Environment, Layout, Paths, Report, read_json, write_report

Profile = Literal["full", "smoke", "demo"]
ReportT = TypeVar("ReportT", bound=Report)

#: What decides a number; listed in every report.
LIBRARIES = (
    "numpy",
    "torch",
    "transformers",
    "scikit-learn",
    "onnxruntime",
    "ai-edge-litert",
    "litert-torch",
    "tensorflow-cpu",
)
#: Only changes below these paths can change a number; reports and locks written by a run do not count as dirt.
SOURCES = ("src", "params.yaml", "requirements.lock", "devices")


@dataclass(frozen=True)
class StepRun:
    """One run of one step of one pipeline, from its start on.

    Attributes:
        step: Name of the step.
        pipeline: Name of the pipeline.
        layout: Where files are.
        profile: `full` through DVC, `smoke` in a scratch folder, `demo` for the pipeline of `make demo`.
        engine: Where the trainings of a fleet run; changes no result.
        entry: Name in code.json of what runs; None where it is the step's.
    """

    step: str
    pipeline: str
    layout: Layout
    profile: Profile = "full"
    engine: EngineConfig = field(default_factory=EngineConfig)
    entry: str | None = None
    started_s: float = field(default_factory=time.monotonic)

    @property
    def paths(self) -> Paths:
        """Folders of the pipeline."""
        return self.layout.of(self.pipeline)

    def elapsed_s(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.started_s

    def finish(
        self,
        kind: type[ReportT],
        *,
        data_sha256: str,
        seed: int = 0,
        mlflow_run_id: str | None = None,
        **fields: Any,
    ) -> ReportT:
        """Build the step's report with its provenance, write it, and return it.

        Args:
            kind: The report of this step.
            data_sha256: Digest of what the step read.
            seed: Seed of everything random in the step; 0 where nothing is.
            mlflow_run_id: The run that holds the same numbers, where there is one.
            **fields: The step's own fields.
        """
        report = kind(
            pipeline=self.pipeline,
            step=self.step,
            profile=self.profile,
            created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
            git_commit=git_commit(self.layout.project),
            git_dirty=_git(self.layout.project, "status", "--porcelain", "--", *SOURCES) != "",
            code_digest=code_digest(self.layout.project, self.entry or self.step),
            data_sha256=data_sha256,
            seed=seed,
            duration_s=round(self.elapsed_s(), 3),
            peak_rss_mib=round(peak_rss_mib(), 1),
            environment=environment(),
            mlflow_run_id=mlflow_run_id,
            **fields,
        )
        write_report(self.paths.reports, report)
        return report


def git_commit(project: Path) -> str:
    """The commit of a checkout; `unknown` where it is none."""
    return _git(project, "rev-parse", "HEAD") or "unknown"


def code_digest(project: Path, entry: str) -> str:
    """One digest of the code that `entry` runs, from code.json (`make check` proves that file up to date)."""
    rooms = read_json(project / "code.json")[entry]
    return "-".join(digest[:6] for _, digest in sorted(rooms.items()))


def peak_rss_mib() -> float:
    """Most memory that this process has held, in MiB; on Linux VmHWM, as `ru_maxrss` is inherited from the parent."""
    if platform.system() != "Linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def environment() -> Environment:
    """This machine, and the versions that decide numbers."""
    found: dict[str, str] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return Environment(cpu=_cpu(), threads=os.cpu_count() or 1, load_1min=round(os.getloadavg()[0], 2), versions=found)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(project: Path, *words: str) -> str | None:
    """What git prints, or None where `project` is not a checkout."""
    found = subprocess.run(["git", "-C", str(project), *words], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None
