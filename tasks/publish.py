"""Publish a step's report where the Prefect page shows it: a table, the forecast's picture, the gates."""

import base64
import json
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.reproduce import ROOT

#: Key of an artifact -> the picture that it shows, and of what.
PICTURES = {
    "forecast": ("*-forecast.png", "Forecasts"),
    "confusion": ("confusion.png", "Labels of the people held out"),
}


def publish(step: str, pipeline: str, project: Path = ROOT) -> None:
    """Publish the report of `step`; with `train` a picture of its forecasts or labels, with `benchmark` the gates."""
    folder = project / "reports" / pipeline
    report: dict[str, Any] = json.loads((folder / f"{step}.json").read_text())
    create_table_artifact(key=f"{pipeline}-{step}", table=rows(report), description=f"Report of {step} of {pipeline}")
    if report["gates"]:
        create_table_artifact(
            key=f"{pipeline}-{step}-gates", table=gate_rows(report), description=f"Gates of {step} of {pipeline}"
        )
    for key, (pattern, what) in PICTURES.items() if step == "train" else ():
        pictures = sorted((folder / "plots").glob(pattern))
        if pictures:
            create_markdown_artifact(
                key=f"{pipeline}-{key}", markdown=picture(pictures[0]), description=f"{what} of {pipeline}"
            )


def rows(report: dict[str, Any]) -> list[dict[str, str]]:
    """The report as rows of key and value; inner mappings one level deep, longer values as JSON."""
    flat: list[dict[str, str]] = []
    for key, value in report.items():
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
