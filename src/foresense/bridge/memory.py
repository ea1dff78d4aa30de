"""The bridge keeps within 150 MiB on small machines."""

import os
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


def keep_memory_small() -> None:
    """Keep pandas out of this process, and let pyarrow give back at once what it no longer needs.

    pyarrow 25 imports pandas (50 MiB) at the first array where it can, and does not need it; its own allocator keeps
    10 to 20 MiB more than the system's. For the entry point of the bridge only; does nothing where pandas is there
    already, and nothing about an allocator that was chosen.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # read when pyarrow is imported
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NotHere())
