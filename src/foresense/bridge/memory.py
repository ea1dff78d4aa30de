"""The bridge keeps within 150 MiB on small machines."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NotHere:
    """Refuses one module, as if it were not installed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("the bridge runs without pandas, to save 50 MiB", name=name)
        return None


def run_without_pandas() -> None:
    """Keep pandas out of this process: pyarrow 25 imports it at the first array where it can, and does not need it.

    For the entry point of the bridge only; does nothing where pandas is there already.
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NotHere())
