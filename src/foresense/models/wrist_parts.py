"""What classifiers of wrist windows are made of: scaling on the way in, rotary positions, attention, a layer, a head.

Sources: Vaswani et al., Attention Is All You Need, 2017, section 3.2 (post-norm layers, attention); Su et al.,
RoFormer, arXiv:2104.09864, section 3.2.2 (rotary positions).
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from foresense.config.wrist import WristModelConfig

CLIP = 10.0  # standard deviations
FLAT_G = 1e-5  # a channel that varies less is constant: no wrist sensor resolves it, and float32 rounds to about it
THETA = 10_000.0
HEAD_DROPOUT = (0.2, 0.1)
TIME_DROPOUT = 0.1

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def scaled_by_itself(windows: torch.Tensor) -> torch.Tensor:
    """Each channel of each window minus its mean, over its standard deviation, within +-10.

    Args:
        windows: (n, length, n_channels), g.

    Returns:
        The same shape, in standard deviations; zeros for a constant channel.
    """
    centred = windows - windows.mean(1, keepdim=True)
    deviation = centred.square().mean(1, keepdim=True).sqrt()
    return (centred / deviation.clamp_min(FLAT_G) * (deviation > FLAT_G)).clamp(-CLIP, CLIP)


class Standardise(nn.Module):
    """Values minus the mean, over the scale, of a training part, within +-10; before `fit` it only bounds.

    Attributes:
        mean: (n_values,), in the unit of each value.
        scale: (n_values,), standard deviations; 1 for a value that is constant.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, n_values: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_values))
        self.register_buffer("scale", torch.ones(n_values))

    def fit(self, values: torch.Tensor) -> None:
        """Take mean and scale from (..., n_values) of the training part.

        Raises:
            ValueError: none there, not so many values, or one that is not finite.
        """
        n_values = len(self.mean)
        if values.shape[-1:] != (n_values,) or values.numel() == 0:
            raise ValueError(
                f"values to standardise by: expected (..., {n_values}) with at least one row, found "
                f"{tuple(values.shape)}; give those of the training part"
            )
        rows = values.reshape(-1, n_values).double()
        bad = (~rows.isfinite()).any(0).nonzero().flatten().tolist()
        if bad:
            raise ValueError(f"values to standardise by: columns {bad} are not finite; refuse such windows before")
        deviation = rows.std(0, correction=0)
        constant = deviation <= 1e-9 * rows.abs().amax(0)  # what rounding leaves of a constant
        self.mean.copy_(rows.mean(0))
        self.scale.copy_(torch.where(constant, 1.0, deviation))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(..., n_values) to the same shape, in standard deviations."""
        return ((values - self.mean) / self.scale).clamp(-CLIP, CLIP)


def rotation(positions: torch.Tensor, head_width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines that turn the pairs of a query or key by angles that grow with its position.

    Args:
        positions: (n_tokens,); 0 turns nothing.
        head_width: Even; number i and number i + head_width / 2 are a pair.

    Returns:
        Two of (n_tokens, head_width), float32: the second half repeats the first.
    """
    rates = THETA ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = (positions.double()[:, None] * rates).repeat(1, 2)
    return angles.cos().float(), angles.sin().float()


def rotated(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Turn queries or keys (n, n_heads, n_tokens, head_width) by `rotation`."""
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-second, first], dim=-1) * sines


def attention_weights(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """How much each token takes from each: (n, n_heads, n_tokens, n_tokens), rows add up to 1."""
    return (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)


class EncoderLayer(nn.Module):
    """Attention over the tokens, then two linear maps of each; normed after each sum. Same shape out as in.

    Attention weights are not dropped: with a dropout above 0, attention leaves its fused kernel.
    """

    def __init__(self, config: WristModelConfig) -> None:
        super().__init__()
        width = config.d_model
        self.n_heads = config.n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm_attention = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, tokens: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor] | None, attend: Attend
    ) -> torch.Tensor:
        """Mix and map (n, n_tokens, d_model).

        Args:
            tokens: Of each window.
            turns: Cosines and sines of each token's position; None leaves positions out.
            attend: From queries, keys and values to mixed values, each (n, n_heads, n_tokens, head_width).
        """
        n, n_tokens, width = tokens.shape
        heads = self.qkv(tokens).view(n, n_tokens, 3, self.n_heads, width // self.n_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each (n, n_heads, n_tokens, head_width)
        if turns is not None:
            query, key = rotated(query, *turns), rotated(key, *turns)
        mixed = attend(query, key, value).transpose(1, 2).reshape(n, n_tokens, width)
        tokens = self.norm_attention(tokens + self.dropout(self.projection(mixed)))
        mapped = self.narrow(self.dropout(torch.relu(self.wide(tokens))))
        normed: torch.Tensor = self.norm_feed_forward(tokens + self.dropout(mapped))
        return normed


class Written:
    """Attention written out, which keeps the weights of every call; the same numbers as the fused one to 1e-6.

    Attributes:
        weights: One (n, n_heads, n_tokens, n_tokens) for each call.
    """

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []

    def __call__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Mixed values, (n, n_heads, n_tokens, head_width)."""
        self.weights.append(attention_weights(query, key))
        return self.weights[-1] @ value


def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Mixed values by torch's own kernel, each argument and the result (n, n_heads, n_tokens, head_width)."""
    return scaled_dot_product_attention(query, key, value)


class LateFeatures(nn.Module):
    """Statistics and topology beside what a network made of the samples: (n, width) to (n, (1 + kinds) x width)."""

    def __init__(self, config: WristModelConfig, width: int) -> None:
        super().__init__()
        late = config.fusion == "late"
        self.statistics = FeatureProjection(config.n_statistics, width) if late and config.n_statistics else None
        self.topology = FeatureProjection(config.n_topology, width) if late and config.n_topology else None
        self.n_kinds = (self.statistics is not None) + (self.topology is not None)

    def forward(
        self, pooled: torch.Tensor, statistics: torch.Tensor | None, topology: torch.Tensor | None
    ) -> torch.Tensor:
        """Beside each other: samples, statistics, topology."""
        parts = [pooled]
        for projection, values in ((self.statistics, statistics), (self.topology, topology)):
            if projection is not None and values is not None:
                parts.append(torch.relu(projection(values)))
        return torch.cat(parts, dim=-1)


class FeatureProjection(nn.Module):
    """(n, n_features), in their own units, to (n, width): standardised by the training part, then a linear map."""

    def __init__(self, n_features: int, width: int) -> None:
        super().__init__()
        self.standardise = Standardise(n_features)
        self.linear = nn.Linear(n_features, width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """One row for each window."""
        projected: torch.Tensor = self.linear(self.standardise(features))
        return projected


def head(n_in: int, width: int, n_classes: int) -> nn.Sequential:
    """(n, n_in) to logits (n, n_classes), over `width` numbers between."""
    first, second = HEAD_DROPOUT
    return nn.Sequential(
        nn.Dropout(first), nn.Linear(n_in, width), nn.ReLU(), nn.Dropout(second), nn.Linear(width, n_classes)
    )


def require_inputs(
    config: WristModelConfig,
    windows: torch.Tensor,
    statistics: torch.Tensor | None,
    topology: torch.Tensor | None,
    times: torch.Tensor | None,
) -> None:
    """Refuse inputs that the configuration does not describe.

    Raises:
        ValueError: another shape, an input too few or one too many; names all of them.
    """
    asked = (
        ("windows", windows, (config.window_length, config.n_channels)),
        ("statistics", statistics, (config.n_statistics,)),
        ("topology", topology, (config.n_topology,)),
        ("times", times, (config.n_times,)),
    )
    problems = []
    for name, found, shape in asked:
        if shape == (0,):
            if found is not None:
                problems.append(f"{name} were given, and n_{name} is 0")
        elif found is None:
            problems.append(f"{name} are missing: expected (n, {shape[0]})")
        elif tuple(found.shape[1:]) != shape:
            expected = ", ".join(map(str, shape))
            problems.append(f"{name}: expected (n, {expected}), found {tuple(found.shape)}")
    if problems:
        raise ValueError(f"{'; '.join(problems)}; give what the model's configuration names")
