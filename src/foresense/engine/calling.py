"""Call the function of a job and take its answer apart: one answer for each asset, whatever it gave."""

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from foresense.engine.jobs import Skipped, SkippedError

#: Gets the assets and the arguments of a job.
Function = Callable[[tuple[str, ...], dict[str, Any]], dict[str, dict[str, Any] | Skipped]]


def check_name(function: str) -> None:
    """Refuse what cannot be the name of a function.

    Raises:
        ValueError: it is not "module:name".
    """
    module, colon, name = function.partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"function {function!r}: expected 'module:name', as in 'foresense.steps.train:train_assets'")


def find(function: str) -> Function:
    """Import the function that "module:name" names.

    Raises:
        ImportError: no such module, or no such name in it.
    """
    module, _, name = function.partition(":")
    found: Function | None = getattr(import_module(module), name, None)
    if found is None:
        raise ImportError(f"module {module!r} has no {name!r}, asked as {function!r}")
    return found


def answers(function: Function, assets: tuple[str, ...], arguments: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Call the function and judge what it gave.

    Returns:
        For each asset `{"status", "reason", "result"}`.

    Raises:
        TypeError: it gave no dictionary.
        ValueError: it gave results of assets that it was not asked for.
        Exception: whatever the function raises; SkippedError of a job of one asset is an answer.
    """
    try:
        found = function(assets, arguments)
    except SkippedError as error:
        if len(assets) > 1:
            raise
        found = {assets[0]: Skipped(str(error))}
    if not isinstance(found, dict):
        raise TypeError(f"the function gave {type(found).__name__}, expected a dict from asset to result")
    if strangers := sorted(map(repr, found.keys() - set(assets))):
        raise ValueError(f"the function gave results of assets that it was not asked for: {', '.join(strangers)[:200]}")
    return {asset: _answer(asset, found) for asset in assets}


def first_line(error: BaseException) -> str:
    """Kind and first line of an error: the reason of an outcome."""
    lines = str(error).strip().splitlines()
    return legible(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)


def legible(text: str) -> str:
    """At most 500 characters of `text` that every file and terminal can hold."""
    return text.encode(errors="backslashreplace").decode()[:500]


def _answer(asset: str, found: dict[str, dict[str, Any] | Skipped]) -> dict[str, Any]:
    if asset not in found:
        return _failed("the function gave no result for this asset")
    result = found[asset]
    if isinstance(result, Skipped):
        return {"status": "skipped", "reason": legible(result.reason), "result": {}}
    if not isinstance(result, dict):
        return _failed(f"the function gave {type(result).__name__} for this asset, expected a dict or Skipped")
    try:
        json.dumps(result, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        return _failed(f"the result of this asset is not JSON: {first_line(error)}")
    return {"status": "success", "reason": "", "result": result}


def _failed(reason: str) -> dict[str, Any]:
    return {"status": "failed", "reason": legible(reason), "result": {}}
