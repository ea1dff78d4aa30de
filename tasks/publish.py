"""Publish a step's report where the Prefect page shows it: a table, the forecast's picture, the gates."""

import base64
import json
import re
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.reproduce import ROOT

#: Key of an artifact -> the picture that it shows, and of what.
PICTURES = {
    "forecast": ("*-forecast.png", "Forecasts"),
    "confusion": ("confusion.png", "Labels of what was held out"),
    "candidates": ("candidates.png", "Candidates and rivals"),
}
#: What every report has, and nobody looks for first.
PROVENANCE = frozenset(
    [
        "pipeline",
        "step",
        "profile",
        "created_utc",
        "git_commit",
        "git_dirty",
        "code_digest",
        "data_sha256",
        "schema_version",
        "seed",
        "duration_s",
        "peak_rss_mib",
        "environment",
        "mlflow_run_id",
    ]
)


def publish(step: str, pipeline: str, project: Path = ROOT) -> None:
    """Publish the report of `step` and its gates; with `train` pictures of its forecasts, labels or candidates."""
    folder = project / "reports" / pipeline
    report: dict[str, Any] = json.loads((folder / f"{step}.json").read_text())
    create_table_artifact(key=key_of(pipeline, step), table=rows(report), description=f"Report of {step} of {pipeline}")
    if report["gates"]:
        create_table_artifact(
            key=key_of(pipeline, f"{step}-gates"), table=gate_rows(report), description=f"Gates of {step} of {pipeline}"
        )
    for name, (pattern, what) in PICTURES.items() if step == "train" else ():
        pictures = sorted((folder / "plots").glob(pattern))
        if pictures:
            create_markdown_artifact(
                key=key_of(pipeline, name), markdown=picture(pictures[0]), description=f"{what} of {pipeline}"
            )


def key_of(pipeline: str, what: str) -> str:
    """Key of an artifact: Prefect takes small letters, digits and dashes, a pipeline may be called `Press_2`."""
    return re.sub(r"[^a-z0-9]+", "-", f"{pipeline}-{what}".lower())


def rows(report: dict[str, Any]) -> list[dict[str, str]]:
    """The report as rows of key and value; inner mappings one level deep, longer values as JSON.

    What a training concludes comes first, and what every report has (commit, versions, digests) last.
    """
    flat: list[dict[str, str]] = []
    for key in sorted(report, key=lambda key: (key != "conclusion", key in PROVENANCE)):
        value = report[key]
        if key == "gates":
            continue
        inner = value if isinstance(value, dict) else {"": value}
        flat += [
            {"key": f"{key}.{name}" if name else key, "value": each if isinstance(each, str) else json.dumps(each)}
            for name, each in inner.items()
        ]
    return flat


def gate_rows(report: dict[str, Any]) -> list[dict[str, str]]:
    """The gates as rows: target, measured value, headroom, verdict."""
    return [
        {
            "gate": gate["name"],
            "target": f"{gate['comparison']} {gate['target']:g}",
            "measured": f"{gate['value']:.4g} {gate['unit']}",
            "headroom": f"{gate['headroom']:+.0%}",
            "verdict": "PASS" if gate["passed"] else "FAIL",
        }
        for gate in report["gates"]
    ]


def picture(path: Path) -> str:
    """Markdown that holds the picture itself, so that the page needs no file server."""
    return f"![{path.stem}](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})"
