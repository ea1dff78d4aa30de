"""The criteria of an artefact's promotion, each judged by itself; pure functions of what the reports hold."""

from foresense.evaluate.classification import LOWER_IS_BETTER, verdict_of
from foresense.steps.artefact_versions import Shipped
from foresense.steps.decision import Criterion, Decision, EdgeVerdict, edge_criteria, not_rolled_back
from foresense.steps.results_table import Headline, interval_said, metric_name


def decide_artefact(
    challenger: Shipped,
    champion: Shipped | None,
    edge: EdgeVerdict,
    *,
    margin: float,
    was_rolled_back: bool = False,
) -> Decision:
    """Judge every criterion. The first version of a group needs all but the one about the champion.

    Args:
        challenger: What is judged.
        champion: What it has to beat; None where there is none.
        edge: Gates of the exported file.
        margin: Least share by which the error must be below the champion's.
        was_rolled_back: A person took this very version back.
    """
    return Decision(
        (
            _beats_champion(challenger, champion, margin),
            _not_behind(challenger.headline),
            *edge_criteria(edge),
            _same_signature(challenger, champion),
            not_rolled_back(was_rolled_back),
        )
    )


def error_of(metric: str, value: float) -> float:
    """An error as it is; of a score, of which 1 is the best, what it lacks."""
    return value if metric in LOWER_IS_BETTER else 1 - value


def said(found: Headline) -> str:
    """`AUROC 0.826 [0.712, 0.917]`."""
    return f"{metric_name(found.metric)} {found.value:#.3g} {interval_said(found.interval)}"


def _beats_champion(challenger: Shipped, champion: Shipped | None, margin: float) -> Criterion:
    """By the two training reports, so only where both were judged on the same held-out data.

    No file is measured again on tonight's: the champion may have learnt from what is held out now.
    """
    name, metric = "better than the champion", challenger.headline.metric
    lower = metric_name(metric) if metric in LOWER_IS_BETTER else f"what {metric_name(metric)} lacks to 1"
    asked = f"on the same held-out data, {lower} at least {margin:.1%} lower"
    if champion is None:
        return Criterion(name, asked, "no champion yet", True)
    by_hand = "promote by hand with `foresense promote`"
    if champion.windows_sha256 != challenger.windows_sha256:
        return Criterion(name, asked, f"not comparable: the champion was judged on other data; {by_hand}", False)
    if champion.headline.metric != metric:
        other = metric_name(champion.headline.metric)
        return Criterion(name, asked, f"not comparable: the champion was judged by {other}; {by_hand}", False)
    before, now = (error_of(metric, one.headline.value) for one in (champion, challenger))
    found = f"{said(challenger.headline)} against {said(champion.headline)}"
    return Criterion(name, asked, found, now < before and now <= (1 - margin) * before)


def _not_behind(found: Headline) -> Criterion:
    """A difference with its interval where the model ships; a rival that ships reaches the best one by its own."""
    name = "not behind its best rival"
    asked = "the 95 % interval does not say that a simple rival is better"
    if not found.is_rival:
        if found.difference is None:
            return Criterion(name, asked, "the report holds no difference", False)
        is_behind = verdict_of(found.metric, found.difference[1:]) == "behind"
        return Criterion(name, asked, f"minus {found.rival}: {found.difference_said}", not is_behind)
    if found.ships == found.rival:
        return Criterion(name, asked, f"{found.ships} ships, the best rival itself", True)
    if found.rival_value is None:
        return Criterion(name, asked, f"the report does not hold the {found.metric} of {found.rival}", False)
    least = min(error_of(found.metric, bound) for bound in (found.value, *found.interval))
    return Criterion(
        name,
        asked,
        f"{found.ships} ships, {said(found)}, against {found.rival}: {found.rival_value:#.3g}",
        least <= error_of(found.metric, found.rival_value),
    )


def _same_signature(challenger: Shipped, champion: Shipped | None) -> Criterion:
    asked = "what goes in and comes out (channels, units, lengths, classes) as the champion's"
    if champion is None:
        return Criterion("signature unchanged", asked, "no champion yet", True)
    ours, theirs = challenger.signature, champion.signature
    differing = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
    differing += ["kind"] if challenger.kind != champion.kind else []
    return Criterion(
        "signature unchanged", asked, f"{', '.join(differing)} differ" if differing else "equal", not differing
    )
