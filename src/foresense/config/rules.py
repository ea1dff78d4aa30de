"""Sections that say everything that is wrong with them at once: values alone, and values that do not go together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

S = TypeVar("S", bound=BaseModel)

#: The fields that must be right alone before a rule is asked, and the rule: what does not go together, or None.
Rules = Sequence[tuple[frozenset[str], Callable[[S], str | None]]]


def checked_at_once(title: str, given: Any, handler: ModelWrapValidatorHandler[S], rules: Rules[S]) -> S:
    """Validate a section, and then ask every rule whose fields are right alone.

    Args:
        title: Name of the section's class, for the error.
        given: What pydantic was given.
        handler: Pydantic's own validation of it.
        rules: Of the section.

    Returns:
        The section.

    Raises:
        ValidationError: with all findings, those of single values first.
    """
    found: list[InitErrorDetails] = []
    wrong: set[str] = set()
    try:
        section = handler(given)
    except ValidationError as error:
        if not isinstance(given, Mapping):
            raise
        found = [_again(one) for one in error.errors(include_url=False)]
        wrong = {str(one["loc"][0]) for one in found}
        try:
            section = handler({name: value for name, value in given.items() if name not in wrong})
        except ValidationError:  # a field that has no default is wrong: no rule can be asked
            raise ValidationError.from_exception_data(title, found) from error
    misfits = [said for fields, rule in rules if not wrong & fields and (said := rule(section)) is not None]
    found += [{"type": _told("misfit", said), "input": given} for said in misfits]
    if found:
        raise ValidationError.from_exception_data(title, found)
    return section


def _again(found: Any) -> InitErrorDetails:
    """A finding to raise once more: same place, same words."""
    unknown = found["type"] == "extra_forbidden"
    kind = found["type"] if unknown else _told(found["type"], found["msg"])
    return {"type": kind, "loc": found["loc"], "input": found["input"]}


def _told(kind: Any, words: str) -> PydanticCustomError:
    return PydanticCustomError(kind, "{words}", {"words": words})
