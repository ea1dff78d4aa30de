"""A transformer over mixed channels with holes: patches of time beside whole channels, fused.

Special here: a temporal patch holds all channels, so that there are as many tokens as patches and not as patches times
channels; positions are learnt and absolute, as a time since the beginning means something; static covariates are one
more token of each branch; raw values with NaN go in, and every mask is made inside the graph.

Source: spec/dualpatch.md, D-1 ... D-20 and DX-1 ... DX-8; the pointwise network is the brief's, corrected.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import pad

from foresense.config.dualpatch import DualPatchConfig
from foresense.models.dualpatch_inputs import Measured, Mixed, MixedInputs
from foresense.models.dualpatch_parts import (
    EMBEDDING_STD,
    FUSIONS,
    ChannelTokens,
    PatchTokens,
    PointTokens,
    Pooling,
    attending,
    coverage,
    encoder_layers,
    n_signals,
    numeric_rows,
    signals,
)
from foresense.models.wrist_parts import fused

HEAD_DROPOUT = 0.1


@dataclass(frozen=True, eq=False)
class Encoded:
    """What an encoder made of windows.

    Attributes:
        tokens: (n, n_tokens, d_model): of time, or of channels where there is no temporal branch.
        real: (n, n_tokens), truth values: tokens that are not padding alone; None for all.
        channels: (n, n_channels, d_model), before the fusion; None without that branch.
    """

    tokens: torch.Tensor
    real: torch.Tensor | None
    channels: torch.Tensor | None


class TimeBranch(nn.Module):
    """Tokens of time, in patches or step by step, that attend to each other.

    Attributes:
        begins: (n_tokens,), with static covariates one more: the first step of each token.
    """

    begins: torch.Tensor

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.config = config
        is_pointwise = config.branches == "pointwise"
        self.points = PointTokens(config) if is_pointwise else None
        self.patches = None if is_pointwise else PatchTokens(config)
        self.positions = nn.Parameter(torch.randn(config.n_tokens, config.d_model) * EMBEDDING_STD)
        self.norm = nn.LayerNorm(config.d_model)
        self.layers = encoder_layers(config)
        begins = torch.arange(config.n_tokens) * config.token_stride
        self.register_buffer("begins", torch.cat([begins, begins.new_zeros(int(config.has_statics))]), persistent=False)

    def real(self, mixed: Mixed) -> torch.Tensor | None:
        """Which tokens look at a real step, the static one behind them; the first always counts.

        Returns:
            (n, n_tokens) or (n, n_tokens + 1), truth values; None where all do.
        """
        return None if mixed.lengths is None else self.begins < mixed.lengths[:, None]

    def forward(self, mixed: Mixed, extra: torch.Tensor | None = None) -> torch.Tensor:
        """(n, n_tokens, d_model); `extra`, of the same shape, is added before the layers."""
        config = self.config
        if self.patches is None:
            assert self.points is not None
            tokens = self.points(numeric_rows(config, mixed, after=1), mixed.vectors)
        else:
            tokens = self.patches(signals(config, mixed), mixed.padding)
        tokens = tokens + self.positions
        if extra is not None:
            tokens = tokens + extra
        if mixed.static_token is not None:
            tokens = torch.cat([tokens, mixed.static_token], dim=1)
        mixing: torch.Tensor = self.norm(tokens)
        attend = attending(self.real(mixed))
        for layer in self.layers:
            mixing = layer(mixing, None, attend)
        return mixing[:, : config.n_tokens]


class ChannelBranch(nn.Module):
    """Tokens of channels that attend to each other; a static token stands behind them."""

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = ChannelTokens(config)
        self.norm = nn.LayerNorm(config.d_model)
        self.layers = encoder_layers(config)

    def forward(self, mixed: Mixed, extra: torch.Tensor | None = None) -> torch.Tensor:
        """(n, n_channels, d_model), with the static token one more; `extra` is added to the numeric channels."""
        tokens = self.tokens(numeric_rows(self.config, mixed, after=2), mixed.vectors, mixed.padding)
        if extra is not None:
            tokens = tokens + pad(extra, (0, 0, 0, self.config.n_categorical))
        if mixed.static_token is not None:
            tokens = torch.cat([tokens, mixed.static_token], dim=1)
        mixing: torch.Tensor = self.norm(tokens)
        for layer in self.layers:
            mixing = layer(mixing, None, fused)
        return mixing


class DualPatchEncoder(nn.Module):
    """Mixed windows to tokens: `inputs.mixed` marks what raw arrays hold, `forward` encodes it."""

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.config = config
        self.inputs = MixedInputs(config)
        self.time = None if config.branches == "channels" else TimeBranch(config)
        self.channels = ChannelBranch(config) if config.branches in ("both", "channels") else None
        self.fusion = FUSIONS[config.fusion](config) if config.branches == "both" else None

    def forward(
        self, mixed: Mixed, time_extra: torch.Tensor | None = None, channel_extra: torch.Tensor | None = None
    ) -> Encoded:
        """Encode what `inputs.mixed` gave; the extras, of their shape, are added to the tokens of both branches."""
        channels = None if self.channels is None else self.channels(mixed, channel_extra)
        if self.time is None:
            assert channels is not None
            return Encoded(channels, None, channels[:, : self.config.n_channels])
        tokens, real = self.time(mixed, time_extra), self.time.real(mixed)
        real = None if real is None else real[:, : self.config.n_tokens]
        if channels is None or self.fusion is None:
            return Encoded(tokens, real, None)
        return Encoded(self.fusion(tokens, channels), real, channels[:, : self.config.n_channels])


class StepStates(nn.Module):
    """A vector for each step: the temporal tokens that look at it, and what the step itself holds.

    Attributes:
        shares: (n_steps, n_tokens): see `coverage`.
    """

    shares: torch.Tensor

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.config = config
        self.own = nn.Linear(n_signals(config), config.d_model)
        self.norm = nn.LayerNorm(config.d_model)
        self.register_buffer("shares", coverage(config), persistent=False)

    def forward(self, encoded: Encoded, mixed: Mixed) -> torch.Tensor:
        """(n, n_steps, d_model)."""
        states: torch.Tensor = self.norm(
            self.shares @ encoded.tokens + self.own(signals(self.config, mixed).transpose(1, 2))
        )
        return states


class DualPatch(nn.Module):
    """Raw mixed windows to logits or values; see `forward`.

    Attributes:
        config: What it was built from.
        target: Mean and deviation of each output in the training part: what the head gives is standardised by them.
            0 and 1, which change nothing, until `target.take` is called; left so for classes.
    """

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = DualPatchEncoder(config)
        self.steps = StepStates(config) if config.head == "steps" else None
        self.pooling = None if config.head == "steps" else Pooling(config)
        self.dropout = nn.Dropout(HEAD_DROPOUT)
        self.head = nn.Linear(config.d_model if self.pooling is None else self.pooling.width, config.n_outputs)
        self.target = Measured(config.n_outputs)

    def forward(
        self,
        numbers: torch.Tensor | None = None,
        categories: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
        static_numbers: torch.Tensor | None = None,
        static_categories: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Judge windows.

        Args:
            numbers: (n, n_numeric, n_steps), each channel in its own unit, float32; NaN and +-inf: not measured.
                Windows may be shorter than the longest one.
            categories: (n, n_categorical, n_steps), int64: 0 missing, 1 out of vocabulary, then the values; any other
                number counts as out of vocabulary.
            lengths: (n,), int64: steps from there on are padding and count for nothing; None where every step is real.
            static_numbers: (n, n_static_numeric), likewise in their own units.
            static_categories: (n, n_static_categorical), codes likewise.

        Returns:
            Logits of classes or values in the target's unit, (n, n_outputs); for the head `steps`
            (n, n_steps, n_outputs), with 0 at steps that are padding.

        Raises:
            ValueError: inputs of another shape, too few or too many; names all of them.
        """
        given = (numbers, categories, lengths, static_numbers, static_categories)
        mixed = self.encoder.inputs.mixed(*given)
        encoded = self.encoder(mixed)
        pooled = self.pooled(encoded, mixed)
        outputs: torch.Tensor = self.head(self.dropout(pooled)) * self.target.deviation + self.target.mean
        if self.steps is None:
            return outputs
        if mixed.padding is not None:
            outputs = torch.where(mixed.padding[..., None], 0.0, outputs)
        rows = numbers if numbers is not None and self.config.n_numeric else categories
        assert rows is not None
        return outputs[:, : rows.shape[-1]]

    def pooled(self, encoded: Encoded, mixed: Mixed) -> torch.Tensor:
        """What the head sees: (n, width), or (n, n_steps, d_model) for the head `steps`."""
        vectors: torch.Tensor
        if self.steps is not None:
            vectors = self.steps(encoded, mixed)
        else:
            assert self.pooling is not None
            vectors = self.pooling(encoded.tokens, encoded.real)
        return vectors
