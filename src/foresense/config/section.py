"""The base of every typed section: frozen, no unknown key, and errors that name the nearest known key."""

from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

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
    keys, known = _followed(kind, found["loc"])
    where = ".".join(keys) or "(section)"
    if found["type"] != "extra_forbidden":
        return f"{where}: {found['msg']} (found {_shown(found['input'])})"
    key = keys[-1]
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    advice = f"; did you mean {near[0]!r}?" if near else ""
    return f"{where}: unknown key{advice} (known: {', '.join(known)})"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _followed(kind: type[BaseModel], path: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """The keys of `path` as they stand in the file, and what is known in the place of the last one, in order."""
    keys: list[str] = []
    known: list[str] = []
    annotation: Any = kind
    for part in map(str, path):
        models = _models_of(annotation)
        tagged = [model for model in models if _is_tag(part, model)]
        if len(models) > 1 and tagged:  # which of several sections was chosen: pydantic's word, no key of the file
            annotation = tagged[0]
            continue
        keys.append(part)
        if models:
            fields = models[0].model_fields
            known = sorted(fields)
            annotation = fields[part].annotation if part in fields else None
        else:
            annotation = _element_of(annotation)
    return keys, known


def _models_of(annotation: object) -> list[type[BaseModel]]:
    """The sections that a value of this type can be; none where it is a mapping, a list or a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) not in (Annotated, Union, UnionType):
        return []
    return [model for argument in get_args(annotation) for model in _models_of(argument)]


def _is_tag(part: str, model: type[BaseModel]) -> bool:
    return any(part in get_args(field.annotation) for field in model.model_fields.values())


def _element_of(annotation: object) -> object:
    """Type of what a mapping or a list holds, `| None` or not; None of anything else."""
    held = [argument for argument in get_args(annotation) if argument not in (..., NoneType)]
    if get_origin(annotation) is Annotated or get_origin(annotation) in (Union, UnionType):
        return _element_of(held[0])
    return held[-1] if held else None
