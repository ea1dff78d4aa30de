"""Reports: one shape for every step, versioned, complete or absent."""

from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from foresense.signals.files import write_json
from foresense.signals.gate import Gate
from foresense.signals.json_object import read_object

SCHEMA_VERSION = 1


class Environment(BaseModel):
    """The machine and the libraries that made a number."""

    model_config = ConfigDict(frozen=True)

    cpu: str
    threads: int
    load_1min: float  # runnable processes on average over the minute before the step ended
    versions: dict[str, str]


class Header(BaseModel):
    """What every reader of a report may rely on."""

    model_config = ConfigDict(frozen=True)

    pipeline: str
    step: str
    profile: Literal["full", "smoke", "demo"]
    created_utc: str
    git_commit: str
    git_dirty: bool
    code_digest: str
    data_sha256: str
    schema_version: int = SCHEMA_VERSION
    seed: int
    duration_s: float
    peak_rss_mib: float
    environment: Environment
    mlflow_run_id: str | None = None


class Report(Header):
    """The base of the six reports; `gates` is empty in a step that judges nothing."""

    step_name: ClassVar[str]
    gates: list[Gate] = []


class IngestReport(Report):
    """What came in and what was wrong with it."""

    step_name: ClassVar[str] = "ingest"
    source: str
    assets: dict[str, dict[str, Any]]  # asset -> {n_rows, start, end, n_missing, gaps, ...}
    findings: list[
        dict[str, Any]
    ]  # {asset, kind, n, where, message}: gaps, duplicates, unsorted, refused, constant ...


class WindowReport(Report):
    """How recordings were split and scaled, and how many windows that gave."""

    step_name: ClassVar[str] = "window"
    groups: dict[
        str, dict[str, Any]
    ]  # group -> {rows: {part: n}, windows: {part: n}, n_blocks, n_interpolated, n_left_out}


class FeaturesReport(Report):
    """Which features were computed and how long they took."""

    step_name: ClassVar[str] = "features"
    n_windows: int
    features: dict[str, dict[str, Any]]  # name -> {unit, family, min, mean, max, n_missing}
    n_refused: int = 0  # windows of people that have no features; the reasons are in the table's manifest
    ms_per_window: dict[str, float] = {}  # family -> its cost, windows in batches
    landmarks: dict[str, Any] = {}  # of the family `wrist_topology`: how far its landmarks stand for the whole cloud


class TrainReport(Report):
    """What was trained, how good it is on the untouched test part, and what simple rivals reach."""

    step_name: ClassVar[str] = "train"
    model: dict[str, Any]  # {name, candidate, n_parameters, size_mib, sha256}
    windows: dict[str, int]
    test: dict[str, float]
    interval: dict[str, list[float]]  # 95 %, block bootstrap
    baselines: dict[str, dict[str, float]]
    per_channel: dict[str, dict[str, float]]
    timing: dict[str, float]
    candidates: dict[str, dict[str, Any]]  # every candidate with its validation and test numbers
    groups: dict[str, dict[str, Any]]  # the same, by group
    per_class: dict[str, dict[str, Any]] = {}  # of what ships: class -> {precision, recall, f1, n}
    smoothed: dict[str, Any] = {}  # the same scores after smoothing, where a pipeline smooths
    people: dict[str, dict[str, Any]] = {}  # person -> {accuracy, macro_f1, n}
    outcomes: dict[str, dict[str, Any]] = {}  # of a fleet: asset -> {status, reason, model, test_mse, naive_mse, ...}
    beats_baselines: bool
    conclusion: str  # one sentence for people


class ExportReport(Report):
    """The files that left, with the proof that they agree with the model."""

    step_name: ClassVar[str] = "export"
    variants: dict[
        str, dict[str, Any]
    ]  # {file, size_mib, sha256, max_abs_error, tensor_types, converter_version}; worst group
    groups: dict[str, dict[str, dict[str, Any]]]  # group -> variants
    refused: dict[str, str]  # variant -> why it could not be made
    models: dict[str, str] = {}  # group -> SHA-256 of the weights that were exported; empty in older reports


class BenchmarkReport(Report):
    """What the exported files cost and how good they still are, measured in fresh processes."""

    step_name: ClassVar[str] = "benchmark"
    device: str
    plan: dict[str, Any]
    variants: dict[str, dict[str, Any]]
    groups: dict[str, dict[str, dict[str, Any]]]
    ships: str | None  # the variant that the gates judge


REPORTS: dict[str, type[Report]] = {
    kind.step_name: kind
    for kind in (IngestReport, WindowReport, FeaturesReport, TrainReport, ExportReport, BenchmarkReport)
}

ReportT = TypeVar("ReportT", bound=Report)


def write_report(folder: Path, report: Report) -> Path:
    """Write `<folder>/<step>.json`, complete or not at all; returns its path."""
    path = folder / f"{report.step}.json"
    write_json(path, report.model_dump(mode="json"))
    return path


def read_report(folder: Path, kind: type[ReportT]) -> ReportT:
    """Read one step's report.

    Raises:
        FileNotFoundError: the step has not finished; says which command runs it.
        ValueError: damaged, or written by another version of the shape; says which.
    """
    path = folder / f"{kind.step_name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; run `foresense {kind.step_name} {folder.name}` first")
    content = read_object(path)
    if content.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: report shape version {content.get('schema_version')!r}, this program reads {SCHEMA_VERSION}; "
            "run the step again"
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, found["loc"])) for found in error.errors(include_url=False))
        raise ValueError(f"{path}: not a report of this step: {wrong} missing or wrong; run the step again") from error
