"""Names to builders. A forecaster maps (n, context, n_channels) to (n, horizon, n_channels), scaled units, float32."""

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from foresense.config import CandidateConfig
from foresense.signals import file_sha256, read_json, write_json

#: name -> "module:class"; the class is built by keyword and has `save(folder)`.
MODELS: dict[str, str] = {
    "patchtst": "foresense.models.patchtst:PatchTst",
    "dlinear": "foresense.models.dlinear:DLinear",
}

WEIGHTS = "model.safetensors"
#: What older releases wrote; loading any of them would run code from the file.
REFUSED_SUFFIXES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")


def build_model(candidate: CandidateConfig, *, n_channels: int, context: int, horizon: int) -> nn.Module:
    """Build an untrained forecaster.

    Args:
        candidate: Which architecture and its sizes.
        n_channels: Channels of the samples.
        context: Samples that a window offers; `candidate.context_length` may use only the newest of them.
        horizon: Samples to forecast.

    Returns:
        A module that maps (n, context, n_channels) to (n, horizon, n_channels), float32.

    Raises:
        ValueError: no such model; names the nearest and all known ones.
    """
    model: nn.Module = _builder(candidate.model)(candidate, n_channels=n_channels, context=context, horizon=horizon)
    return model


def save_model(folder: Path, model: nn.Module, candidate: CandidateConfig) -> None:
    """Write weights (safetensors), the architecture's own config, and `candidate.json` into an existing folder."""
    model.save(folder)  # type: ignore[operator]  # every class in MODELS has it; the room's contract test says so
    shape = {"n_channels": model.n_channels, "context": model.context, "horizon": model.horizon}
    write_json(folder / "candidate.json", {"candidate": candidate.model_dump(mode="json"), **shape})


def load_model(folder: Path) -> nn.Module:
    """Load what `save_model` wrote, in evaluation mode.

    Raises:
        ValueError: the folder holds an old `.pt` or pickled model; says what to do.
        FileNotFoundError: there is no model.
    """
    description = folder / "candidate.json"
    if not description.is_file():
        old = sorted(path.name for path in folder.glob("*") if path.suffix in REFUSED_SUFFIXES)
        if old:
            raise ValueError(
                f"{folder}: {old[0]} is a pickled model of an older release, and loading it would run code from the "
                "file; train again with `foresense train <pipeline>` (the data and parameters are enough)"
            )
        raise FileNotFoundError(f"{description}: not there; run `foresense train {folder.parent.name}` first")
    content = read_json(description)
    candidate = CandidateConfig.model_validate(content["candidate"])
    model = build_model(
        candidate, n_channels=content["n_channels"], context=content["context"], horizon=content["horizon"]
    )
    model.load_state_dict(load_state(folder))
    return model.eval()


def load_state(folder: Path) -> dict[str, Any]:
    """Read the weights of a saved model by parameter name."""
    return {f"net.{name}": tensor for name, tensor in load_file(folder / WEIGHTS).items()}


def model_sha256(folder: Path) -> str:
    """SHA-256 of the weights: how a model and its MLflow run find each other."""
    return file_sha256(folder / WEIGHTS)


def _builder(name: str) -> Callable[..., nn.Module]:
    if name not in MODELS:
        near = get_close_matches(name, list(MODELS), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no model {name!r}{advice} (known: {', '.join(sorted(MODELS))})")
    module, _, attribute = MODELS[name].partition(":")
    builder: Callable[..., nn.Module] = getattr(import_module(module), attribute)
    return builder
