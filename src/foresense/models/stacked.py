"""Many PatchTSTs of one candidate as one: what a fleet of small models trains with.

A small network spends most of a step on the way into and out of its operations. So the weights of all models stand in
one matrix, a row for each, and an operation is done for all of them at once: a product becomes a batched product, and
an optimizer's step is one over a matrix. No operation mixes two rows: a model is what it would be alone. States go in
and out under the names of `foresense.models.patchtst.PatchTst`, so each model is saved and exported as any other.

Source: Nie et al., A Time Series is Worth 64 Words, ICLR 2023, section 3.1; names and formulas are those of
`transformers.PatchTSTForPrediction`. The matrix is that of `torch.func.stack_module_state`, flattened.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

from foresense.config import CandidateConfig
from foresense.models.patchtst import PatchTst

_NORM_EPS = 1e-5  # PatchTSTConfig.norm_eps
_MINIMUM_SCALE = 1e-5  # of PatchTSTStdScaler, added to the variance
_MOMENTUM = 0.1  # of nn.BatchNorm1d
_COUNT = "num_batches_tracked"

State = Mapping[str, torch.Tensor]


class StackedPatchTst(nn.Module):
    """(n_models, n, context, n_channels) to (n_models, n, horizon, n_channels), scaled units, float32.

    In training mode, batch norms take each model's own statistics, and dropout draws one mask for all models: each
    sees what it would see alone with the same generator.

    Attributes:
        weights: (n_models, n_weights), what is trained.
        kept: (n_models, n_kept): what is not: fixed positions, statistics of batch norms, shortcuts.
        n_batches: (n_models,), int64: training batches that a model's batch norms have seen.
        random: Draws the masks of dropout.
    """

    kept: torch.Tensor
    n_batches: torch.Tensor

    def __init__(
        self,
        candidate: CandidateConfig,
        states: Sequence[State],
        *,
        n_channels: int,
        context: int,
        horizon: int,
        random: torch.Generator | None = None,
    ) -> None:
        """Stack the states of models.

        Args:
            candidate: Network of all of them.
            states: `PatchTst.state_dict()` of each, at least one.
            n_channels: Channels of the samples.
            context: Samples that a window offers.
            horizon: Samples to forecast.
            random: Draws the masks of dropout; a new generator where absent.

        Raises:
            ValueError: not a PatchTST, path dropout, or a state of another network.
        """
        super().__init__()
        _require_stackable(candidate)
        if not states:
            raise ValueError("no states to stack; give the state of one model at least")
        self.candidate = candidate
        self.used = candidate.context_length or context
        self.padding = candidate.patch_stride if candidate.end_padding else 0
        self.random = torch.Generator() if random is None else random
        with torch.device("meta"):
            skeleton = PatchTst(candidate, n_channels=n_channels, context=context, horizon=horizon)
        shapes = {name: tensor.shape for name, tensor in skeleton.state_dict().items()}
        self.names = list(shapes)
        trained = {name for name, weight in skeleton.named_parameters() if weight.requires_grad}
        self.counts = [name for name in shapes if name.endswith(_COUNT)]
        self.trained = {name: shape for name, shape in shapes.items() if name in trained}
        self.fixed = {name: shape for name, shape in shapes.items() if name not in {*trained, *self.counts}}
        for state in states:
            _require_same(state, shapes)
        self.weights = nn.Parameter(_rows(states, self.trained))
        self.register_buffer("kept", _rows(states, self.fixed))
        counted = [int(state[self.counts[0]]) if self.counts else 0 for state in states]
        self.register_buffer("n_batches", torch.tensor(counted))

    def state(self, row: int) -> dict[str, torch.Tensor]:
        """A copy of one model's state, as `PatchTst.load_state_dict` takes it."""
        parts = self._parts(self.weights.detach(), self.kept) | dict.fromkeys(self.counts, self.n_batches)
        return {name: parts[name][row].clone() for name in self.names}

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all models but these, (n_left,) int64."""
        self.weights = nn.Parameter(self.weights.detach()[rows])
        self.kept, self.n_batches = self.kept[rows], self.n_batches[rows]

    def forward(self, context: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Forecast with every model from its own contexts.

        Args:
            context: (n_models, n, context, n_channels).
            rows: (n_models,), int64: only these models forecast; in evaluation mode only.
        """
        parts = self._chosen(rows)
        courses = context.transpose(2, 3)  # (n_models, n, n_channels, context)
        newest, level, scale = self._newest(courses)
        forecast = self._network(parts, newest) * scale + level
        if self.candidate.shortcut == "linear":
            last = courses[..., -1:]
            linear = last + ((courses - last).flatten(1, 2) @ parts["net.shortcut"]).view_as(forecast)
            forecast = linear + (forecast - level)
        return forecast.transpose(2, 3)

    def _chosen(self, rows: torch.Tensor | None) -> dict[str, torch.Tensor]:
        if rows is None:
            if self.training:
                self.n_batches += 1
            return self._parts(self.weights, self.kept)
        if self.training:
            raise ValueError("in training mode all models forecast: rows are for evaluation; call eval() first")
        return self._parts(self.weights[rows], self.kept[rows])

    def _parts(self, weights: torch.Tensor, kept: torch.Tensor) -> dict[str, torch.Tensor]:
        return _views(weights, self.trained) | _views(kept, self.fixed)

    def _newest(self, courses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the network sees of each course, and the level and scale that were taken from it."""
        newest = courses[..., -self.used :]
        if self.padding:
            newest = torch.cat([newest, newest[..., -1:].expand(*newest.shape[:-1], self.padding)], dim=-1)
        if not self.candidate.instance_norm:
            return newest, newest.new_zeros(()), newest.new_ones(())
        level = newest.mean(-1, keepdim=True)
        newest = newest - level
        scale = (newest.square().mean(-1, keepdim=True) + _MINIMUM_SCALE).sqrt()
        return newest / scale, level, scale

    def _network(self, parts: dict[str, torch.Tensor], courses: torch.Tensor) -> torch.Tensor:
        """(n_models, n, n_channels, n_samples) to (n_models, n, n_channels, horizon)."""
        n_models, n, n_channels, n_samples = courses.shape
        length, stride = self.candidate.patch_length, self.candidate.patch_stride
        patches = courses[..., (n_samples - length) % stride :].unfold(-1, length, stride)
        n_patches = patches.shape[3]
        encoder = "net.model.encoder"
        tokens = _linear(parts, f"{encoder}.embedder.input_embedding", patches.reshape(n_models, -1, length))
        positions = parts[f"{encoder}.positional_encoder.position_enc"]
        hidden = tokens.view(n_models, -1, *positions.shape[1:]) + positions[:, None]
        hidden = hidden.view_as(tokens)  # (n_models, n * n_channels * n_patches, d_model)
        for number in range(self.candidate.n_layers):
            hidden = self._layer(parts, f"{encoder}.layers.{number}", hidden, n_patches)
        pooled = hidden.view(n_models, n * n_channels, n_patches, -1)
        pooled = pooled.mean(2) if self.candidate.head == "mean" else pooled.flatten(2)
        pooled = self._dropout(pooled, self.candidate.head_dropout)
        return _linear(parts, "net.head.projection", pooled).view(n_models, n, n_channels, -1)

    def _layer(self, parts: dict[str, torch.Tensor], at: str, hidden: torch.Tensor, n_patches: int) -> torch.Tensor:
        """One layer of the encoder: attention over patches, then the position-wise network."""
        if self.candidate.pre_norm:
            hidden = hidden + self._attention(parts, at, self._norm(parts, f"{at}.norm_sublayer1", hidden), n_patches)
            return hidden + self._feed_forward(parts, at, self._norm(parts, f"{at}.norm_sublayer3", hidden))
        hidden = self._norm(parts, f"{at}.norm_sublayer1", hidden + self._attention(parts, at, hidden, n_patches))
        return self._norm(parts, f"{at}.norm_sublayer3", hidden + self._feed_forward(parts, at, hidden))

    def _attention(self, parts: dict[str, torch.Tensor], at: str, hidden: torch.Tensor, n_patches: int) -> torch.Tensor:
        n_models, _, width = hidden.shape
        n_heads = self.candidate.n_heads
        asked = [_linear(parts, f"{at}.self_attn.{name}_proj", hidden) for name in "qkv"]
        query, key, value = (found.view(-1, n_patches, n_heads, width // n_heads).transpose(1, 2) for found in asked)
        mixed = scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n_models, -1, width)
        return _linear(parts, f"{at}.self_attn.out_proj", mixed)

    def _feed_forward(self, parts: dict[str, torch.Tensor], at: str, hidden: torch.Tensor) -> torch.Tensor:
        wide = self._dropout(gelu(_linear(parts, f"{at}.ff.0", hidden)), self.candidate.ff_dropout)
        return _linear(parts, f"{at}.ff.3", wide)

    def _norm(self, parts: dict[str, torch.Tensor], at: str, hidden: torch.Tensor) -> torch.Tensor:
        if self.candidate.norm == "layernorm":
            normed = layer_norm(hidden, hidden.shape[-1:], eps=_NORM_EPS)
            return torch.addcmul(parts[f"{at}.bias"][:, None], normed, parts[f"{at}.weight"][:, None])
        at = f"{at}.batchnorm"
        known_mean, known_variance = parts[f"{at}.running_mean"], parts[f"{at}.running_var"]
        mean = hidden.mean(1) if self.training else known_mean
        centred = hidden - mean[:, None]
        variance = centred.square().mean(1) if self.training else known_variance
        if self.training:
            n = hidden.shape[1]
            with torch.no_grad():
                known_mean.lerp_(mean, _MOMENTUM)
                known_variance.lerp_(variance * (n / (n - 1)), _MOMENTUM)
        scale = parts[f"{at}.weight"] * (variance + _NORM_EPS).rsqrt()
        return torch.addcmul(parts[f"{at}.bias"][:, None], centred, scale[:, None])

    def _dropout(self, x: torch.Tensor, p: float) -> torch.Tensor:
        """`foresense.models.dropout.ByteDropout`, with one mask for all models."""
        threshold = round(p * 256)
        if not self.training or threshold == 0:
            return x
        n = x[0].numel()
        words = torch.empty((n + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=self.random)
        keep = words.view(torch.uint8)[:n].view(x.shape[1:]) >= threshold
        return x * (keep * (256 / (256 - threshold)))


def _linear(parts: Mapping[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    """Each model's `nn.Linear` on its own rows: (n_models, n, n_in) to (n_models, n, n_out)."""
    return torch.baddbmm(parts[f"{name}.bias"][:, None], x, parts[f"{name}.weight"].transpose(1, 2))


def _views(matrix: torch.Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """The tensors that stand side by side in a matrix: name to (n_models, *shape)."""
    columns = matrix.split([shape.numel() for shape in shapes.values()], dim=1)
    return {name: found.unflatten(1, shape) for (name, shape), found in zip(shapes.items(), columns, strict=True)}


def _rows(states: Sequence[State], shapes: Mapping[str, torch.Size]) -> torch.Tensor:
    """(n_models, n): the tensors of each state side by side."""
    none = next(iter(states[0].values())).new_empty(0)
    rows = [torch.cat([none, *(state[name].detach().flatten() for name in shapes)]) for state in states]
    return torch.stack(rows)


def _require_stackable(candidate: CandidateConfig) -> None:
    if candidate.model != "patchtst":
        raise ValueError(f"only a patchtst is stacked, found model {candidate.model!r}; train it group by group")
    if candidate.path_dropout:
        raise ValueError(
            f"path_dropout must be 0 to stack models, found {candidate.path_dropout:g}; set it to 0 (ff_dropout and "
            "head_dropout may act), or train group by group"
        )


def _require_same(state: State, shapes: Mapping[str, torch.Size]) -> None:
    found = {name: tensor.shape for name, tensor in state.items()}
    wrong = [
        f"{name}: expected {_told(shapes.get(name))}, found {_told(found.get(name))}"
        for name in sorted({*shapes, *found})
        if shapes.get(name) != found.get(name)
    ]
    if wrong:
        raise ValueError(
            f"the state of another network: {len(wrong)} tensors differ, first {wrong[0]}; stack models of one "
            "candidate, with the same channels, context and horizon"
        )


def _told(shape: torch.Size | None) -> str:
    return "none" if shape is None else str(tuple(shape))
