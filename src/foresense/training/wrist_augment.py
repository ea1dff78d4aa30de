"""Windows of a wrist as they could have been: the sensor worn another way, two windows in one; and hidden patches.

All draws come from torch's default generator, whose state a checkpoint keeps: a resumed training draws what the
uninterrupted one does.
"""

import math
from dataclasses import dataclass

import torch
from torch.distributions import Beta


@dataclass(frozen=True)
class Augmentation:
    """What is done to training windows, anew each time they are seen.

    Attributes:
        turn_deg: Turn each window about an axis of its own by at most so many degrees, 0 ... 180.
        mixup: Concentration of the beta distribution by which two windows are mixed; 0 mixes none.
    """

    turn_deg: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.turn_deg <= 180:
            problems.append(f"turn_deg: expected 0 to 180, found {self.turn_deg:g}")
        if not 0 <= self.mixup < float("inf"):
            problems.append(f"mixup: expected a finite number from 0 on, found {self.mixup:g}")
        if problems:
            raise ValueError("; ".join(problems))


AS_RECORDED = Augmentation()


def turned(windows: torch.Tensor, *, at_most_deg: float) -> torch.Tensor:
    """Turn each window by an angle of its own, uniform up to a limit, about an axis of its own, uniform on the sphere.

    Args:
        windows: (n, length, 3), g; the magnitude of every sample stays what it is.
        at_most_deg: 0 ... 180, degrees, either way.

    Source: Um et al., Data Augmentation of Wearable Sensor Data, ICMI 2017, section 3 ("rotation"); the matrix is
    Rodrigues' formula.
    """
    n = len(windows)
    axes = torch.nn.functional.normalize(torch.randn(n, 3), dim=1)
    angles = (2 * torch.rand(n, 1, 1) - 1) * math.radians(at_most_deg)
    x, y, z = axes.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(n, 3, 3)
    turns = torch.eye(3) + angles.sin() * cross + (1 - angles.cos()) * (cross @ cross)
    return windows @ turns.transpose(1, 2).to(windows)


def mixed(rows: list[torch.Tensor | None], *, concentration: float) -> list[torch.Tensor | None]:
    """Mix each row of a batch with one other, all arrays by the same share.

    Args:
        rows: Arrays of one batch, (n, ...) each, or None.
        concentration: Of the symmetric beta distribution that a share is drawn from; small: nearly one of the two.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018, section 2; a share for each row.
    """
    n = next(len(row) for row in rows if row is not None)
    partners = torch.randperm(n)
    shares = Beta(concentration, concentration).sample((n,))
    found: list[torch.Tensor | None] = []
    for row in rows:
        if row is None:
            found.append(None)
            continue
        share = shares.to(row).view(n, *[1] * (row.ndim - 1))
        found.append(share * row + (1 - share) * row[partners.to(row.device)])
    return found


def hidden_patches(n: int, *, n_patches: int, share: float, generator: torch.Generator | None = None) -> torch.Tensor:
    """Choose which patches of each window are hidden: (n, n_patches), truth values, equally many in every row.

    Args:
        n: Windows.
        n_patches: Of each.
        share: Of the patches, rounded to a whole number of them, at least one and never all.
        generator: torch's default one where absent.
    """
    n_hidden = min(max(round(share * n_patches), 1), n_patches - 1)
    ranks = torch.rand(n, n_patches, generator=generator).argsort(dim=1)
    return ranks < n_hidden
