"""The model of mixed recordings that a training shipped, whichever kind it is."""

from pathlib import Path

from foresense.models.dualpatch import DualPatch
from foresense.models.mixed import DESCRIPTION as NETWORK
from foresense.models.mixed import load_mixed
from foresense.models.mixed_rivals import DESCRIPTION as RIVAL
from foresense.models.mixed_rivals import RivalModel, load_rival


def load_shipped(folder: Path) -> DualPatch | RivalModel:
    """Load what `save_mixed` or `save_rival` wrote, in evaluation mode; both take the same inputs.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: there are both, or files that are not those of a model of this release.
    """
    found = [name for name in (NETWORK, RIVAL) if (folder / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"{folder}: {' and '.join(found)}; expected one of them: remove the folder and train again")
    if not found:
        raise FileNotFoundError(
            f"{folder}: neither {NETWORK} nor {RIVAL} is there; run `foresense train {folder.parent.name}` first"
        )
    return load_mixed(folder) if found == [NETWORK] else load_rival(folder)
