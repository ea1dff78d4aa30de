"""Functions for the engine that a fleet's tests use in place of the real one; imported by worker processes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foresense.steps import fleet_assets


def crash_on_press(assets: tuple[str, ...], arguments: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Die, as a fault of a library would, when a machine called press-... gets a model of its own."""
    if any(asset.startswith("press") and asset not in arguments["why_not"] for asset in assets):
        os._exit(3)
    return fleet_assets.train_assets(assets, arguments)


def count_calls(assets: tuple[str, ...], arguments: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Write down which machines are trained."""
    with (Path(arguments["windows"]).parents[2] / "calls").open("a") as file:
        file.writelines(f"{asset}\n" for asset in assets)
    return fleet_assets.train_assets(assets, arguments)
