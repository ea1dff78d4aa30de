"""A rival as a network: features, then a linear map or trees, or a rule that repeats; inputs are those of `DualPatch`.

Special here: what scikit-learn learnt comes as plain arrays, so that a rival that wins is exported, saved and
benchmarked like a network, without scikit-learn and without pickle. Trees lie flat: all nodes of all trees in one
array, a leaf leads to itself, and every tree is walked as often as the deepest one asks for.

Source of the trees' rules: scikit-learn 1.9, `_hist_gradient_boosting/_predictor.pyx`: left where `x <= threshold`; NaN
goes where training sent it.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt, ValidationError, model_validator
from safetensors.torch import load_file, save
from torch import nn

from foresense.config.section import Section, problems_of
from foresense.models.catalog import WEIGHTS
from foresense.models.mixed_features import MixedFeatureConfig, WindowFeatures
from foresense.signals import read_json, write_bytes, write_json

DESCRIPTION = "rival.json"
#: Logit of a class that training never showed: its probability is 0 in float32, and every logit stays finite.
NEVER = -1e4


@dataclass(frozen=True, eq=False)
class FittedLinear:
    """Scores of standardised features, k for each row: `offset + weights @ (x - mean) / deviation`.

    Attributes:
        mean: (n_features,).
        deviation: (n_features,), above 0.
        weights: (k, n_features).
        holes: (k, n_features): what a feature adds where it is NaN, instead.
        offset: (k,).
    """

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    holes: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True, eq=False)
class FittedTrees:
    """Sums of trees, k for each row; the nodes of all trees lie behind one another.

    The trees of a round stand together, one for each of the k sums in turn.

    Attributes:
        feature: (n_nodes,): column that a node looks at; any one for a leaf.
        threshold: (n_nodes,): left at or below it.
        left: (n_nodes,): number of the node in this array; a leaf has its own.
        right: (n_nodes,), likewise.
        missing_left: (n_nodes,), bool: where NaN goes.
        value: (n_nodes,): what a leaf adds.
        roots: (n_trees,): first node of each tree.
        offset: (k,): the sums without any tree.
        depth: Steps from a root to the deepest leaf.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray
    roots: np.ndarray
    offset: np.ndarray
    depth: int


@dataclass(frozen=True, eq=False)
class FittedRepeat:
    """The first value that is there, in the order of the lags.

    Attributes:
        lags: Steps before the newest one.
        otherwise: What is said where none of them was measured.
    """

    lags: tuple[int, ...]
    otherwise: float


Fitted = FittedLinear | FittedTrees | FittedRepeat


class RivalConfig(Section):
    """What a rival is built from; its weights fill it."""

    rival: str  # its name in `foresense.training.mixed_rivals`
    scores: Literal["linear", "trees", "repeat"]
    features: MixedFeatureConfig
    feature_names: tuple[str, ...] = ()  # in their order; none: not named
    n_outputs: PositiveInt
    n_trees: NonNegativeInt = 0
    n_nodes: NonNegativeInt = 0
    depth: NonNegativeInt = 0
    channel: NonNegativeInt = 0  # of `repeat`: numeric channel
    lags: tuple[NonNegativeInt, ...] = ()  # of `repeat`

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        windows, n_names = self.features, len(self.feature_names)
        if n_names not in (0, windows.n_features):
            raise ValueError(f"{n_names} feature_names for {windows.n_features} features; give the names of these")
        if self.scores == "repeat" and not self.lags:
            raise ValueError("a rule that repeats needs lags")
        if self.scores == "repeat" and (self.channel >= windows.n_numeric or max(self.lags) >= windows.n_steps):
            raise ValueError(
                f"channel {self.channel} at lags up to {max(self.lags)}: windows have {windows.n_numeric} numeric "
                f"channels of {windows.n_steps} steps"
            )
        return self


class LinearScores(nn.Module):
    """Features to scores, a hole counted as training counted it.

    Attributes:
        mean: (n_features,).
        deviation: (n_features,).
        weights: (n_outputs, n_features), of a standardised feature.
        holes: (n_outputs, n_features), of a feature that is missing.
        offset: (n_outputs,).
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    weights: torch.Tensor
    holes: torch.Tensor
    offset: torch.Tensor

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        n_outputs, n_features = config.n_outputs, config.features.n_features
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("deviation", torch.ones(n_features))
        self.register_buffer("weights", torch.zeros(n_outputs, n_features))
        self.register_buffer("holes", torch.zeros(n_outputs, n_features))
        self.register_buffer("offset", torch.zeros(n_outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(n, n_features) to (n, n_outputs)."""
        measured = features.isfinite()
        standard = torch.where(measured, (torch.where(measured, features, 0.0) - self.mean) / self.deviation, 0.0)
        return standard @ self.weights.T + (~measured).to(standard.dtype) @ self.holes.T + self.offset


class TreeScores(nn.Module):
    """Features to sums of trees. Numbers of nodes are int32, which every runtime gathers with.

    Attributes:
        feature: (n_nodes,), int32: what a node asks for.
        threshold: (n_nodes,): at most this goes left.
        left: (n_nodes,), int32.
        right: (n_nodes,), int32.
        missing_left: (n_nodes,): 1 where a hole goes left.
        value: (n_nodes,): of a leaf.
        roots: (n_trees,), int32.
        offset: (n_outputs,).
    """

    feature: torch.Tensor
    threshold: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    missing_left: torch.Tensor
    value: torch.Tensor
    roots: torch.Tensor
    offset: torch.Tensor

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.depth, self.n_outputs = config.depth, config.n_outputs
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.zeros(config.n_nodes, dtype=torch.int32))
        for name in ("threshold", "value", "missing_left"):
            self.register_buffer(name, torch.zeros(config.n_nodes))
        self.register_buffer("roots", torch.zeros(config.n_trees, dtype=torch.int32))
        self.register_buffer("offset", torch.zeros(config.n_outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(n, n_features) to (n, n_outputs)."""
        n, n_features = features.shape
        measured = features.isfinite().flatten()
        values = torch.where(measured, features.flatten(), 0.0)
        holes = (~measured).to(values.dtype)
        rows = torch.arange(n, dtype=torch.int32, device=features.device)[:, None] * n_features
        node = self.roots.expand(n, -1).flatten()
        for _ in range(self.depth):
            place = (rows + _at(self.feature, node).view(n, -1)).flatten()
            is_hole, is_below = _at(holes, place) > 0, _at(values, place) <= _at(self.threshold, node)
            is_left = (is_hole & (_at(self.missing_left, node) > 0)) | (
                ~is_hole & is_below
            )  # no `where` of truths: ORT
            node = torch.where(is_left, _at(self.left, node), _at(self.right, node))
        return _at(self.value, node).view(n, -1, self.n_outputs).sum(1) + self.offset


def _at(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return values.index_select(0, places)


class Repeat(nn.Module):
    """The first value of a channel that is there, in the order of the lags.

    Attributes:
        otherwise: (1,): where none is there.
        steps: (n_lags,), int64: which steps are asked, in their order.
        order: (n_lags,): 0, 1, ...
    """

    otherwise: torch.Tensor
    steps: torch.Tensor
    order: torch.Tensor

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.channel = config.channel
        self.register_buffer("otherwise", torch.zeros(1))
        self.register_buffer("steps", config.features.n_steps - 1 - torch.tensor(config.lags), persistent=False)
        self.register_buffer("order", torch.arange(len(config.lags), dtype=torch.float32), persistent=False)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """(n, n_numeric, n_steps) to (n, 1)."""
        values = numbers[:, self.channel].index_select(1, self.steps)
        measured = values.isfinite()
        place = torch.where(measured, self.order, float(len(self.order))).amin(1, keepdim=True)
        said = torch.where(measured & (self.order == place), values, 0.0).sum(1, keepdim=True)
        return torch.where(place < len(self.order), said, self.otherwise)


class RivalModel(nn.Module):
    """Raw windows to logits of classes, or to a value in the target's unit; the weights are 0 until it is filled.

    Attributes:
        config: What it was built from.
    """

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.config = config
        self.features = WindowFeatures(config.features)
        scores = {"linear": LinearScores, "trees": TreeScores, "repeat": Repeat}[config.scores]
        self.scores: nn.Module = scores(config)

    def forward(
        self,
        numbers: torch.Tensor | None = None,
        categories: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
        static_numbers: torch.Tensor | None = None,
        static_categories: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Judge windows; see `foresense.models.dualpatch.DualPatch.forward` for the arguments.

        Returns:
            (n, n_outputs), float32.

        Raises:
            ValueError: inputs of another shape, too few or too many, or windows with padding.
        """
        if lengths is not None:
            raise ValueError("lengths: a rival looks at full windows; expected none; give windows without padding")
        found = self.features(numbers, categories, static_numbers, static_categories)
        outputs: torch.Tensor = self.scores(numbers if self.config.scores == "repeat" else found)
        return outputs


def rival_model(
    name: str,
    fitted: Fitted,
    features: MixedFeatureConfig,
    *,
    feature_names: tuple[str, ...] = (),
    channel: int = 0,
) -> RivalModel:
    """Make a network of what a rival has learnt.

    Args:
        name: Of the rival, for those who read the description.
        fitted: What it has learnt.
        features: What windows hold, and the features that it was trained on, in that order.
        feature_names: Theirs.
        channel: Numeric channel that a rule repeats; others do not look at it.

    Returns:
        In evaluation mode.

    Raises:
        ValueError: another number of features than it was trained on, a channel or lags that windows do not have.
    """
    shape: dict[str, Any] = {"scores": "repeat", "n_outputs": 1, "channel": channel}
    n_features = features.n_features
    if isinstance(fitted, FittedRepeat):
        shape["lags"] = fitted.lags
    elif isinstance(fitted, FittedLinear):
        shape = {"scores": "linear", "n_outputs": len(fitted.offset)}
        n_features = len(fitted.mean)
    else:
        sizes = {"n_trees": len(fitted.roots), "n_nodes": len(fitted.value), "depth": fitted.depth}
        shape = {"scores": "trees", "n_outputs": len(fitted.offset), **sizes}
        if len(fitted.feature) and fitted.feature.max() >= n_features:
            n_features = int(fitted.feature.max()) + 1
    if n_features != features.n_features:
        raise ValueError(
            f"rival {name!r} was trained on {n_features} features or more, these windows have {features.n_features}; "
            "describe the windows that its features were computed from"
        )
    model = RivalModel(RivalConfig(rival=name, features=features, feature_names=feature_names, **shape))
    model.scores.load_state_dict(_tensors(fitted))
    return model.eval()


def _tensors(fitted: Fitted) -> dict[str, torch.Tensor]:
    """State of the module that gives its scores."""
    if isinstance(fitted, FittedRepeat):
        return {"otherwise": torch.tensor([fitted.otherwise], dtype=torch.float32)}
    arrays = {field.name: getattr(fitted, field.name) for field in fields(fitted)}
    if isinstance(fitted, FittedTrees):
        arrays["threshold"] = rounded_down(fitted.threshold)
        del arrays["depth"]
    whole = ("feature", "left", "right", "roots")
    kinds = {name: np.int32 if name in whole else np.float32 for name in arrays}
    return {name: torch.from_numpy(np.array(array, dtype=kinds[name])) for name, array in arrays.items()}


def rounded_down(values: np.ndarray) -> np.ndarray:
    """The largest float32 at or below each, in the same shape: a float32 x is at or below both or above both."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
    return np.where(near.astype(np.float64) > values, np.nextafter(near, np.float32(-np.inf)), near)


def save_rival(folder: Path, model: RivalModel) -> None:
    """Write what was learnt (`model.safetensors`), then `rival.json` with what the model is built from."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(tensors))
    write_json(folder / DESCRIPTION, {"config": model.config.model_dump(mode="json")})


def load_rival(folder: Path) -> RivalModel:
    """Load what `save_rival` wrote, in evaluation mode.

    Raises:
        FileNotFoundError: there is no rival.
        ValueError: the description or the weights are not those of a rival of this release.
    """
    description = folder / DESCRIPTION
    if not description.is_file():
        raise FileNotFoundError(
            f"{description}: not there; run `foresense train {description.parent.parent.name}` first"
        )
    content: Any = read_json(description)
    try:
        model = RivalModel(RivalConfig.model_validate(content.get("config")))
    except ValidationError as error:
        problems = "; ".join(problems_of(error, RivalConfig))
        raise ValueError(f"{description}: not a rival of this release: {problems}; train again") from error
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise ValueError(
            f"{folder / WEIGHTS}: weights of another rival than {description} describes ({error}); the two files "
            "belong together: train again"
        ) from error
    return model.eval()
