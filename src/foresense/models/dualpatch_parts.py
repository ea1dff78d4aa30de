"""What a dual-patch transformer is made of: tokens of time, tokens of channels, their fusion, and pooling.

Sources: patches over time: Nie et al., A Time Series is Worth 64 Words, ICLR 2023, section 3.1 (here a patch holds all
channels, so that there are as many tokens as patches); a channel's whole course as a token: Liu et al., iTransformer,
ICLR 2024, section 3.1; gates: Srivastava et al., Highway Networks, 2015, section 2; attention pooling: Yang et al.,
Hierarchical Attention Networks, NAACL 2016, section 2.2.
"""

import torch
from torch import nn
from torch.nn.functional import pad, scaled_dot_product_attention

from foresense.config.dualpatch import DualPatchConfig
from foresense.config.wrist import WristModelConfig
from foresense.models.dualpatch_inputs import Mixed
from foresense.models.wrist_parts import Attend, EncoderLayer

EMBEDDING_STD = 0.1  # of positions and channel names, beside projections of values of about 0.6
#: Added to the scores of tokens that are not to be attended to. Not -inf, which integers of an edge runtime have no
#: place for; exp(-1e9) is 0 in float32 all the same.
NEVER = -1e9


class PatchTokens(nn.Module):
    """Signals of all channels to one token for each patch of time; patches may overlap.

    A signal is a channel's values, its missing flags, or one of the numbers that its categories are embedded in.
    Patches are cut and multiplied by a matrix: a convolution of the same weights trains four times slower on a CPU.
    """

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.length, self.stride, self.n_tokens = config.token_length, config.token_stride, config.n_tokens
        self.n_more = (self.n_tokens - 1) * self.stride + self.length - config.n_steps
        self.projection = nn.Linear(n_signals(config) * self.length, config.d_model)
        self.padding = nn.Linear(self.length, config.d_model, bias=False)

    def cut(self, signals: torch.Tensor) -> torch.Tensor:
        """(n, n_signals, n_steps) to (n, n_tokens, n_signals * length), one signal after the other."""
        whole = pad(signals, (0, self.n_more)) if self.n_more else signals
        return whole.unfold(2, self.length, self.stride).transpose(1, 2).flatten(2)

    def forward(self, signals: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
        """(n, n_signals, n_steps) and, of each step, whether it is padding (n, n_steps) to (n, n_tokens, d_model)."""
        tokens: torch.Tensor = self.projection(self.cut(signals))
        return tokens if padding is None else tokens + self.padding(self.cut(padding[:, None].to(signals.dtype)))


class PointTokens(nn.Module):
    """Every step a token: the network of the brief, a convolution of one step and the sum of the category embeddings.

    Source: spec/dualpatch.md, D-13 ... D-17.
    """

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        n_rows = config.n_numeric * (1 + config.missing_channels)
        self.convolution = nn.Conv1d(n_rows, config.d_model, kernel_size=1) if n_rows else None

    def forward(self, numeric: torch.Tensor | None, vectors: torch.Tensor | None) -> torch.Tensor:
        """(n, n_rows, n_steps) and (n, n_categorical, n_steps, d_model) to (n, n_steps, d_model)."""
        parts: list[torch.Tensor] = []
        if self.convolution is not None and numeric is not None:
            parts.append(self.convolution(numeric).transpose(1, 2))
        if vectors is not None:
            parts.append(vectors.sum(1))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


class ChannelTokens(nn.Module):
    """The whole course of each channel to one token: numeric channels, then categorical ones.

    The maps are shared by all channels of a kind; what tells channels apart is the embedding of each.
    """

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        width, n_steps = config.d_model, config.n_steps
        self.numeric = nn.Linear(n_steps * (1 + config.missing_channels), width) if config.n_numeric else None
        self.categorical = nn.Linear(n_steps * config.value_width, width) if config.n_categorical else None
        self.padding = nn.Linear(n_steps, width, bias=False)
        self.names = nn.Parameter(torch.randn(config.n_channels, width) * EMBEDDING_STD)

    def forward(
        self, numeric: torch.Tensor | None, vectors: torch.Tensor | None, padding: torch.Tensor | None
    ) -> torch.Tensor:
        """Tokens (n, n_channels, d_model).

        Args:
            numeric: (n, n_numeric, n_steps), or twice the steps: values, then missing flags.
            vectors: (n, n_categorical, n_steps, value_width).
            padding: (n, n_steps), truth values, or None.
        """
        parts = []
        if self.numeric is not None and numeric is not None:
            parts.append(self.numeric(numeric))
        if self.categorical is not None and vectors is not None:
            parts.append(self.categorical(vectors.flatten(2)))
        tokens = torch.cat(parts, dim=1) + self.names
        return tokens if padding is None else tokens + self.padding(padding.to(tokens.dtype))[:, None]


class CrossAttention(nn.Module):
    """Each token of one kind takes from all tokens of another; normed after the sum."""

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        width, self.n_heads = config.d_model, config.n_heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.projection = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """(n, n_tokens, d_model) and (n, n_others, d_model) to the shape of the first."""
        key, value = self.key_value(others).chunk(2, dim=-1)
        asked, key, value = (
            part.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for part in (self.query(tokens), key, value)
        )
        mixed = scaled_dot_product_attention(asked, key, value).transpose(1, 2).flatten(2)
        normed: torch.Tensor = self.norm(tokens + self.dropout(self.projection(mixed)))
        return normed


class Gate(nn.Module):
    """Each number of each token from the token or from the mean of the others, as a gate says."""

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.own = nn.Linear(config.d_model, config.d_model)
        self.other = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, tokens: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """(n, n_tokens, d_model) and (n, n_others, d_model) to the shape of the first."""
        mean = others.mean(1, keepdim=True)
        share = torch.sigmoid(self.own(tokens) + self.other(mean))
        return share * tokens + (1 - share) * mean


class Average(nn.Module):
    """Half the token, half the mean of the others: the fusion without a weight."""

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()

    def forward(self, tokens: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """(n, n_tokens, d_model) and (n, n_others, d_model) to the shape of the first."""
        return (tokens + others.mean(1, keepdim=True)) / 2


class Pooling(nn.Module):
    """Tokens of a window to one vector; tokens of padding alone do not count."""

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.kind = config.pooling
        self.score = nn.Linear(config.d_model, 1) if config.pooling == "attention" else None
        self.width = config.d_model * (config.n_tokens if config.pooling == "flatten" else 1)

    def forward(self, tokens: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """(n, n_tokens, d_model) and which of them are real, (n, n_tokens), or None for all, to (n, width)."""
        if self.score is not None:
            scores = self.score(tokens)
            if real is not None:
                scores = scores + torch.where(real, 0.0, NEVER)[..., None]
            weighted: torch.Tensor = scores.softmax(1) * tokens
            return weighted.sum(1)
        if real is not None:
            tokens = torch.where(real[..., None], tokens, 0.0)
        if self.kind == "flatten":
            return tokens.flatten(1)
        return tokens.mean(1) if real is None else tokens.sum(1) / real.sum(1, keepdim=True)


FUSIONS: dict[str, type[CrossAttention | Gate | Average]] = {"cross": CrossAttention, "gate": Gate, "mean": Average}


def n_signals(config: DualPatchConfig) -> int:
    """Signals of a patch: values, missing flags, and the numbers of embedded categories."""
    return config.n_numeric * (1 + config.missing_channels) + config.n_categorical * config.value_width


def numeric_rows(config: DualPatchConfig, mixed: Mixed, *, after: int) -> torch.Tensor | None:
    """Values, and the missing flags beside them where asked for, along an axis: 1 for signals, 2 for courses.

    Returns:
        (n, n_numeric, n_steps), the axis `after` twice as long with flags; None without numeric channels.
    """
    if mixed.values is None or mixed.missing is None:
        return None
    return torch.cat([mixed.values, mixed.missing], dim=after) if config.missing_channels else mixed.values


def signals(config: DualPatchConfig, mixed: Mixed) -> torch.Tensor:
    """(n, n_signals, n_steps): what a patch is cut from."""
    numeric = numeric_rows(config, mixed, after=1)
    parts = [] if numeric is None else [numeric]
    if mixed.vectors is not None:
        parts.append(mixed.vectors.transpose(2, 3).flatten(1, 2))
    return torch.cat(parts, dim=1)


def encoder_layers(config: DualPatchConfig) -> nn.ModuleList:
    """The layers of a branch: those of the wrist transformer, without rotation."""
    shared = {name: getattr(config, name) for name in ("d_model", "n_heads", "dropout")}
    sizes = WristModelConfig.model_validate({**shared, "rope": False})
    return nn.ModuleList(EncoderLayer(sizes) for _ in range(config.n_layers))


def attending(real: torch.Tensor | None) -> Attend:
    """Attention to the real tokens (n, n_tokens) only; to all of them for None."""
    bias = None if real is None else torch.where(real, 0.0, NEVER)[:, None, None]

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(query, key, value, attn_mask=bias)

    return attend


def coverage(config: DualPatchConfig) -> torch.Tensor:
    """(n_steps, n_tokens): rows add up to 1; a step has its share of each temporal token that looks at it."""
    steps, begins = torch.arange(config.n_steps)[:, None], torch.arange(config.n_tokens) * config.token_stride
    inside = ((steps >= begins) & (steps < begins + config.token_length)).float()
    return inside / inside.sum(1, keepdim=True)
