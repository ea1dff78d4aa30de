"""The base of every typed section: frozen, no unknown key, and errors that name the nearest known key."""

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError


class ConfigError(ValueError):
    """A file of settings is wrong; the message lists every problem in it, one a line."""


class Section(BaseModel):
    """One section of a YAML file: frozen, and every unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def problems_of(error: ValidationError, kind: type[BaseModel]) -> list[str]:
    """Turn every finding of pydantic into one line: where, what, found, and the nearest known key.

    Args:
        error: What validation raised.
        kind: The model that was validated, to look the known keys up in.

    Returns:
        One line for each finding, in the order in which pydantic found them.
    """
    return [_line(dict(found), kind) for found in error.errors(include_url=False)]


def _line(found: dict[str, Any], kind: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in found["loc"]) or "(section)"
    if found["type"] != "extra_forbidden":
        return f"{where}: {found['msg']} (found {_shown(found['input'])})"
    key = str(found["loc"][-1])
    known = _known_keys(kind, found["loc"][:-1])
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    advice = f"; did you mean {near[0]!r}?" if near else ""
    return f"{where}: unknown key{advice} (known: {', '.join(sorted(known))})"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _known_keys(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the fields that the model at `path` below `kind` has."""
    models: list[type[BaseModel]] = [kind]
    for part in path:
        inner: list[type[BaseModel]] = []
        for model in models:
            field = model.model_fields.get(str(part))
            inner += _models_in(field.annotation) if field is not None else []
        models = inner or models  # a key of a mapping or an index of a list does not change the model
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
