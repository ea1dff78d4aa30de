"""Name to family, imported when asked for."""

from difflib import get_close_matches
from importlib import import_module
from typing import cast

from foresense.features.contexts import Family

FEATURES: dict[str, str] = {  # name -> "module:function"; the module's VERSION changes when its numbers do
    "calendar": "foresense.features.calendar:calendar",
    "window_statistics": "foresense.features.window_statistics:window_statistics",
    "wrist_statistics": "foresense.features.wrist:statistical",
    "wrist_time": "foresense.features.wrist:time_of_day",
    "wrist_topology": "foresense.features.wrist_topology:topological",
}


def load_family(name: str) -> Family:
    """Import one family.

    Raises:
        ValueError: no such family; names the nearest one and all that are known.
    """
    module, function = _address(name)
    return cast(Family, getattr(import_module(module), function))


def family_version(name: str) -> int:
    """Version of a family's numbers.

    Raises:
        ValueError: no such family.
    """
    module, _ = _address(name)
    return int(import_module(module).VERSION)


def _address(name: str) -> tuple[str, str]:
    if name not in FEATURES:
        near = get_close_matches(name, list(FEATURES), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"features.families: no family {name!r}{advice} (known: {', '.join(sorted(FEATURES))})")
    module, _, function = FEATURES[name].partition(":")
    return module, function
