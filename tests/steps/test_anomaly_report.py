"""Sentences of the report of a training of detectors: what the default is to another, and what few units are worth."""

import pytest

from foresense.evaluate.classification import Difference
from foresense.steps.anomaly_report import _against, _few, _signed


@pytest.mark.parametrize(
    ("value", "interval", "said"),
    [
        (-0.1, (-0.2, -0.05), "surely better than"),
        (-0.1, (-0.2, 0.05), "at least as good as"),
        (0.0, (0.0, 0.0), "at least as good as"),
        (0.1, (-0.05, 0.2), "worse than, but not surely,"),
        (0.1, (0.05, 0.2), "surely WORSE than"),
    ],
)
def test_the_default_is_judged_by_how_far_the_other_is_ahead(
    value: float, interval: tuple[float, float], said: str
) -> None:
    assert _against(Difference(value, interval)) == said


def test_few_units_are_said_and_fewer_have_no_interval() -> None:
    assert _few((20, 1100)) == ""
    assert _few((5, 6)).startswith(" (the interval draws 5 normal and 6 anomalous units: so few cover less")
    assert _few((3, 40)) == " (3 normal and 40 anomalous units: an interval needs 5 of each)"


def test_a_difference_that_rounds_to_zero_has_no_minus_sign() -> None:
    assert (_signed(-1e-9), _signed(-0.0321), _signed(0.5)) == ("+0.000", "-0.032", "+0.500")
