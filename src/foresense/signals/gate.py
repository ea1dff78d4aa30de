"""A verdict: part of what a step computes, while the report that carries it only tells."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict


class Gate(BaseModel):
    """A named limit with what was measured against it."""

    model_config = ConfigDict(frozen=True)

    name: str
    target: float
    comparison: Literal["<=", ">="]
    value: float
    unit: str
    passed: bool
    headroom: float  # share of the target that is left: positive when passed

    @classmethod
    def judge(
        cls, name: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None
    ) -> Self:
        """Compare `value` with the one bound that is given.

        Raises:
            ValueError: not exactly one bound.
        """
        if (at_most is None) == (at_least is None):
            raise ValueError(f"gate {name!r}: give exactly one of at_most and at_least")
        if at_most is not None:
            headroom = (at_most - value) / abs(at_most) if at_most else -value
            return cls(
                name=name,
                target=at_most,
                comparison="<=",
                value=value,
                unit=unit,
                passed=value <= at_most,
                headroom=headroom,
            )
        assert at_least is not None
        headroom = (value - at_least) / abs(at_least) if at_least else value
        return cls(
            name=name,
            target=at_least,
            comparison=">=",
            value=value,
            unit=unit,
            passed=value >= at_least,
            headroom=headroom,
        )
