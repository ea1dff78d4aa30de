"""Convolutions with random kernels over a wrist window, and one linear map of what they find: nothing deep is trained.

Each kernel sees one to three of seven courses (x, y, z, the length of their sum less gravity, and x, y, z without what
changes slowly) at one of five dilations. Of its output, four numbers are kept: the share of the window above each of
three thresholds, and the maximum. The head is a ridge regression in closed form (`training.wrist_ridge`).

Source: Dempster, Petitjean and Webb, ROCKET: exceptionally fast and accurate time series classification using random
convolutional kernels, Data Mining and Knowledge Discovery 34, 2020, section 3; thresholds from quantiles of the outputs
themselves: the same, MiniRocket, KDD 2021, section 3. Special here: shares rise over a short ramp in place of a step,
so that the last bit of a convolution on a device changes no label; the courses; features beside the shares.
"""

import torch
from torch import nn
from torch.nn import functional

from foresense.config.wrist import WristModelConfig
from foresense.models.wrist_parts import Standardise, require_inputs

DILATIONS = (1, 2, 4, 8, 16)
KERNEL = 9
N_THRESHOLDS = 3
#: Length of the ramp of a share, in standard deviations of the kernel's output.
RAMP = 0.01
#: Half of what is averaged for the slow part of an axis, seconds.
SLOW_S = 0.5
#: Windows whose outputs give the thresholds.
N_REFERENCE = 256


class WristRocket(nn.Module):
    """Windows, and features at the head where asked for, to logits; see `forward`.

    Attributes:
        config: What it was built from.
        n_classes: Logits.
        sharpness: (), what the scores of the regression are multiplied by to be logits.
    """

    sharpness: torch.Tensor

    def __init__(self, config: WristModelConfig, *, n_classes: int) -> None:
        super().__init__()
        self.config, self.n_classes = config, n_classes
        n_courses = 2 * config.n_channels + 1
        self.course_scale = Standardise(n_courses)
        n_each = config.n_kernels // len(DILATIONS)
        self.kernels = nn.ModuleList(RandomKernels(n_each, n_courses, dilation) for dilation in DILATIONS)
        n_found = n_each * len(DILATIONS) * (N_THRESHOLDS + 1)
        self.found = Standardise(n_found)
        self.statistics = Standardise(config.n_statistics) if config.n_statistics else None
        self.topology = Standardise(config.n_topology) if config.n_topology else None
        self.head = nn.Linear(n_found + config.n_statistics + config.n_topology, n_classes)
        self.register_buffer("sharpness", torch.ones(()))

    def courses(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, n_courses, window_length), not scaled."""
        axes = windows.transpose(1, 2)
        length = torch.linalg.vector_norm(axes, dim=1, keepdim=True) - 1
        half = min(max(1, round(SLOW_S * self.config.rate_hz)), (self.config.window_length - 1) // 2)
        slow = functional.avg_pool1d(functional.pad(axes, (half, half), mode="reflect"), 2 * half + 1, 1)
        return torch.cat([axes, length, axes - slow], dim=1)

    def shares(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, n_found): what the kernels find, not scaled."""
        scaled = self.course_scale(self.courses(windows).transpose(1, 2)).transpose(1, 2)
        return torch.cat([kernels(scaled) for kernels in self.kernels], dim=1)

    def regressors(
        self, shares: torch.Tensor, statistics: torch.Tensor | None = None, topology: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(n, n_regressors): what the head maps, standardised."""
        parts = [self.found(shares)]
        for standardise, values in ((self.statistics, statistics), (self.topology, topology)):
            if standardise is not None and values is not None:
                parts.append(standardise(values))
        return torch.cat(parts, dim=1)

    def forward(
        self,
        windows: torch.Tensor,
        statistics: torch.Tensor | None = None,
        topology: torch.Tensor | None = None,
        times: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Classify windows; arguments, result and errors are those of `foresense.models.wrist.WristTransformer`."""
        require_inputs(self.config, windows, statistics, topology, times)
        regressors = self.regressors(self.shares(windows), statistics, topology)
        logits: torch.Tensor = self.head(regressors) * self.sharpness
        return logits

    @torch.no_grad()
    def meet(self, windows: torch.Tensor) -> None:
        """Take scales, kernels and thresholds from training windows (n, window_length, n_channels), g.

        Kernels and quantiles are drawn from torch's generator.
        """
        self.course_scale.fit(torch.cat([self.courses(part).transpose(1, 2) for part in windows.split(1024)]))
        some = windows[torch.randperm(len(windows))[:N_REFERENCE]]
        reference = self.course_scale(self.courses(some).transpose(1, 2)).transpose(1, 2)
        for kernels in self.kernels:
            kernels.draw(reference)  # type: ignore[operator]  # a list of modules forgets their class


class RandomKernels(nn.Module):
    """Kernels of one dilation: (n, n_courses, samples) to (n, n_kernels x 4), shares kernel by kernel, then maxima."""

    thresholds: torch.Tensor
    ramps: torch.Tensor

    def __init__(self, n_kernels: int, n_courses: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.weight = nn.Parameter(torch.zeros(n_kernels, n_courses, KERNEL), requires_grad=False)
        self.register_buffer("thresholds", torch.zeros(N_THRESHOLDS, n_kernels, 1))
        self.register_buffer("ramps", torch.ones(n_kernels, 1))

    def outputs(self, courses: torch.Tensor) -> torch.Tensor:
        """(n, n_kernels, samples)."""
        return functional.conv1d(courses, self.weight, padding=self.dilation * (KERNEL // 2), dilation=self.dilation)

    def forward(self, courses: torch.Tensor) -> torch.Tensor:
        """Three shares and a maximum of each kernel."""
        outputs = self.outputs(courses) / self.ramps
        shares = [(outputs - level).clamp(0, 1).mean(-1) for level in self.thresholds]
        return torch.cat([*shares, outputs.amax(-1)], dim=1)

    @torch.no_grad()
    def draw(self, reference: torch.Tensor) -> None:
        """Draw kernels, and their thresholds between the quantiles of their outputs for (n, n_courses, samples)."""
        n_kernels, n_courses, _ = self.weight.shape
        drawn = torch.randn(self.weight.shape)
        seen = torch.rand(n_kernels, n_courses).argsort(1) < torch.randint(1, 4, (n_kernels, 1))
        drawn = (drawn - drawn.mean(2, keepdim=True)) * seen[:, :, None]
        self.weight.copy_(drawn / torch.linalg.vector_norm(drawn, dim=(1, 2), keepdim=True))
        outputs = self.outputs(reference).transpose(0, 1).flatten(1)
        self.ramps.copy_(RAMP * outputs.std(1, keepdim=True).clamp_min(1e-6))
        ordered = (outputs / self.ramps).sort(1).values
        places = (torch.rand(n_kernels, N_THRESHOLDS) * (ordered.shape[1] - 1)).long()
        self.thresholds.copy_(ordered.gather(1, places).T[:, :, None] - 0.5)
