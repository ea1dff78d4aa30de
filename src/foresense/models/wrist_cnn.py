"""A small convolutional network over a wrist window: the rival of the transformer, with about as many weights.

Four convolutions, each halving the samples, with batch norm and ReLU; mean over time; the transformer's head. Any
window length. On three channels and four classes 76,496 parameters; the published transformer has 75,016.

Source of the shape: Wang et al., Time Series Classification from Scratch with Deep Neural Networks, IJCNN 2017,
section II (the fully convolutional network); the strides in place of its full resolution are ours.
"""

import torch
from torch import nn

from foresense.config.wrist import WristModelConfig
from foresense.models.wrist_parts import LateFeatures, Standardise, head, require_inputs, scaled_by_itself

WIDTHS = (48, 64, 96, 56)
KERNELS = (9, 5, 5, 5)
HEAD_WIDTH = 28


class WristCnn(nn.Module):
    """Windows, and features at the head where asked for, to logits; see `forward`.

    Attributes:
        config: What it was built from.
        n_classes: Logits.
    """

    def __init__(self, config: WristModelConfig, *, n_classes: int) -> None:
        super().__init__()
        self.config, self.n_classes = config, n_classes
        self.scaling = Standardise(config.n_channels) if config.scaling == "training" else None
        layers: list[nn.Module] = []
        for n_in, n_out, kernel in zip((config.n_channels, *WIDTHS), WIDTHS, KERNELS, strict=False):
            convolution = nn.Conv1d(n_in, n_out, kernel, stride=2, padding=kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm1d(n_out), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.late = LateFeatures(config, WIDTHS[-1])
        self.head = head((1 + self.late.n_kinds) * WIDTHS[-1], HEAD_WIDTH, n_classes)

    def forward(
        self,
        windows: torch.Tensor,
        statistics: torch.Tensor | None = None,
        topology: torch.Tensor | None = None,
        times: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Classify windows; arguments, result and errors are those of `foresense.models.wrist.WristTransformer`."""
        require_inputs(self.config, windows, statistics, topology, times)
        scaled = scaled_by_itself(windows) if self.scaling is None else self.scaling(windows)
        maps = self.convolutions(scaled.transpose(1, 2))  # (n, width, samples)
        pooled = self.dropout(maps.mean(-1))
        logits: torch.Tensor = self.head(self.late(pooled, statistics, topology))
        return logits
