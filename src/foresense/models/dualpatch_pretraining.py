"""Pretraining a dual-patch encoder without labels, what goes over to a model, and how fast each part then learns.

Special here: raw values are rebuilt, not embeddings, which could be made alike; hidden values are marked by weights
that only the pretraining has, and hidden categories by the [MASK] row, so that an encoder in use has nothing of them;
tokens of time and tokens of channels both rebuild, and what they say is added up.

Sources: spec/dualpatch.md, D-21 ... D-23, DX-10, DX-11; masked patches: Nie et al., A Time Series is Worth 64 Words,
ICLR 2023, section 3.2; slower layers below: Howard and Ruder, Universal Language Model Fine-tuning, ACL 2018,
section 3.2.
"""

from dataclasses import dataclass

import torch
from torch import nn

from foresense.config.dualpatch import DualPatchConfig
from foresense.models.dualpatch import DualPatch, DualPatchEncoder, Encoded
from foresense.models.dualpatch_inputs import FIRST_VALUE, Hidden
from foresense.models.dualpatch_parts import coverage

SLOWER = 1 / 2.6  # learning rate of a layer over that of the layer above it: section 3.2 of the source


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """What a pretraining takes hidden things for, and what they are.

    Attributes:
        numbers: (n, n_numeric, n_steps), standard deviations; None without numeric channels.
        true_numbers: The same, as measured.
        asked_numbers: The same, truth values: hidden, and measured.
        logits: For each categorical channel (n, n_steps, n_values): of the values of its vocabulary.
        true_values: (n, n_categorical, n_steps), int64: which value it is; 0 where not asked.
        asked_values: The same, truth values: hidden, and a value of the vocabulary.
    """

    numbers: torch.Tensor | None
    true_numbers: torch.Tensor | None
    asked_numbers: torch.Tensor | None
    logits: tuple[torch.Tensor, ...]
    true_values: torch.Tensor | None
    asked_values: torch.Tensor | None


class TimeDecoder(nn.Module):
    """Tokens of time to what each of their steps holds; a step that several patches look at gets their mean.

    Attributes:
        places: (n_steps, n_looking), int64: where each step lies in the tokens that look at it.
        shares: (n_steps, n_looking): what each of them counts.
    """

    places: torch.Tensor
    shares: torch.Tensor

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.n_rows = config.n_numeric + sum(config.cardinalities) * (config.n_categorical > 0)
        self.linear = nn.Linear(config.d_model, config.token_length * self.n_rows)
        inside = coverage(config)  # (n_steps, n_tokens)
        first = inside.argmax(1)  # the first token that looks at a step
        at_most = int((inside > 0).sum(1).max())
        tokens = (first[:, None] + torch.arange(at_most)).clamp(max=config.n_tokens - 1)
        offsets = torch.arange(config.n_steps)[:, None] - tokens * config.token_stride
        shares = inside.gather(1, tokens)
        shares[:, 1:][tokens[:, 1:] == tokens[:, :-1]] = 0.0  # the last token, met again by the clamp
        places = tokens * config.token_length + offsets.clamp(0, config.token_length - 1)
        self.register_buffer("places", places, persistent=False)  # (n_steps, tokens of a step)
        self.register_buffer("shares", shares, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, n_tokens, d_model) to (n, n_steps, n_rows)."""
        said = self.linear(tokens).unflatten(2, (-1, self.n_rows)).flatten(1, 2)  # (n, n_tokens * length, n_rows)
        of_steps = said[:, self.places]  # (n, n_steps, tokens of a step, n_rows)
        weighted: torch.Tensor = of_steps * self.shares[..., None]
        return weighted.sum(2)


class ChannelDecoder(nn.Module):
    """Tokens of channels to the course of each: a matrix for numbers, products of times and values for categories."""

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.numeric = nn.Linear(width, config.n_steps) if config.n_numeric else None
        if config.n_categorical:
            self.of_times = nn.Parameter(torch.randn(config.n_steps, width) * width**-0.5)
            self.of_values = nn.Parameter(torch.randn(sum(config.cardinalities), width) * width**-0.5)

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """(n, n_channels, d_model) to (n, n_steps, n_rows), as `TimeDecoder`."""
        n_numeric = self.config.n_numeric
        parts = [] if self.numeric is None else [self.numeric(channels[:, :n_numeric]).transpose(1, 2)]
        if self.config.n_categorical:
            of_values = self.of_values.split(self.config.cardinalities)
            parts += [
                (channels[:, n_numeric + number, None] * self.of_times) @ rows.T
                for number, rows in enumerate(of_values)
            ]
        return torch.cat(parts, dim=-1)


class MaskedMixed(nn.Module):
    """Pretraining without labels: hidden values and categories of a window from the rest of it.

    Static covariates are left out: a model that has them learns their token from its labels.
    """

    def __init__(self, config: DualPatchConfig) -> None:
        super().__init__()
        self.config = without_statics(config)
        config = self.config
        self.encoder = DualPatchEncoder(config)
        width, n_numeric = config.d_model, config.n_numeric
        with_time, with_channels = self.encoder.time is not None, self.encoder.channels is not None
        self.time_decoder = TimeDecoder(config) if with_time else None
        self.channel_decoder = ChannelDecoder(config) if with_channels else None
        self.hidden_in_tokens = self.hidden_in_channels = None
        if with_time and n_numeric:
            self.hidden_in_tokens = nn.Linear(n_numeric * config.token_length, width, bias=False)
        if with_channels and n_numeric:
            self.hidden_in_channels = nn.Linear(config.n_steps, width, bias=False)

    def forward(
        self,
        hidden: Hidden,
        numbers: torch.Tensor | None = None,
        categories: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
    ) -> Rebuilt:
        """Rebuild what is hidden.

        Args:
            hidden: As long as the longest window may be. What is hidden and missing is not asked for.
            numbers: As for `DualPatch`.
            categories: Likewise.
            lengths: Likewise.
        """
        mixed = self.encoder.inputs.mixed(numbers, categories, lengths, hidden=hidden)
        flags = None if hidden.numbers is None or mixed.values is None else hidden.numbers.to(mixed.values.dtype)
        rows = self._rows(self.encoder(mixed, self._time_marks(flags), self._channel_marks(flags)))
        asked = None if hidden.numbers is None or mixed.observed is None else mixed.observed & hidden.numbers
        true_values = asked_values = None
        if mixed.codes is not None and hidden.categories is not None:
            asked_values = hidden.categories & (mixed.codes >= FIRST_VALUE)
            true_values = torch.where(asked_values, mixed.codes - FIRST_VALUE, 0)
        n_numeric, config = self.config.n_numeric, self.config
        logits = rows[..., n_numeric:].split(config.cardinalities, dim=-1) if config.n_categorical else ()
        numeric = rows[..., :n_numeric].transpose(1, 2) if n_numeric else None
        return Rebuilt(numeric, mixed.truth, asked, tuple(logits), true_values, asked_values)

    def _rows(self, encoded: Encoded) -> torch.Tensor:
        parts: list[torch.Tensor] = []
        if self.time_decoder is not None:
            parts.append(self.time_decoder(encoded.tokens))
        if self.channel_decoder is not None and encoded.channels is not None:
            parts.append(self.channel_decoder(encoded.channels))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def _time_marks(self, flags: torch.Tensor | None) -> torch.Tensor | None:
        if self.hidden_in_tokens is None or flags is None or self.encoder.time is None:
            return None
        patches = self.encoder.time.patches
        cut = flags.transpose(1, 2) if patches is None else patches.cut(flags)
        marks: torch.Tensor = self.hidden_in_tokens(cut)
        return marks

    def _channel_marks(self, flags: torch.Tensor | None) -> torch.Tensor | None:
        if self.hidden_in_channels is None or flags is None:
            return None
        marks: torch.Tensor = self.hidden_in_channels(flags)
        return marks


def without_statics(config: DualPatchConfig) -> DualPatchConfig:
    """The configuration of the encoder that a pretraining has."""
    return config.model_copy(update={"n_static_numeric": 0, "static_cardinalities": ()})


def start_from_pretrained(model: DualPatch, encoder: DualPatchEncoder) -> None:
    """Give `model` the encoder of a pretraining; what that has not (static covariates, head) stays as it is.

    Raises:
        ValueError: the two were not built from the same sizes; names all that differ.
    """
    ours, theirs = without_statics(model.config), without_statics(encoder.config)
    free = {"head", "n_outputs", "pooling", "dropout"}
    problems = [
        f"{name}: expected {getattr(ours, name)!r}, found {getattr(theirs, name)!r}"
        for name in DualPatchConfig.model_fields
        if name not in free and getattr(ours, name) != getattr(theirs, name)
    ]
    if problems:
        raise ValueError(
            f"the pretrained encoder is another one: {'; '.join(problems)}; pretrain with the model's configuration"
        )
    given = {name: tensor for name, tensor in encoder.state_dict().items() if not name.startswith("inputs.static.")}
    model.encoder.load_state_dict(model.encoder.state_dict() | given)


def freeze_encoder(model: DualPatch) -> None:
    """Let only what is above the encoder learn: the linear probe that comes before `unfreeze`."""
    model.encoder.requires_grad_(False)


def unfreeze(model: DualPatch) -> None:
    """Let everything learn; `rate_factors` says how fast."""
    model.requires_grad_(True)


def rate_factors(model: DualPatch, *, slower: float = SLOWER) -> dict[str, float]:
    """For each parameter of a model, its learning rate over that of the head.

    The head learns at 1, the fusion at `slower`, the layers below it at a power of it that grows by one from the last
    to the first, and what makes tokens slowest.

    Args:
        model: Whose parameters are named.
        slower: Above 0 and at most 1, which makes all alike.

    Raises:
        ValueError: another factor.
    """
    if not 0 < slower <= 1:
        raise ValueError(f"slower: expected above 0 and at most 1, found {slower:g}; the source takes 1 / 2.6")
    return {name: slower ** _depth(name, model.config.n_layers) for name, _ in model.named_parameters()}


def _depth(name: str, n_layers: int) -> int:
    room, _, rest = name.partition(".")
    if room != "encoder":
        return 0
    if rest.startswith("fusion."):
        return 1
    branch, kind, number, *_ = (*rest.split("."), "", "")
    if branch in ("time", "channels") and kind == "layers":
        return 1 + n_layers - int(number)
    return 2 + n_layers
