"""The shared nouns: recordings, windows, splits, reports, places on disk."""

from foresense.signals.files import file_sha256, read_json, replaced_folder, tree_sha256, write_bytes, write_json
from foresense.signals.gate import Gate
from foresense.signals.layout import Layout, Paths
from foresense.signals.recording import Recording, SignalError, read_recordings, write_recordings
from foresense.signals.reports import (
    REPORTS,
    BenchmarkReport,
    Environment,
    ExportReport,
    FeaturesReport,
    Header,
    IngestReport,
    Report,
    TrainReport,
    WindowReport,
    read_report,
    write_report,
)
from foresense.signals.windows import (
    PARTS,
    Part,
    Scaler,
    Windows,
    group_folders,
    open_windows,
    read_scaler,
    recordings_digest,
)

__all__ = [
    "PARTS",
    "REPORTS",
    "BenchmarkReport",
    "Environment",
    "ExportReport",
    "FeaturesReport",
    "Gate",
    "Header",
    "IngestReport",
    "Layout",
    "Part",
    "Paths",
    "Recording",
    "Report",
    "Scaler",
    "SignalError",
    "TrainReport",
    "WindowReport",
    "Windows",
    "file_sha256",
    "group_folders",
    "open_windows",
    "read_json",
    "read_recordings",
    "read_report",
    "read_scaler",
    "recordings_digest",
    "replaced_folder",
    "tree_sha256",
    "write_bytes",
    "write_json",
    "write_recordings",
    "write_report",
]
