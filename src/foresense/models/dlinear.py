"""DLinear: a moving average splits the context, one linear map each for trend and rest, shared by all channels.

The rival that a transformer has to beat. Source: Zeng et al., Are Transformers Effective for Time Series Forecasting?,
AAAI 2023, section 4 (kernel 25, ends padded with the first and last sample, maps that start as an average).
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from foresense.config import CandidateConfig

KERNEL = 25


class DLinear(nn.Module):
    """(n, context, n_channels) to (n, horizon, n_channels), scaled units, float32."""

    def __init__(self, candidate: CandidateConfig, *, n_channels: int, context: int, horizon: int) -> None:
        super().__init__()
        self.n_channels, self.context, self.horizon = n_channels, context, horizon
        self.used = candidate.context_length or context
        self.net = nn.ModuleDict({"trend": nn.Linear(self.used, horizon), "rest": nn.Linear(self.used, horizon)})
        for weights in self.net.parameters():
            if weights.ndim == 2:
                nn.init.constant_(weights, 1 / self.used)

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        """(n, context, n_channels) to (n, horizon, n_channels), from the newest samples of `context`."""
        series = context[:, -self.used :].transpose(1, 2)  # (n, n_channels, used)
        padded = nn.functional.pad(series, (KERNEL // 2, KERNEL // 2), mode="replicate")
        trend = nn.functional.avg_pool1d(padded, KERNEL, stride=1)
        forecast: torch.Tensor = self.net["trend"](trend) + self.net["rest"](series - trend)
        return forecast.transpose(1, 2)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.net.state_dict(), folder / "model.safetensors")
