"""Promotion on evidence: a version becomes the champion only when every criterion holds."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from foresense.bench.gates import judge_gates
from foresense.config import PipelineConfig, read_pipeline
from foresense.registry import Event, Registry, Version, open_registry, rolled_back
from foresense.signals import (
    BenchmarkReport,
    ExportReport,
    Layout,
    open_windows,
    read_json,
    read_report,
    write_json,
)
from foresense.steps.comparison import OpenVersion, PromotionRule, compare, open_version
from foresense.steps.decision import EdgeVerdict, decide
from foresense.steps.evidence import EVIDENCE, write_evidence
from foresense.steps.versions import build_version

LOG = logging.getLogger(__name__)
NIGHT = "night"

Status = Literal["promoted", "refused", "unchanged", "skipped", "failed"]


@dataclass(frozen=True)
class AssetDecision:
    """What became of one asset in one night.

    Attributes:
        asset: The machine, or `all`.
        status: `unchanged`: the challenger is the champion already; `skipped`: it has no model.
        reason: In words.
        challenger: Number of the version that was judged; None where it did not come to that.
        champion: Number of the champion before; None where there was none.
        evidence: Folder below the project; None where none was written.
        seconds: It took so long.
    """

    asset: str
    status: Status
    reason: str
    challenger: int | None = None
    champion: int | None = None
    evidence: str | None = None
    seconds: float = 0.0


def edge_verdict(layout: Layout, pipeline: str, group: str, model_sha256: str, config: PipelineConfig) -> EdgeVerdict:
    """Judge the gates of params.yaml on what was measured of one group's exported file.

    Args:
        layout: Where the reports are.
        pipeline: Its name.
        group: Folder name of the group.
        model_sha256: Of the challenger: an export of other weights says nothing about it.
        config: Section `benchmark` holds the limits.
    """
    reports = layout.of(pipeline).reports
    try:
        exported, measured = read_report(reports, ExportReport), read_report(reports, BenchmarkReport)
    except (FileNotFoundError, ValueError) as error:
        return EdgeVerdict(problem=str(error))
    if exported.models.get(group) != model_sha256:
        return EdgeVerdict(problem=f"other weights were exported; run `foresense export {pipeline}` and benchmark")
    if measured.ships is None:
        return EdgeVerdict(problem="no variant was accepted; nothing ships")
    facts = measured.groups.get(group, {}).get(measured.ships)
    if facts is None:
        return EdgeVerdict(
            problem=f"{measured.ships} of {group} was not measured; run `foresense benchmark {pipeline}`"
        )
    exported_file = exported.groups.get(group, {}).get(measured.ships, {}).get("sha256")
    if exported_file is None or facts.get("sha256") != exported_file:
        return EdgeVerdict(problem=f"another file was measured; run `foresense benchmark {pipeline}`")
    try:
        return EdgeVerdict(tuple(judge_gates(config.benchmark.gates, facts)))
    except ValueError as error:
        return EdgeVerdict(problem=str(error))


def promote_fleet(
    layout: Layout,
    pipeline: str,
    night: str,
    *,
    rule: PromotionRule | None = None,
    assets: Sequence[str] | None = None,
    tell: Callable[[AssetDecision], None] = lambda decision: None,
) -> tuple[AssetDecision, ...]:
    """Register, compare and judge every asset that has windows or a model; one's error never stops the others.

    A night that died is run again: an asset whose evidence is complete is not measured twice, and what its evidence
    says is carried out.

    Args:
        layout: Where the project is.
        pipeline: Its name.
        night: `YYYY-MM-DD`.
        rule: What promotion asks for; absent: the defaults.
        assets: Folder names of groups; absent: all of them.
        tell: Hears of each asset as it is decided.

    Returns:
        One decision for each asset, also in `nights/<pipeline>/<night>/decisions.json`.

    Raises:
        ConfigError: no such pipeline.
        FileNotFoundError: nothing was windowed or trained.
    """
    config = read_pipeline(layout.project / "params.yaml", pipeline)
    registry = open_registry(layout, pipeline)
    decisions = []
    for group in assets if assets is not None else _groups(layout, pipeline):
        started_s = time.monotonic()
        try:
            decision = _judge(registry, config, group, night, rule or PromotionRule())
        except Exception as error:  # whatever one machine's files or weights raise: it is recorded, the others go on
            LOG.exception("%s/%s: not judged", pipeline, group)
            first_line = str(error).partition("\n")[0]
            decision = AssetDecision(group, "failed", f"{type(error).__name__}: {first_line}")
        decisions.append(AssetDecision(**{**asdict(decision), "seconds": round(time.monotonic() - started_s, 2)}))
        tell(decisions[-1])
    write_json(
        night_folder(layout, pipeline, night) / "decisions.json",
        {"schema_version": 1, "pipeline": pipeline, "night": night, "assets": [asdict(one) for one in decisions]},
    )
    return tuple(decisions)


def night_folder(layout: Layout, pipeline: str, night: str) -> Path:
    """`nights/<pipeline>/<night>`."""
    return layout.root / "nights" / pipeline / night


def _groups(layout: Layout, pipeline: str) -> list[str]:
    paths = layout.of(pipeline)
    found = {
        path.parent.name
        for folder, file in ((paths.windows, "index.json"), (paths.models, "candidate.json"))
        for path in folder.glob(f"*/{file}")
    }
    if not found:
        raise FileNotFoundError(f"{paths.models}: no model there; run `foresense train {pipeline}` first")
    return sorted(found)


def _judge(registry: Registry, config: PipelineConfig, group: str, night: str, rule: PromotionRule) -> AssetDecision:
    layout, pipeline = registry.layout, registry.pipeline
    windows = open_windows(layout.of(pipeline).windows / group)
    if not (layout.of(pipeline).models / group / "candidate.json").is_file():
        return AssetDecision(windows.group, "skipped", "no model was trained for it")
    built = build_version(layout, pipeline, group)
    version = registry.register(built, night=night)
    folder = night_folder(layout, pipeline, night) / "evidence" / group
    registry.mend(windows.group)
    champion = registry.champion(windows.group)
    is_carried_out = _is_carried_out(registry.history(windows.group), version, night)
    edge = edge_verdict(layout, pipeline, group, version.model_sha256, config)
    basis = sha256(json.dumps([asdict(edge), asdict(rule)], sort_keys=True, default=str).encode()).hexdigest()
    kept = _kept_evidence(folder, version, champion, basis, is_carried_out=is_carried_out)
    if kept is not None and is_carried_out and kept["promotes"] and champion and champion.number != version.number:
        reason = f"version {version.number} was promoted this night, and taken back since"
        return AssetDecision(windows.group, "unchanged", reason, version.number, champion.number)
    if kept is not None:
        return _carry_out(registry, version, folder, night, kept, is_carried_out=is_carried_out)
    if champion is not None and champion.number == version.number:
        reason = f"version {version.number} is the champion already; nothing new was trained"
        return AssetDecision(windows.group, "unchanged", reason, version.number, champion.number)
    open_champion = open_version(registry.fetch(windows.group, champion.number)) if champion else None
    challenger = open_version(built)
    found = compare(open_champion, challenger, windows, seasons=config.training.season_lengths, rule=rule)
    decision = decide(
        found,
        edge,
        has_champion=champion is not None,
        same_signature=_same_signature(open_champion, challenger),
        was_rolled_back=version.number in rolled_back(registry.history(windows.group)),
        rule=rule,
    )
    content = write_evidence(
        folder, night, champion, version, windows, found, decision, rule, basis=basis, project=layout.project
    )
    return _carry_out(registry, version, folder, night, content, is_carried_out=False)


def _same_signature(champion: OpenVersion | None, challenger: OpenVersion) -> bool:
    return champion is None or champion.windowing == challenger.windowing


def _kept_evidence(
    folder: Path, version: Version, champion: Version | None, basis: str, *, is_carried_out: bool
) -> dict[str, Any] | None:
    """Evidence of this night about this version, where it still holds.

    It is judged by the rule and the edge's verdict of now, and was carried out or is against the champion of now.
    """
    path = folder / EVIDENCE
    if not path.is_file():
        return None
    content: dict[str, Any] = read_json(path)
    now = champion.number if champion else None
    still_holds = content["basis"] == basis and (is_carried_out or now == _number(content["champion"]))
    return content if still_holds and content["challenger"]["sha256"] == version.sha256 else None


def _carry_out(
    registry: Registry, version: Version, folder: Path, night: str, content: dict[str, Any], *, is_carried_out: bool
) -> AssetDecision:
    """Do what the evidence says, unless it was done."""
    registry.attach(version, folder, f"evidence/{night}")
    if not is_carried_out:
        act = registry.promote if content["promotes"] else registry.refuse
        act(version.asset, version.number, who=NIGHT, reason=content["reason"], night=night)
    return AssetDecision(
        version.asset,
        "promoted" if content["promotes"] else "refused",
        content["reason"],
        version.number,
        _number(content["champion"]),
        folder.relative_to(registry.layout.root).as_posix(),
    )


def _number(version: dict[str, Any] | None) -> int | None:
    return None if version is None else int(version["number"])


def _is_carried_out(events: Sequence[Event], version: Version, night: str) -> bool:
    return any(event.night == night and event.to_version == version.number and event.who == NIGHT for event in events)
