"""Promotion on evidence: a version becomes the champion only when every criterion holds."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

from foresense.config import AnyPipeline, PipelineConfig, read_any
from foresense.registry import Event, Registry, Version, open_registry, rolled_back
from foresense.signals import Layout, TrainReport, Windows, open_windows, read_json, read_report, write_json
from foresense.steps.artefact_promotion import open_challenger
from foresense.steps.comparison import PromotionRule, compare, open_version
from foresense.steps.decision import EdgeVerdict, decide
from foresense.steps.edge import edge_verdict
from foresense.steps.evidence import EVIDENCE, Case, write_evidence
from foresense.steps.versions import build_version

LOG = logging.getLogger(__name__)
NIGHT = "night"

Status = Literal["promoted", "refused", "unchanged", "skipped", "failed"]


@dataclass(frozen=True)
class AssetDecision:
    """What became of one asset in one night.

    Attributes:
        asset: The machine, `all`, or the group of an artefact.
        status: `unchanged`: the challenger is the champion already, or has its weights; `skipped`: it has no model.
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

    Of a pipeline that does not forecast that is one: the group that ships, registered as its artefact.

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
    config = read_any(layout.project / "params.yaml", pipeline)
    registry = open_registry(layout, pipeline)
    decisions = []
    for group in assets if assets is not None else _groups(layout, pipeline, config):
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


def _groups(layout: Layout, pipeline: str, config: AnyPipeline) -> list[str]:
    """Folder names: of every group of a fleet; of another kind the one that ships, whatever is exported beside it."""
    paths = layout.of(pipeline)
    if not isinstance(config, PipelineConfig):
        return sorted(read_report(paths.reports, TrainReport).groups)
    found = {
        path.parent.name
        for folder, file in ((paths.windows, "index.json"), (paths.models, "candidate.json"))
        for path in folder.glob(f"*/{file}")
    }
    if not found:
        raise FileNotFoundError(f"{paths.models}: no model there; run `foresense train {pipeline}` first")
    return sorted(found)


class Challenger(Protocol):
    """A version that was built and is about to be judged."""

    @property
    def asset(self) -> str:
        """The machine, `all`, or the group of an artefact."""

    @property
    def folder(self) -> Path:
        """Of the version."""

    def basis(self) -> Any:
        """What the decision rests on beside the two versions, as JSON takes it."""

    def has_weights_of(self, other: Path) -> bool:
        """Whether it is the version in that folder once more, only exported or measured anew."""

    def judge(self, case: Case, champion: Path | None, *, was_rolled_back: bool) -> dict[str, Any]:
        """Measure and judge, write the evidence, and give the content of `evidence.json`."""


@dataclass(frozen=True, eq=False)
class ForecastChallenger:
    """A model that forecasts one group, about to be judged.

    Attributes:
        folder: Of the version.
        windows: Tonight's.
        edge: Gates of the exported file.
        seasons: Samples; of the seasonal naive rivals.
        rule: What promotion asks for.
    """

    folder: Path
    windows: Windows
    edge: EdgeVerdict
    seasons: Sequence[int]
    rule: PromotionRule

    @property
    def asset(self) -> str:
        """The machine, or `all`."""
        return self.windows.group

    def basis(self) -> Any:
        """The edge's verdict and the rule."""
        return [asdict(self.edge), asdict(self.rule)]

    def has_weights_of(self, other: Path) -> bool:
        """False: equal weights on other data have another scaler or other widths, and are compared."""
        return False

    def judge(self, case: Case, champion: Path | None, *, was_rolled_back: bool) -> dict[str, Any]:
        """Compare both on the test windows that neither has seen, and write the evidence."""
        opened = open_version(champion) if champion else None
        challenger = open_version(self.folder)
        found = compare(opened, challenger, self.windows, seasons=self.seasons, rule=self.rule)
        decision = decide(
            found,
            self.edge,
            has_champion=opened is not None,
            same_signature=opened is None or opened.windowing == challenger.windowing,
            was_rolled_back=was_rolled_back,
            rule=self.rule,
        )
        return write_evidence(case, self.windows, found, decision, self.rule)


def _judge(registry: Registry, config: AnyPipeline, group: str, night: str, rule: PromotionRule) -> AssetDecision:
    layout, pipeline = registry.layout, registry.pipeline
    if not isinstance(config, PipelineConfig):
        return _decide(registry, open_challenger(layout, pipeline, group, config, rule), group, night)
    windows = open_windows(layout.of(pipeline).windows / group)
    if not (layout.of(pipeline).models / group / "candidate.json").is_file():
        return AssetDecision(windows.group, "skipped", "no model was trained for it")
    built = build_version(layout, pipeline, group)
    edge = edge_verdict(layout, pipeline, group, read_json(built / "manifest.json")["model_sha256"], config)
    challenger = ForecastChallenger(built, windows, edge, config.training.season_lengths, rule)
    return _decide(registry, challenger, group, night)


def _decide(registry: Registry, challenger: Challenger, group: str, night: str) -> AssetDecision:
    """Register a challenger, judge it unless that was done, and carry the decision out."""
    layout, asset = registry.layout, challenger.asset
    version = registry.register(challenger.folder, night=night)
    folder = night_folder(layout, registry.pipeline, night) / "evidence" / group
    registry.mend(asset)
    champion = registry.champion(asset)
    is_carried_out = _is_carried_out(registry.history(asset), version, night)
    basis = sha256(json.dumps(challenger.basis(), sort_keys=True, default=str).encode()).hexdigest()
    kept = _kept_evidence(folder, version, champion, basis, is_carried_out=is_carried_out)
    if kept is not None and is_carried_out and kept["promotes"] and champion and champion.number != version.number:
        reason = f"version {version.number} was promoted this night, and taken back since"
        return AssetDecision(asset, "unchanged", reason, version.number, champion.number)
    if kept is not None:
        return _carry_out(registry, version, folder, night, kept, is_carried_out=is_carried_out)
    if champion is not None and champion.number == version.number:
        reason = f"version {version.number} is the champion already; nothing new was trained"
        return AssetDecision(asset, "unchanged", reason, version.number, champion.number)
    fetched = registry.fetch(asset, champion.number) if champion else None
    if champion is not None and fetched is not None and challenger.has_weights_of(fetched):
        reason = f"version {version.number} has the weights of version {champion.number}, the champion"
        return AssetDecision(asset, "unchanged", reason, version.number, champion.number)
    case = Case(folder, night, champion, version, basis, layout.project)
    content = challenger.judge(case, fetched, was_rolled_back=_was_rolled_back(registry, challenger, version))
    return _carry_out(registry, version, folder, night, content, is_carried_out=False)


def _was_rolled_back(registry: Registry, challenger: Challenger, version: Version) -> bool:
    """Whether a person took back this version, or one of the same weights that was only exported or measured anew."""
    out = rolled_back(registry.history(version.asset))
    return version.number in out or any(
        challenger.has_weights_of(registry.fetch(version.asset, one.number))
        for one in registry.versions(version.asset)
        if one.number in out and one.model_sha256 == version.model_sha256
    )


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
