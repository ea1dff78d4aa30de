"""What a person reads of a pipeline of people beside steps and gates: what a label costs, what landmarks are worth."""

from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from foresense.bench.profile import SCHEMA_VERSION
from foresense.signals import read_json


def read_profile(reports: Path) -> dict[str, Any] | None:
    """The computational profile of a pipeline; None where none was made.

    Args:
        reports: `reports/<pipeline>`.

    Raises:
        ValueError: not JSON, or written by another version of the shape.
    """
    path = reports / "profile.json"
    if not path.is_file():
        return None
    profile: dict[str, Any] = read_json(path)
    if profile.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: shape version {profile.get('schema_version')!r}, this program reads {SCHEMA_VERSION}; "
            f"run `foresense benchmark {reports.name}` again"
        )
    return profile


def profile_table(profile: dict[str, Any]) -> Group:
    """What a label costs, stage by stage, with the slowest one named."""
    network, slowest, memory = profile["network"], profile["slowest_stage"], profile["memory_mib"]
    table = Table(title=f"{profile['pipeline']}: a label by {profile['variant']}", title_justify="left")
    for column in ("stage", "p50 ms", "p95 ms", "p99 ms", "share"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    stages = profile["stages_ms"]
    whole = sum(cost["p50"] for cost in stages.values())
    for name, cost in stages.items():
        style = "bold" if name == slowest["name"] else None
        table.add_row(name, *_times(cost), f"{cost['p50'] / whole:.0%}", style=style)
    table.add_row("raw window to label", *_times(profile["latency_ms"]), "")
    speeds = ", ".join(f"{row['windows_per_s']:.4g} (batch {row['batch']})" for row in profile["throughput"])
    lines = (
        f"{network['name']}: {network['n_parameters']:,} parameters, {network['flops'] / 1e6:.3g} MFLOP a window; "
        f"measured on {profile['device']}",
        f"slowest stage: {slowest['name']}, {slowest['share']:.0%} of a label",
        f"windows per second: {speeds}",
        f"a window of {profile['window_ms'] / 1000:g} s is labelled {profile['real_time_factor']:,.0f} times faster "
        f"than it lasts (p95){'' if profile['is_real_time'] else ': NOT IN REAL TIME'}",
        f"memory: {memory['peak_rss']:.0f} MiB at most, {memory['runtime_rss']:.0f} of them the bare runtime; a second "
        f"pass over {profile['plan']['n_windows']} windows added {memory['growth']:.1f}",
    )
    return Group(table, *(Text(line) for line in lines))


def landmarks_table(landmarks: dict[str, Any]) -> Group:
    """How far the landmarks of the topological features stand for the whole cloud."""
    title = f"topology: {landmarks['backend']}, clouds of {landmarks['n_points']} points"
    table = Table(title=title, title_justify="left")
    for column in ("of", "p50 g", "p95 g"):
        table.add_column(column, justify="left" if column == "of" else "right")
    for key, name in (("bound_g", "bound of the landmarks"), ("longest_loop_g", "longest loop")):
        table.add_row(name, *(f"{landmarks[key][share]:.3f}" for share in ("p50", "p95")))
    return Group(table, Text(landmarks["statement"]))


def _times(cost: dict[str, float]) -> list[str]:
    return [f"{cost[share]:.3g}" for share in ("p50", "p95", "p99")]
