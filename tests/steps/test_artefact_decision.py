"""Promotion of an artefact: every criterion fails alone, and nothing is promoted on numbers of other data."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresense.signals import Gate
from foresense.steps.artefact_decision import decide_artefact
from foresense.steps.artefact_versions import Shipped
from foresense.steps.decision import Decision, EdgeVerdict
from foresense.steps.results_table import Headline

EDGE = EdgeVerdict((Gate.judge("size_mib", 0.5, "MiB", at_most=1.0),))
MARGIN = 0.01


def shipped(value: float, metric: str = "auroc", **changes: Any) -> Shipped:
    ahead = [-0.1, -0.2, -0.05] if metric == "rmse" else [0.1, 0.05, 0.2]
    headline = Headline(
        metric, value, [value - 0.1, value + 0.1], "network", False, "forest", 0.7, ahead, "+0.1: ahead"
    )
    made = Shipped("weeks", None, headline, "ab" * 32, {"model": "1"}, {"label": "condition", "unit": "counts"})
    return replace(made, **changes)


def decide(challenger: Shipped, champion: Shipped | None, edge: EdgeVerdict = EDGE, **named: Any) -> Decision:
    return decide_artefact(challenger, champion, edge, margin=MARGIN, **named)


def failed(decision: Decision) -> list[str]:
    return [one.name for one in decision.criteria if not one.passed]


def with_headline(found: Shipped, **changes: Any) -> Shipped:
    return replace(found, headline=replace(found.headline, **changes))


def test_each_criterion_refuses_alone_and_is_named() -> None:
    champion, better = shipped(0.80), shipped(0.85)
    assert decide(better, champion).promotes
    assert decide(better, champion).reason.startswith(
        "AUROC 0.850 [0.750, 0.950] against AUROC 0.800 [0.700, 0.900]; minus forest: +0.1"
    )
    too_big = EdgeVerdict((Gate.judge("size_mib", 1.2, "MiB", at_most=1.0),))
    behind = with_headline(better, difference=[-0.1, -0.2, -0.05])
    broken = {
        "better than the champion": decide(shipped(0.80), champion),
        "not behind its best rival": decide(behind, champion),
        "measured on the edge": decide(better, champion, EdgeVerdict(problem="no export")),
        "gate size_mib": decide(better, champion, too_big),
        "signature unchanged": decide(replace(better, signature={"label": "sex", "unit": "counts"}), champion),
        "not rolled back": decide(better, champion, was_rolled_back=True),
    }
    for name, decision in broken.items():
        assert failed(decision) == [name]
        assert f"1 of {len(decision.criteria)} criteria failed: {name} (" in decision.reason
    assert "label differ" in broken["signature unchanged"].reason


def test_the_first_version_needs_all_but_a_champion() -> None:
    assert decide(shipped(0.8), None).promotes
    assert failed(decide(shipped(0.8), None, EdgeVerdict(problem="not measured"))) == ["measured on the edge"]


@pytest.mark.parametrize(
    ("metric", "before", "now", "promotes"),
    [
        ("rmse", 100.0, 99.0, True),  # an error: 1 % lower
        ("rmse", 100.0, 99.1, False),
        ("rmse", 100.0, 101.0, False),
        ("rmse", 0.0, 0.0, False),
        ("auroc", 0.8, 0.8021, True),  # of a score, what it lacks to 1: 0.2 to 0.1979
        ("auroc", 0.8, 0.8019, False),
        ("macro_f1", 1.0, 1.0, False),
    ],
)
def test_the_error_must_be_one_percent_lower(metric: str, before: float, now: float, promotes: bool) -> None:
    assert decide(shipped(now, metric), shipped(before, metric)).promotes is promotes


@given(value=st.floats(0.01, 0.99), other=st.floats(0.01, 0.99), metric=st.sampled_from(["auroc", "rmse"]))
def test_of_two_at_most_one_beats_the_other(value: float, other: float, metric: str) -> None:
    one, two = shipped(value, metric), shipped(other, metric)
    assert not (decide(one, two).promotes and decide(two, one).promotes)
    assert not decide(one, one).promotes


def test_numbers_of_other_data_or_another_metric_are_not_compared() -> None:
    champion, better = shipped(0.80), shipped(0.95)
    elsewhere = decide(replace(better, windows_sha256="cd" * 32), champion)
    assert failed(elsewhere) == ["better than the champion"]
    assert "judged on other data; promote by hand with `foresense promote`" in elsewhere.reason
    other = decide(shipped(0.95, "macro_f1"), champion)
    assert failed(other) == ["better than the champion"]
    assert "the champion was judged by AUROC; promote by hand" in other.reason


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({"ships": "forest"}, True),  # the best rival itself
        ({"rival_value": 0.94}, True),  # its interval reaches 0.95
        ({"rival_value": 0.96}, False),
        ({"rival_value": None}, False),  # not known: no evidence
    ],
)
def test_a_rival_that_ships_is_judged_by_its_own_interval(changes: dict[str, Any], passes: bool) -> None:
    found = with_headline(shipped(0.85), is_rival=True, difference=[-0.5, -0.6, -0.4], **changes)
    assert failed(decide(found, None)) == ([] if passes else ["not behind its best rival"])


def test_of_errors_a_rival_reaches_the_best_from_above() -> None:
    found = with_headline(shipped(0.85, "rmse"), is_rival=True, rival_value=0.76)
    assert decide(found, None).promotes  # 0.75 ... 0.95 reaches 0.76
    assert failed(decide(with_headline(found, rival_value=0.74), None)) == ["not behind its best rival"]


def test_a_report_without_a_difference_is_no_evidence() -> None:
    assert failed(decide(with_headline(shipped(0.8), difference=None), None)) == ["not behind its best rival"]
