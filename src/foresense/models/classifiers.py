"""Names to classifiers of wrist windows, and the one way to build, save and load them.

A classifier maps windows (n, window_length, n_channels), g, and the features that its configuration names to logits
(n, n_classes).
"""

from importlib import import_module
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save
from torch import nn

from foresense.config.section import problems_of
from foresense.config.wrist import WristModelConfig
from foresense.models.catalog import WEIGHTS
from foresense.models.wrist_parts import FeatureProjection, Standardise
from foresense.signals import read_json, write_bytes, write_json

#: `WristModelConfig.model` -> "module:class", built from a configuration and `n_classes`.
CLASSIFIERS: dict[str, str] = {
    "transformer": "foresense.models.wrist:WristTransformer",
    "cnn": "foresense.models.wrist_cnn:WristCnn",
    "rocket": "foresense.models.wrist_rocket:WristRocket",
}

DESCRIPTION = "classifier.json"


def build_classifier(config: WristModelConfig, *, n_classes: int) -> nn.Module:
    """Build an untrained classifier.

    Raises:
        ValueError: fewer than two classes.
    """
    if n_classes < 2:
        raise ValueError(f"n_classes: expected at least 2, found {n_classes}; one class needs no classifier")
    module, _, name = CLASSIFIERS[config.model].partition(":")
    model: nn.Module = getattr(import_module(module), name)(config, n_classes=n_classes)
    return model


def standardise_by(
    model: nn.Module,
    *,
    windows: torch.Tensor | None = None,
    statistics: torch.Tensor | None = None,
    topology: torch.Tensor | None = None,
) -> None:
    """Give a classifier or a pretraining the scales of the training part; they are saved with it.

    Args:
        model: A classifier, or `MaskedPatches`.
        windows: (n, window_length, n_channels), g; for `scaling: training`.
        statistics: (n, n_statistics).
        topology: (n, n_topology).

    Raises:
        ValueError: the model scales something that is not given, or a given value is not finite.
    """
    given = {"scaling": windows, "statistics": statistics, "topology": topology}
    for path, part in model.named_modules():
        kind = path.rpartition(".")[2]
        if isinstance(part, FeatureProjection):
            _fit(part.standardise, kind, given[kind])
        elif isinstance(part, Standardise) and kind == "scaling":
            _fit(part, "windows", given[kind])


def save_classifier(folder: Path, model: nn.Module, *, classes: tuple[str, ...]) -> None:
    """Write weights and scales (`model.safetensors`), then `classifier.json`, into a folder.

    Raises:
        ValueError: not one name for each logit, or a name twice.
    """
    if len(classes) != model.n_classes or len(set(classes)) != len(classes):
        raise ValueError(f"classes: expected {model.n_classes} names, each once, found {list(classes)}")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(tensors))
    config: WristModelConfig = model.config  # type: ignore[assignment]  # of every class in CLASSIFIERS; tested there
    write_json(folder / DESCRIPTION, {"config": config.model_dump(mode="json"), "classes": list(classes)})


def load_classifier(folder: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """Load what `save_classifier` wrote: the classifier in evaluation mode, and the names of its classes.

    Raises:
        FileNotFoundError: there is no classifier.
        ValueError: the description or the weights are not those of a classifier of this release.
    """
    description = folder / DESCRIPTION
    if not description.is_file():
        raise FileNotFoundError(f"{description}: not there; run `foresense train {folder.parent.name}` first")
    content = read_json(description)
    again = f"train again with `foresense train {folder.parent.name}`"
    missing = [key for key in ("config", "classes") if key not in content]
    if missing:
        raise ValueError(f"{description}: {' and '.join(missing)} missing: not written by this release; {again}")
    try:
        config = WristModelConfig.model_validate(content["config"])
    except ValidationError as error:
        problems = "; ".join(problems_of(error, WristModelConfig))
        raise ValueError(f"{description}: not a classifier of this release: {problems}; {again}") from error
    classes = tuple(content["classes"])
    model = build_classifier(config, n_classes=len(classes))
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise ValueError(
            f"{folder / WEIGHTS}: weights of another network than {description.name} describes ({error}); the two "
            f"files belong together: {again}"
        ) from error
    return model.eval(), classes


def _fit(standardise: Standardise, name: str, values: torch.Tensor | None) -> None:
    if values is None:
        raise ValueError(f"{name} of the training part are missing: the model scales by them; give {name}")
    standardise.fit(values)
