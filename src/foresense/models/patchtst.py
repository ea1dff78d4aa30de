"""PatchTST of HuggingFace, channel-independent, with the choices that the paper and the specification leave open.

Special here: the newest `context_length` samples are used; the last sample may be repeated for one more patch (end
padding); positions may start small as in the authors' code; attention dropout is always 0, because above 0 the
attention leaves its fused CPU kernel (1.6-1.8 times the time). `transformers` reads ff_, path_ and head_dropout; its
`dropout` field has no effect on forecasts.

Source: Nie et al., A Time Series is Worth 64 Words, ICLR 2023, section 3.1 and appendix A.1.4.
"""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from transformers import PatchTSTConfig, PatchTSTForPrediction
from transformers.utils.logging import disable_progress_bar

from foresense.config import CandidateConfig
from foresense.models.dropout import use_byte_dropout


class PatchTst(nn.Module):
    """(n, context, n_channels) to (n, horizon, n_channels), scaled units, float32."""

    def __init__(self, candidate: CandidateConfig, *, n_channels: int, context: int, horizon: int) -> None:
        super().__init__()
        self.n_channels, self.context, self.horizon = n_channels, context, horizon
        self.used = candidate.context_length or context
        self.padding = candidate.patch_stride if candidate.end_padding else 0
        self.net = PatchTSTForPrediction(hf_config(candidate, n_channels=n_channels, context=context, horizon=horizon))
        if candidate.position_std is not None:
            with torch.no_grad():
                self.net.model.encoder.positional_encoder.position_enc.uniform_(
                    -candidate.position_std, candidate.position_std
                )
        use_byte_dropout(self.net)
        self.instance_norm, self.has_shortcut = candidate.instance_norm, candidate.shortcut == "linear"
        if self.has_shortcut:
            self.net.register_buffer("shortcut", torch.zeros(context, horizon))
            for weights in self.net.get_submodule("head.projection").parameters():
                nn.init.zeros_(weights)

    def start_from(self, weights: np.ndarray) -> None:
        """Take the linear forecast that the network corrects; it is not trained further.

        Args:
            weights: (n_samples, horizon): departures of the newest samples from the last one, to those of the forecast.
        """
        shortcut = self.net.get_buffer("shortcut")
        shortcut.zero_()
        shortcut[-len(weights) :] = torch.from_numpy(weights)

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        """(n, context, n_channels) to (n, horizon, n_channels), from the newest samples of `context`."""
        newest = context[:, -self.used :]
        if self.padding:
            newest = torch.cat([newest, newest[:, -1:].expand(-1, self.padding, -1)], dim=1)
        forecast: torch.Tensor = self.net(past_values=newest).prediction_outputs
        if not self.has_shortcut:
            return forecast
        last = context[:, -1:]
        shortcut = cast(torch.Tensor, self.net.shortcut)  # (context, horizon)
        linear = last + ((context - last).transpose(1, 2) @ shortcut).transpose(1, 2)
        level = newest.mean(1, keepdim=True) if self.instance_norm else 0.0  # what a head of zeros forecasts
        return linear + (forecast - level)

    def save(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors`; `PatchTSTForPrediction.from_pretrained(folder)` reads them."""
        disable_progress_bar()
        self.net.save_pretrained(folder)


def hf_config(candidate: CandidateConfig, *, n_channels: int, context: int, horizon: int) -> PatchTSTConfig:
    """The configuration of transformers for a candidate.

    Args:
        candidate: Sizes and choices.
        n_channels: Input channels, all of them targets.
        context: Samples that a window offers.
        horizon: Samples to forecast.
    """
    padding = candidate.patch_stride if candidate.end_padding else 0
    return PatchTSTConfig(
        num_input_channels=n_channels,
        num_targets=n_channels,
        context_length=(candidate.context_length or context) + padding,
        prediction_length=horizon,
        patch_length=candidate.patch_length,
        patch_stride=candidate.patch_stride,
        d_model=candidate.d_model,
        ffn_dim=candidate.ffn_dim,
        num_attention_heads=candidate.n_heads,
        num_hidden_layers=candidate.n_layers,
        norm_type=candidate.norm,
        pre_norm=candidate.pre_norm,
        positional_encoding_type="sincos" if candidate.position_std is None else "random",
        attention_dropout=0.0,
        ff_dropout=candidate.ff_dropout,
        path_dropout=candidate.path_dropout,
        head_dropout=candidate.head_dropout,
        pooling_type="mean" if candidate.head == "mean" else None,
        scaling="std" if candidate.instance_norm else None,
        loss="mse",
    )


def n_patches(candidate: CandidateConfig, context: int) -> int:
    """Patches that a context is cut into: 397 for 1200 samples, patch 12, stride 3."""
    padding = candidate.patch_stride if candidate.end_padding else 0
    used = (candidate.context_length or context) + padding
    return (used - candidate.patch_length) // candidate.patch_stride + 1
