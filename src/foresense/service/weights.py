"""Load a Pretrained Actigraphy Transformer from published weights instead of an artefact."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from foresense.service.errors import EncoderError
from foresense.service.parts import WEEK_MINUTES, Encoder, validate_encoder

#: Name of a size -> its letter in file names.
SIZE_LETTERS = {"small": "S", "medium": "M", "large": "L"}

#: Reads and checks a weight file of a size (`S`, `M`, `L`): path in the file -> array. Names, shapes, total and the
#: pinned SHA-256 are its business; never deserialises objects.
ReadWeights = Callable[[Path, str], Mapping[str, np.ndarray]]
#: Builds a network of a size with these weights, and gives its mean over patches.
BuildEncoder = Callable[[str, Mapping[str, np.ndarray]], Encoder]


class PATModelLoader:
    """Loads one size from `<models_dir>/pat/PAT-<letter>_29k_weights.h5`.

    `read_weights` and `build_encoder` are arguments, because weights belong to the registry, which this room may not
    import, and the network needs TensorFlow, which a service does not.

    Args:
        model_size: `small`, `medium` or `large`.
        models_dir: Folder that holds `pat/`.
        read_weights: Of the file.
        build_encoder: Of the weights.

    Raises:
        ValueError: no such size.
    """

    def __init__(
        self,
        model_size: str = "medium",
        models_dir: str | Path = "models",
        *,
        read_weights: ReadWeights,
        build_encoder: BuildEncoder,
    ) -> None:
        if model_size not in SIZE_LETTERS:
            raise ValueError(f"no size {model_size!r} of the model; known: {', '.join(SIZE_LETTERS)}")
        self.letter = SIZE_LETTERS[model_size]
        self.path = Path(models_dir) / "pat" / f"PAT-{self.letter}_29k_weights.h5"
        self._read_weights, self._build_encoder = read_weights, build_encoder

    def load_model(self) -> Encoder:
        """Read, build, and ask the model about one week: shape, finite, the same twice.

        Raises:
            RuntimeError: "Failed to load PAT model ..."; its cause says why: FileNotFoundError where there is no file,
                EncoderError where the network does not work, else what reading or building raised.
        """
        try:
            if not self.path.is_file():
                raise FileNotFoundError(
                    f"{self.path}: not there; `foresense weights fetch` brings it, or put the official file there"
                )
            encode = self._build_encoder(self.letter, self._read_weights(self.path, self.letter))
            validate_encoder(encode, _reference_week())
        except (OSError, ValueError, EncoderError) as error:
            raise RuntimeError(f"Failed to load PAT model {self.letter}: {error}") from error
        return encode


def _reference_week() -> np.ndarray:
    """(10080,), float32: a sine of 24 h, which has mean 0 and deviation 1 as a scaled week has."""
    minutes = np.arange(WEEK_MINUTES)
    return np.asarray(np.sqrt(2) * np.sin(2 * np.pi * minutes / 1440), np.float32)
