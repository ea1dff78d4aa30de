"""The criteria of promotion, each judged by itself; pure functions of what was measured."""

from dataclasses import dataclass

from foresense.signals import Gate
from foresense.steps.comparison import Comparison, Difference, PromotionRule

LONGEST = 1200  # characters of a reason: the history is kept in tags of MLflow, which are short


@dataclass(frozen=True)
class Criterion:
    """One thing that promotion asks for, and what was found.

    Attributes:
        name: Short, the same in every evidence.
        asked: In words.
        found: In words.
        passed: Whether it holds.
    """

    name: str
    asked: str
    found: str
    passed: bool


@dataclass(frozen=True)
class Decision:
    """All criteria of one challenger.

    Attributes:
        criteria: At least one.
    """

    criteria: tuple[Criterion, ...]

    @property
    def promotes(self) -> bool:
        """True only when there are criteria and every one holds."""
        return bool(self.criteria) and all(one.passed for one in self.criteria)

    @property
    def reason(self) -> str:
        """One sentence for people and for the history; the names alone where all that was found is too long for it."""
        failed = [one for one in self.criteria if not one.passed]
        if not failed:
            return "; ".join(one.found for one in self.criteria if one.name.startswith(("better than", "not behind")))
        said = f"{len(failed)} of {len(self.criteria)} criteria failed: "
        with_found = said + "; ".join(f"{one.name} ({one.found})" for one in failed)
        return with_found if len(with_found) <= LONGEST else said + "; ".join(one.name for one in failed)


@dataclass(frozen=True)
class EdgeVerdict:
    """What the benchmark says about the exported file of one group.

    Attributes:
        gates: Each judged on this group's own numbers.
        problem: Why there is no verdict about these weights; None where there is one.
    """

    gates: tuple[Gate, ...] = ()
    problem: str | None = None


def decide(
    found: Comparison,
    edge: EdgeVerdict,
    *,
    has_champion: bool,
    same_signature: bool,
    was_rolled_back: bool = False,
    rule: PromotionRule | None = None,
) -> Decision:
    """Judge every criterion. The first version of an asset needs all but the one about the champion.

    Args:
        found: The paired comparison.
        edge: Gates of the exported file.
        has_champion: Whether there is a champion to beat.
        same_signature: Whether both take and give the same; True where there is no champion.
        was_rolled_back: A person took this very version back.
        rule: Margin and intervals; absent: the defaults.
    """
    rule = rule or PromotionRule()
    return Decision(
        (
            _enough(found, rule),
            _beats_champion(found.against_champion, has_champion, rule),
            _beats_naive(found.against_naive),
            *edge_criteria(edge),
            Criterion(
                "signature unchanged",
                "channels, units, context, horizon, interval and time zone as the champion's",
                "equal" if same_signature and has_champion else "no champion yet" if same_signature else "differs",
                same_signature,
            ),
            not_rolled_back(was_rolled_back),
        )
    )


def not_rolled_back(was_rolled_back: bool) -> Criterion:
    """What a person took back returns only by a person."""
    return Criterion(
        "not rolled back",
        "a version that a person took back returns only by hand",
        "a person took this version back" if was_rolled_back else "never taken back",
        not was_rolled_back,
    )


def _enough(found: Comparison, rule: PromotionRule) -> Criterion:
    needed = rule.min_blocks * found.block
    return Criterion(
        "enough untouched windows",
        f"at least {needed} windows ({rule.min_blocks} blocks of {found.block} that share a target) younger than both "
        "versions' data",
        f"{len(found.starts)} windows, {found.n_left_out} of the test part left out as not younger",
        len(found.starts) >= needed,
    )


def _beats_champion(difference: Difference | None, has_champion: bool, rule: PromotionRule) -> Criterion:
    name = "better than the champion"
    asked = f"MSE at least {rule.margin:.1%} lower, and the {rule.level:.0%} interval of the difference below 0"
    if not has_champion:
        return Criterion(name, asked, "no champion yet", True)
    if difference is None:
        return Criterion(name, asked, "not comparable on these windows", False)
    return Criterion(name, asked, _said(difference), difference.relative <= -rule.margin and _below_zero(difference))


def _beats_naive(difference: Difference | None) -> Criterion:
    name = "better than seasonal naive"
    asked = "MSE below that of repeating the last day or week"
    if difference is None:
        return Criterion(name, asked, "no untouched window", False)
    return Criterion(name, asked, _said(difference), difference.mse < 0)


def _below_zero(difference: Difference) -> bool:
    return difference.interval is not None and difference.interval[1] < 0


def _said(difference: Difference) -> str:
    interval = (
        "too few windows for an interval"
        if difference.interval is None
        else f"[{difference.interval[0]:.3g}, {difference.interval[1]:.3g}]"
    )
    return f"MSE {difference.relative:+.1%} against {difference.rival}, difference {difference.mse:.3g} {interval}"


def edge_criteria(edge: EdgeVerdict) -> tuple[Criterion, ...]:
    """That there is a verdict about these weights, and every gate of it."""
    measured = Criterion(
        "measured on the edge",
        "the benchmark's verdict about these weights",
        edge.problem or f"{len(edge.gates)} gates judged",
        edge.problem is None,
    )
    return (
        measured,
        *(
            Criterion(
                f"gate {gate.name}",
                f"{gate.comparison} {gate.target:g}{_unit(gate)}",
                f"{gate.value:.4g}{_unit(gate)}",
                gate.passed,
            )
            for gate in edge.gates
        ),
    )


def _unit(gate: Gate) -> str:
    return "" if gate.unit == "1" else f" {gate.unit}"
