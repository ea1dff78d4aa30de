"""The section of a classifier of wrist windows; everything that is wrong with it is said at once."""

from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PositiveInt, model_validator

from foresense.config.rules import Rules, checked_at_once
from foresense.config.section import Section


class WristModelConfig(Section):
    """A classifier of wrist windows: raw samples in g, and as many features as it asks for.

    Values that are wrong alone and values that do not go together are reported in one error.
    """

    model: Literal["transformer", "cnn", "rocket"] = "transformer"
    window_length: PositiveInt = 1000  # samples
    rate_hz: float = Field(100.0, gt=0, allow_inf_nan=False)  # of those samples; changes no weight
    n_channels: PositiveInt = 3
    scaling: Literal["window", "training"] = "window"  # of the samples: each window by itself, or all by the training
    n_statistics: Literal[56, 0] = 56
    n_topology: Literal[24, 0] = 24
    n_times: Literal[5, 0] = 5
    fusion: Literal["tokens", "late"] = "tokens"  # statistics and topology come in as tokens, or at the head
    dropout: float = Field(0.3, ge=0, lt=1)
    # of a rocket only
    n_kernels: PositiveInt = 1500  # random ones, a fifth of them for each dilation
    # of a transformer only
    patch_length: PositiveInt = 100  # samples
    d_model: PositiveInt = 56
    n_heads: PositiveInt = 2
    n_layers: PositiveInt = 2
    rope: bool = True  # rotary positions of the patch tokens
    global_tokens: Literal["unrotated", "after"] = "unrotated"  # after: rotated as the next patches would be (source)
    checkpointing: bool = False  # layers run once more in the backward pass: less memory, more time

    @property
    def n_patches(self) -> int:
        """Patches of a window; they do not overlap."""
        return self.window_length // self.patch_length

    @property
    def n_tokens(self) -> int:
        """Patches, and the tokens that stand for the whole window."""
        n_globals = (self.n_statistics > 0) + (self.n_topology > 0)
        return self.n_patches + (n_globals if self.fusion == "tokens" else 0)

    @model_validator(mode="wrap")
    @classmethod
    def _everything_at_once(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return checked_at_once(cls.__name__, given, handler, _RULES)


def _whole_patches(section: WristModelConfig) -> str | None:
    length, patch = section.window_length, section.patch_length
    if section.model != "transformer" or length % patch == 0:
        return None
    near = [size for size in range(1, length + 1) if length % size == 0]
    return (
        f"window_length ({length}) is not a multiple of patch_length ({patch}); the nearest that divides it is "
        f"{min(near, key=lambda size: abs(size - patch))}"
    )


def _even_heads(section: WristModelConfig) -> str | None:
    width, n_heads = section.d_model, section.n_heads
    if section.model != "transformer":
        return None
    if width % n_heads:
        return f"d_model ({width}) is not a multiple of n_heads ({n_heads})"
    if section.rope and width // n_heads % 2:
        return (
            f"d_model / n_heads ({width} / {n_heads} = {width // n_heads}) must be even: rope turns pairs of numbers; "
            "change one of them, or set rope to false"
        )
    return None


def _room_for_the_head(section: WristModelConfig) -> str | None:
    if section.model == "transformer" and section.d_model < 2:
        return f"d_model ({section.d_model}) must be at least 2: the head has half of it"
    return None


def _rotation_of_something(section: WristModelConfig) -> str | None:
    if section.global_tokens == "after" and not section.rope:
        return "global_tokens 'after' places tokens that nothing rotates; set rope to true, or leave it out"
    return None


def _features_at_the_head(section: WristModelConfig) -> str | None:
    if section.model == "transformer" or section.fusion == "late":
        return None
    if section.n_statistics + section.n_topology > 0:
        return f"a {section.model} has no tokens; set fusion to 'late', or n_statistics and n_topology to 0"
    return None


def _kernels_for_each_dilation(section: WristModelConfig) -> str | None:
    if section.model == "rocket" and section.n_kernels % 5:
        return f"n_kernels ({section.n_kernels}) is not a multiple of 5: each of five dilations has a fifth of them"
    return None


def _times_in_a_transformer(section: WristModelConfig) -> str | None:
    if section.model != "transformer" and section.n_times:
        return f"a {section.model} takes no times, found n_times {section.n_times}; set it to 0"
    return None


def _checkpoints_of_layers(section: WristModelConfig) -> str | None:
    if section.model != "transformer" and section.checkpointing:
        return f"checkpointing is of a transformer's layers; leave it out for a {section.model}"
    return None


_RULES: Rules[WristModelConfig] = (
    (frozenset({"model", "window_length", "patch_length"}), _whole_patches),
    (frozenset({"model", "d_model", "n_heads", "rope"}), _even_heads),
    (frozenset({"model", "d_model"}), _room_for_the_head),
    (frozenset({"rope", "global_tokens"}), _rotation_of_something),
    (frozenset({"model", "fusion", "n_statistics", "n_topology"}), _features_at_the_head),
    (frozenset({"model", "n_kernels"}), _kernels_for_each_dilation),
    (frozenset({"model", "n_times"}), _times_in_a_transformer),
    (frozenset({"model", "checkpointing"}), _checkpoints_of_layers),
)
