"""What a pretraining hides of mixed windows: patches of time, whole channels, or a block of each channel."""

from dataclasses import dataclass
from typing import Literal

import torch

Kind = Literal["patch", "channel", "block"]
KINDS: tuple[Kind, ...] = ("patch", "channel", "block")


@dataclass(frozen=True)
class Hiding:
    """How much of a window is hidden, and by what; each window has one kind, drawn with equal chances.

    Attributes:
        share: Of the patches, of the channels, or of the steps of each channel; rounded to whole ones, at least one and
            never all where there are two.
        patch_length: Steps of a hidden patch.
        kinds: `patch`: the same steps of all channels; `channel`: channels from end to end; `block`: of every channel a
            run of steps, another one for each. A single channel is never hidden whole: a block is.
    """

    share: float = 0.4
    patch_length: int = 16
    kinds: tuple[Kind, ...] = KINDS

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.share < 1:
            problems.append(f"share: expected between 0 and 1, found {self.share:g}")
        if self.patch_length < 1:
            problems.append(f"patch_length: expected at least 1, found {self.patch_length}")
        if not self.kinds or set(self.kinds) - set(KINDS):
            problems.append(f"kinds: expected some of {', '.join(KINDS)}, found {list(self.kinds)}")
        if problems:
            raise ValueError("; ".join(problems))


def hidden_places(
    n: int, *, n_channels: int, n_steps: int, hiding: Hiding, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Draw what is hidden of `n` windows: (n, n_channels, n_steps), truth values.

    Args:
        n: Windows.
        n_channels: Numeric and categorical ones together.
        n_steps: Of a window, padding included.
        hiding: How much, by what.
        generator: None draws from torch's own.
    """
    chosen = torch.randint(len(hiding.kinds), (n,), generator=generator)
    drawn = []
    for kind in hiding.kinds:
        if kind == "patch":
            n_patches = -(-n_steps // hiding.patch_length)
            patches = _some_of(n, n_patches, hiding.share, generator)
            places = patches.repeat_interleave(hiding.patch_length, dim=1)[:, None, :n_steps]
        elif kind == "channel" and n_channels > 1:
            places = _some_of(n, n_channels, hiding.share, generator)[..., None]
        else:
            length = _at_least_one(n_steps, hiding.share)
            begins = torch.randint(n_steps - length + 1, (n, n_channels, 1), generator=generator)
            steps = torch.arange(n_steps)
            places = (steps >= begins) & (steps < begins + length)
        drawn.append(places.expand(n, n_channels, n_steps))
    return torch.stack(drawn)[chosen, torch.arange(n)]


def _some_of(n: int, n_things: int, share: float, generator: torch.Generator | None) -> torch.Tensor:
    """(n, n_things): as many in each row, which ones by lot."""
    ranks = torch.rand(n, n_things, generator=generator).argsort(1).argsort(1)
    return ranks < _at_least_one(n_things, share)


def _at_least_one(n_things: int, share: float) -> int:
    return max(1, min(round(share * n_things), n_things - 1))
