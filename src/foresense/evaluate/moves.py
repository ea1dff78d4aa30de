"""How far a channel's nights usually lie from each other: of one machine, and of the fleet around it.

A machine has some seventy nights of training, and neighbours among them share most of their history: what they say is
typical is a rough estimate. Other machines of the pipeline measure the same kind of thing, so each machine's own figure
is drawn towards the fleet's middle.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from foresense.evaluate.distances import GAUSSIAN_MAD

#: How much the fleet's middle counts against the machine's own figure; chosen as in `foresense.evaluate.drift`.
FLEET_WEIGHT = 0.7
#: A channel whose nights differ by no more than this is constant: it says nothing about others, nor they about it.
_STILL = 1e-6


@dataclass(frozen=True)
class Moves:
    """Of one channel, deviations of moves about 0, robust against the faults that training nights hold; never 0.

    Attributes:
        shift: Of a night's level against the weeks before, in deviations of the channel's residuals.
        spread: Of the logarithm of a night's spread against the usual night's.
    """

    shift: float
    spread: float

    def towards(self, fleet: "Moves | None") -> "Moves":
        """These, drawn towards the fleet's; unchanged where there is no fleet, or this channel is constant.

        The mean is geometric, as these are scales. Source of the idea: James and Stein, Estimation with quadratic loss,
        1961.
        """
        if fleet is None:
            return self
        return Moves(_drawn(self.shift, fleet.shift), _drawn(self.spread, fleet.spread))


@dataclass(frozen=True)
class FleetMoves:
    """Middle of the machines' moves; `channels`: by name, the constant ones left out."""

    channels: Mapping[str, Moves]


def typical_moves(shifts: np.ndarray, log_spreads: np.ndarray) -> Moves:
    """The moves of one channel's nights.

    Args:
        shifts: (n_nights,), in deviations.
        log_spreads: (n_nights,), logarithms.
    """
    return Moves(_about_zero(shifts), _about_zero(log_spreads - np.median(log_spreads)))


def middle_of(machines: Iterable[tuple[str, Moves]]) -> FleetMoves:
    """Median over machines, for each channel that moves.

    Args:
        machines: Name of a channel and its moves on one machine; each name as often as machines have the channel.
    """
    found: dict[str, list[Moves]] = {}
    for channel, moves in machines:
        if min(moves.shift, moves.spread) > _STILL:
            found.setdefault(channel, []).append(moves)
    return FleetMoves(
        {
            channel: Moves(
                float(np.median([one.shift for one in moves])), float(np.median([one.spread for one in moves]))
            )
            for channel, moves in found.items()
        }
    )


def _drawn(own: float, fleet: float) -> float:
    return own if own <= _STILL else float(own ** (1 - FLEET_WEIGHT) * fleet**FLEET_WEIGHT)


def _about_zero(moves: np.ndarray) -> float:
    return max(float(GAUSSIAN_MAD * np.median(np.abs(moves))), _STILL)
