"""The artefact of a pipeline as a challenger, and the evidence on it."""

from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from foresense.config import AnyPipeline
from foresense.signals import Layout, read_json
from foresense.steps.artefact_decision import decide_artefact, said
from foresense.steps.artefact_versions import Shipped, build_artefact_version, read_shipped
from foresense.steps.comparison import PromotionRule
from foresense.steps.decision import EdgeVerdict
from foresense.steps.edge import NotMeasuredError, edge_verdict, measured_facts
from foresense.steps.evidence import Case, table, verdict, write_both

_NOTE = (
    "Numbers of the training reports, the 95 % interval of each by itself: of two trainings no difference window by "
    "window is kept, so the margin, and not an interval, decides between challenger and champion."
)


@dataclass(frozen=True, eq=False)
class ArtefactChallenger:
    """What left a pipeline that does not forecast, about to be judged.

    Attributes:
        asset: Name of its group.
        folder: Of the version.
        shipped: What of it ships.
        edge: Gates of the exported file.
        cost: Facts of that file, latency and memory among them; empty where none was measured.
        rule: Margin over the champion.
    """

    asset: str
    folder: Path
    shipped: Shipped
    edge: EdgeVerdict
    cost: dict[str, Any]
    rule: PromotionRule

    def basis(self) -> Any:
        """What the decision rests on beside the two versions."""
        return [asdict(self.edge), self.rule.margin]

    def has_weights_of(self, other: Path) -> bool:
        """Whether training left the weights of that version; then there is nothing to decide, whatever was exported."""
        return read_shipped(other).weights == self.shipped.weights

    def judge(self, case: Case, champion: Path | None, *, was_rolled_back: bool) -> dict[str, Any]:
        """Judge every criterion and write the evidence.

        Args:
            case: What is decided.
            champion: Folder of the champion, verified; None where there is none.
            was_rolled_back: A person took this very version back.

        Returns:
            The content of `evidence.json`.

        Raises:
            VersionError: the champion is not an artefact.
        """
        rival = read_shipped(champion) if champion else None
        decision = decide_artefact(
            self.shipped, rival, self.edge, margin=self.rule.margin, was_rolled_back=was_rolled_back
        )
        content = {
            **verdict(case, decision),
            "margin": self.rule.margin,
            "shipped": asdict(self.shipped),
            "shipped_by_champion": asdict(rival) if rival else None,
            "cost": self.cost,
        }
        measured = ["<h2>On held-out data</h2>", _scores(self.shipped, rival), f"<p>{escape(_NOTE)}</p>"]
        if self.shipped.variant:
            measured += ["<h2>The file that ships</h2>", _file(self.shipped.variant, self.cost)]
        write_both(case.folder, content, measured)
        return content


def open_challenger(
    layout: Layout, pipeline: str, group: str, config: AnyPipeline, rule: PromotionRule
) -> ArtefactChallenger:
    """Build the version of a group, and read what `benchmark` says of it.

    Raises:
        FileNotFoundError, ValueError, ConfigError: see `build_artefact_version`.
    """
    built = build_artefact_version(layout, pipeline, group, config)
    model_sha256 = read_json(built / "manifest.json")["model_sha256"]
    try:
        cost = measured_facts(layout, pipeline, group, model_sha256)[1]
    except NotMeasuredError:
        cost = {}  # `edge` says why
    edge = edge_verdict(layout, pipeline, group, model_sha256, config)
    return ArtefactChallenger(group, built, read_shipped(built), edge, cost, rule)


def _scores(shipped: Shipped, champion: Shipped | None) -> str:
    found = shipped.headline
    rows = [["challenger", found.ships, said(found)]]
    if champion is not None:
        rows.append(["champion", champion.headline.ships, said(champion.headline)])
    best = "not in the report" if found.rival_value is None else f"{found.rival_value:#.3g}"
    rows.append(["best rival", found.rival, best])
    rows.append(["best network minus it" if found.is_rival else "challenger minus it", "", found.difference_said])
    return table(("", "model", "held out [95 %]"), [[escape(cell) for cell in row] for row in rows])


def _file(variant: dict[str, Any], cost: dict[str, Any]) -> str:
    quality = ", ".join(f"{name} {value:.4g}" for name, value in variant["quality"].items())
    row = [
        escape(variant["name"]),
        f"<code>{escape(variant['sha256'])}</code>",
        f"{variant['size_mib']:.3g}",
        f"{cost['latency_ms']['p50']:.3g} / {cost['latency_ms']['p95']:.3g}",
        f"{cost['peak_rss_mib']:.4g}",
        escape(quality),
    ]
    return table(("variant", "SHA-256", "MiB", "latency p50 / p95, ms", "peak memory, MiB", "quality held out"), [row])
