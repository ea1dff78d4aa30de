"""Names to models of mixed recordings, and the one way to build, scale, save and load them and their encoders."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from safetensors.torch import load_file, save
from torch import nn

from foresense.config.dualpatch import DualPatchConfig
from foresense.config.section import problems_of
from foresense.models.catalog import WEIGHTS
from foresense.models.dualpatch import DualPatch, DualPatchEncoder
from foresense.models.dualpatch_pretraining import MaskedMixed
from foresense.signals import read_json, write_bytes, write_json

M = TypeVar("M", bound=nn.Module)

#: Name -> `DualPatchConfig.branches`, of which `build_mixed` makes the network. `pointwise` is the brief's, corrected.
MIXED: dict[str, str] = {
    "both": "foresense.models.dualpatch:DualPatch",
    "temporal": "foresense.models.dualpatch:DualPatch",
    "channels": "foresense.models.dualpatch:DualPatch",
    "pointwise": "foresense.models.dualpatch:DualPatch",
}

DESCRIPTION = "mixed.json"
ENCODER_WEIGHTS, ENCODER_DESCRIPTION = "encoder.safetensors", "encoder.json"


def build_mixed(config: DualPatchConfig) -> DualPatch:
    """Build an untrained model; `branches` says which."""
    module, _, name = MIXED[config.branches].partition(":")
    model: DualPatch = getattr(import_module(module), name)(config)
    return model


def standardise_mixed_by(
    model: DualPatch | MaskedMixed,
    *,
    means: Sequence[float] = (),
    deviations: Sequence[float] = (),
    static_means: Sequence[float] = (),
    static_deviations: Sequence[float] = (),
) -> None:
    """Give a model or a pretraining the scales of the training part; they are saved with it.

    Args:
        model: Takes raw values from then on.
        means: Of each numeric channel, in its unit.
        deviations: Likewise, above 0.
        static_means: Of each numeric static covariate.
        static_deviations: Likewise; a pretraining looks at none and takes none.

    Raises:
        ValueError: not one for each channel, not finite, or a deviation that is not above 0.
    """
    inputs = model.encoder.inputs
    if inputs.measured is not None:
        inputs.measured.take(means, deviations)
    if inputs.static is not None and inputs.static.measured is not None:
        inputs.static.measured.take(static_means, static_deviations)


def save_mixed(folder: Path, model: DualPatch) -> None:
    """Write weights and scales (`model.safetensors`), then `mixed.json` with the configuration, into a folder."""
    _write(folder, model, model.config, WEIGHTS, DESCRIPTION)


def load_mixed(folder: Path) -> DualPatch:
    """Load what `save_mixed` wrote, in evaluation mode.

    Raises:
        FileNotFoundError: there is no model.
        ValueError: the description or the weights are not those of a model of this release.
    """
    config = _config(folder / DESCRIPTION)
    return _filled(build_mixed(config), folder, WEIGHTS, DESCRIPTION)


def save_encoder(folder: Path, pretrained: MaskedMixed) -> None:
    """Write the encoder of a pretraining with its scales, then `encoder.json` with what it was built from."""
    _write(folder, pretrained.encoder, pretrained.config, ENCODER_WEIGHTS, ENCODER_DESCRIPTION)


def load_encoder(folder: Path) -> DualPatchEncoder:
    """Load what `save_encoder` wrote, in evaluation mode.

    Raises:
        FileNotFoundError: there is no encoder.
        ValueError: the description or the weights are not those of an encoder of this release.
    """
    config = _config(folder / ENCODER_DESCRIPTION)
    return _filled(DualPatchEncoder(config), folder, ENCODER_WEIGHTS, ENCODER_DESCRIPTION)


def _write(folder: Path, model: nn.Module, config: DualPatchConfig, weights: str, description: str) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(folder / weights, save(tensors))
    write_json(folder / description, {"config": config.model_dump(mode="json")})


def _config(description: Path) -> DualPatchConfig:
    if not description.is_file():
        raise FileNotFoundError(
            f"{description}: not there; run `foresense train {description.parent.parent.name}` first"
        )
    content: Any = read_json(description)
    if "config" not in content:
        raise ValueError(f"{description}: config missing: not written by this release; train again")
    try:
        return DualPatchConfig.model_validate(content["config"])
    except ValidationError as error:
        problems = "; ".join(problems_of(error, DualPatchConfig))
        raise ValueError(f"{description}: not a model of this release: {problems}; train again") from error


def _filled(model: M, folder: Path, weights: str, description: str) -> M:
    try:
        model.load_state_dict(load_file(folder / weights))
    except RuntimeError as error:
        raise ValueError(
            f"{folder / weights}: weights of another network than {description} describes ({error}); the two files "
            "belong together: train again"
        ) from error
    model.eval()
    return model
