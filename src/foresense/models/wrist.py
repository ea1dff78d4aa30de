"""A transformer over the patches of a wrist window, with tokens of its statistics and topology; and its pretraining.

Special here: a patch holds all axes of its samples; the two tokens of the whole window stand behind the patches and
are not rotated, so their order means nothing (an unrotated token is one at position 0: what passes between it and a
patch may still depend on where the patch is, what passes between two patches only on how far apart they are); the
embedding of the time is added to every token; features arrive in their own units, and the scales of the training part
travel with the weights.

Source: spec/activity.md, part D4; patches: Nie et al., A Time Series is Worth 64 Words, ICLR 2023, section 3.1, and
masked patches section 3.2; unrotated tokens beside rotated ones: Heo et al., Rotary Position Embedding for Vision
Transformer, ECCV 2024, section 3.
"""

from typing import Literal, overload

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from foresense.config.wrist import WristModelConfig
from foresense.models.wrist_parts import (
    TIME_DROPOUT,
    Attend,
    EncoderLayer,
    FeatureProjection,
    LateFeatures,
    Standardise,
    Written,
    fused,
    head,
    require_inputs,
    rotation,
    scaled_by_itself,
)


class WristEncoder(nn.Module):
    """Windows to tokens: (n, window_length, n_channels), g, to (n, n_tokens, d_model)."""

    cosines: torch.Tensor
    sines: torch.Tensor

    def __init__(self, config: WristModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        as_tokens = config.fusion == "tokens"
        self.scaling = Standardise(config.n_channels) if config.scaling == "training" else None
        self.patch_projection = nn.Linear(config.patch_length * config.n_channels, width)
        self.statistics = FeatureProjection(config.n_statistics, width) if as_tokens and config.n_statistics else None
        self.topology = FeatureProjection(config.n_topology, width) if as_tokens and config.n_topology else None
        self.times = nn.Linear(config.n_times, width) if config.n_times else None
        self.times_dropout = nn.Dropout(TIME_DROPOUT)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.n_layers))
        cosines, sines = rotation(token_positions(config), width // config.n_heads)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def patched(self, windows: torch.Tensor) -> torch.Tensor:
        """The scaled patches of windows: (n, n_patches, patch_length * n_channels), sample after sample."""
        scaled = scaled_by_itself(windows) if self.scaling is None else self.scaling(windows)
        return scaled.reshape(len(windows), self.config.n_patches, -1)

    def forward(
        self,
        projected: torch.Tensor,
        statistics: torch.Tensor | None = None,
        topology: torch.Tensor | None = None,
        times: torch.Tensor | None = None,
        *,
        attend: Attend = fused,
    ) -> torch.Tensor:
        """Mix the tokens of projected patches (n, n_patches, d_model) with those of the features."""
        tokens = [projected]
        for projection, values in ((self.statistics, statistics), (self.topology, topology)):
            if projection is not None and values is not None:
                tokens.append(projection(values)[:, None])
        mixed: torch.Tensor = torch.cat(tokens, dim=1)
        if self.times is not None and times is not None:
            mixed = mixed + self.times_dropout(torch.relu(self.times(times)))[:, None]
        mixed = self.norm(mixed)
        turns = (self.cosines, self.sines) if self.config.rope else None
        once_more = self.config.checkpointing and self.training and attend is fused
        for layer in self.layers:
            if once_more:
                mixed = checkpoint(layer, mixed, turns, attend, use_reentrant=False, preserve_rng_state=True)
            else:
                mixed = layer(mixed, turns, attend)
        return mixed


class WristTransformer(nn.Module):
    """Windows and features to logits; see `forward`.

    Attributes:
        config: What it was built from.
        n_classes: Logits.
    """

    def __init__(self, config: WristModelConfig, *, n_classes: int) -> None:
        super().__init__()
        self.config, self.n_classes = config, n_classes
        self.encoder = WristEncoder(config)
        self.late = LateFeatures(config, config.d_model)
        self.head = head((1 + self.late.n_kinds) * config.d_model, config.d_model // 2, n_classes)

    @overload
    def forward(
        self,
        windows: torch.Tensor,
        statistics: torch.Tensor | None = None,
        topology: torch.Tensor | None = None,
        times: torch.Tensor | None = None,
        *,
        return_attention: Literal[False] = False,
    ) -> torch.Tensor: ...

    @overload
    def forward(
        self,
        windows: torch.Tensor,
        statistics: torch.Tensor | None = None,
        topology: torch.Tensor | None = None,
        times: torch.Tensor | None = None,
        *,
        return_attention: Literal[True],
    ) -> tuple[torch.Tensor, list[torch.Tensor]]: ...

    def forward(
        self,
        windows: torch.Tensor,
        statistics: torch.Tensor | None = None,
        topology: torch.Tensor | None = None,
        times: torch.Tensor | None = None,
        *,
        return_attention: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, list[torch.Tensor]]:
        """Classify windows.

        Args:
            windows: (n, window_length, n_channels), g, float32.
            statistics: (n, n_statistics), in their own units; None where the configuration has none.
            topology: (n, n_topology), likewise.
            times: (n, n_times), likewise.
            return_attention: Also return what each layer attends to; slower, the logits are the same to 1e-6.

        Returns:
            Logits (n, n_classes); with `return_attention` also one (n, n_heads, n_tokens, n_tokens) for each layer:
            rows take from columns; patches, then statistics, then topology.

        Raises:
            ValueError: inputs of another shape, too few or too many.
        """
        require_inputs(self.config, windows, statistics, topology, times)
        encoder = self.encoder
        written = Written() if return_attention else None
        projected = encoder.patch_projection(encoder.patched(windows))
        tokens = encoder(projected, statistics, topology, times, attend=written or fused)
        logits: torch.Tensor = self.head(self.late(tokens.mean(1), statistics, topology))
        return logits if written is None else (logits, written.weights)


class MaskedPatches(nn.Module):
    """Pretraining without labels: the hidden patches of a window from the others.

    Only samples go in: no features, which would tell of what is hidden, and no time.
    """

    def __init__(self, config: WristModelConfig) -> None:
        super().__init__()
        self.config = config.model_copy(update={"n_statistics": 0, "n_topology": 0, "n_times": 0})
        self.encoder = WristEncoder(self.config)
        self.hidden = nn.Parameter(torch.zeros(config.d_model))
        nn.init.normal_(self.hidden, std=0.02)
        self.decoder = nn.Linear(config.d_model, config.patch_length * config.n_channels)

    def forward(self, windows: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruct patches.

        Args:
            windows: (n, window_length, n_channels), g.
            hidden: (n, n_patches), truth values: which patches the encoder does not see.

        Returns:
            What the patches are taken for and what they are, both (n, n_patches, patch_length * n_channels), scaled.
        """
        require_inputs(self.config, windows, None, None, None)
        truth = self.encoder.patched(windows)
        seen = torch.where(hidden[..., None], self.hidden, self.encoder.patch_projection(truth))
        guessed: torch.Tensor = self.decoder(self.encoder(seen))
        return guessed, truth


def start_from_pretrained(model: WristTransformer, pretrained: MaskedPatches) -> None:
    """Give `model` the encoder of a pretraining; what a pretraining has not (features, time, head) stays as it is.

    Raises:
        ValueError: the two encoders have tensors of other shapes, or other positions; names them.
    """
    ours, theirs = model.encoder.state_dict(), pretrained.encoder.state_dict()
    problems = [
        f"{name}: expected {tuple(ours[name].shape) if name in ours else 'none'}, found {tuple(tensor.shape)}"
        for name, tensor in theirs.items()
        if name not in ours or ours[name].shape != tensor.shape
    ]
    missing = [
        name for name in ours if name not in theirs and not name.startswith(("statistics.", "topology.", "times."))
    ]
    problems += [f"{name}: missing" for name in missing]
    problems += [
        f"{name}: expected {getattr(model.config, name)!r}, found {getattr(pretrained.config, name)!r}"
        for name in ("n_heads", "rope", "scaling")
        if getattr(model.config, name) != getattr(pretrained.config, name)
    ]
    if problems:
        raise ValueError(
            f"the pretrained encoder is another one: {'; '.join(problems)}; pretrain with the model's configuration"
        )
    model.encoder.load_state_dict(ours | theirs)


def token_positions(config: WristModelConfig) -> torch.Tensor:
    """(n_tokens,): patches count from 0; the tokens of the whole window go on counting, or stay at 0: unrotated."""
    positions = torch.arange(config.n_tokens)
    if config.global_tokens == "unrotated":
        positions[config.n_patches :] = 0
    return positions
