"""The section of a dual-patch model of mixed recordings; everything that is wrong with it is said at once."""

from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, NonNegativeInt, PositiveInt, model_validator

from foresense.config.rules import Rules, checked_at_once
from foresense.config.section import Section

Branches = Literal["both", "temporal", "channels", "pointwise"]


class DualPatchConfig(Section):
    """A transformer over mixed channels with holes: which branches, their sizes, and what it gives.

    Values that are wrong alone and values that do not go together are reported in one error. Sizes: spec D-7, D-9.
    """

    n_numeric: NonNegativeInt = 4
    cardinalities: tuple[PositiveInt, ...] = (5, 5)  # values in the vocabulary of each categorical channel
    n_static_numeric: NonNegativeInt = 0
    static_cardinalities: tuple[PositiveInt, ...] = ()
    n_steps: PositiveInt = 64  # of the longest window
    branches: Branches = "both"
    patch_length: PositiveInt = 16  # steps
    patch_stride: PositiveInt = 8  # steps; below patch_length, patches overlap
    d_model: int = Field(default=64, ge=2)
    n_heads: PositiveInt = 4
    n_layers: PositiveInt = 2  # of each branch
    dropout: float = Field(default=0.1, ge=0, lt=1)
    fusion: Literal["cross", "gate", "mean"] = "cross"  # of two branches
    missing_channels: bool = True  # what is missing comes in beside the values, as as many channels
    use_categories: bool = True  # false leaves every category out, those of the static covariates too
    category_width: PositiveInt = 8  # numbers that a category is embedded in before patches; d_model in pointwise
    pooling: Literal["mean", "attention", "flatten"] = "mean"  # of tokens, for one output for each window
    head: Literal["classes", "values", "steps"] = "classes"
    n_outputs: PositiveInt = 3

    @property
    def n_categorical(self) -> int:
        """Categorical channels that the model looks at."""
        return len(self.cardinalities) if self.use_categories else 0

    @property
    def n_static_categorical(self) -> int:
        """Categorical static covariates that the model looks at."""
        return len(self.static_cardinalities) if self.use_categories else 0

    @property
    def n_channels(self) -> int:
        """Channels that the model looks at: numeric, then categorical."""
        return self.n_numeric + self.n_categorical

    @property
    def has_statics(self) -> bool:
        """Whether static covariates come in, as a token of their own."""
        return self.n_static_numeric + self.n_static_categorical > 0

    @property
    def token_length(self) -> int:
        """Steps that one temporal token looks at."""
        return 1 if self.branches == "pointwise" else self.patch_length

    @property
    def token_stride(self) -> int:
        """Steps between the beginnings of two temporal tokens."""
        return 1 if self.branches == "pointwise" else self.patch_stride

    @property
    def n_tokens(self) -> int:
        """Temporal tokens: the last one may reach over the end, so that every step is in one."""
        return -(-max(0, self.n_steps - self.token_length) // self.token_stride) + 1

    @property
    def value_width(self) -> int:
        """Numbers that a category of a channel is embedded in."""
        return self.d_model if self.branches == "pointwise" else self.category_width

    @model_validator(mode="wrap")
    @classmethod
    def _everything_at_once(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return checked_at_once(cls.__name__, given, handler, _RULES)


def _some_channel(section: DualPatchConfig) -> str | None:
    if section.n_channels:
        return None
    left_out = section.cardinalities and not section.use_categories
    advice = "set use_categories to true" if left_out else "give n_numeric or cardinalities"
    return f"there is no channel to look at; {advice}"


def _patches_within_a_window(section: DualPatchConfig) -> str | None:
    length, n_steps = section.patch_length, section.n_steps
    if section.branches not in ("both", "temporal") or length <= n_steps:
        return None
    return f"patch_length ({length}) is longer than n_steps ({n_steps}); shorten patch_length"


def _no_step_between_patches(section: DualPatchConfig) -> str | None:
    length, stride = section.patch_length, section.patch_stride
    if section.branches not in ("both", "temporal") or stride <= length:
        return None
    return f"patch_stride ({stride}) is longer than patch_length ({length}): steps between would be in no patch"


def _even_heads(section: DualPatchConfig) -> str | None:
    if section.d_model % section.n_heads:
        return f"d_model ({section.d_model}) is not a multiple of n_heads ({section.n_heads})"
    return None


def _tokens_of_steps(section: DualPatchConfig) -> str | None:
    if section.branches != "channels":
        return None
    if section.head == "steps":
        return "head 'steps' needs tokens of time, which branches 'channels' has not; take another of the two"
    if section.pooling == "flatten":
        return "pooling 'flatten' keeps the order of time, and branches 'channels' has no such tokens; pool by 'mean'"
    return None


def _classes_to_choose_from(section: DualPatchConfig) -> str | None:
    if section.head == "classes" and section.n_outputs < 2:
        return f"head 'classes' needs n_outputs of at least 2, found {section.n_outputs}; or set head to 'values'"
    return None


_RULES: Rules[DualPatchConfig] = (
    (frozenset({"n_numeric", "cardinalities", "use_categories"}), _some_channel),
    (frozenset({"branches", "patch_length", "n_steps"}), _patches_within_a_window),
    (frozenset({"branches", "patch_length", "patch_stride"}), _no_step_between_patches),
    (frozenset({"d_model", "n_heads"}), _even_heads),
    (frozenset({"branches", "head", "pooling"}), _tokens_of_steps),
    (frozenset({"head", "n_outputs"}), _classes_to_choose_from),
)
