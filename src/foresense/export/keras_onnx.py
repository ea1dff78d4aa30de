"""ONNX files of a Keras model: Keras loads its layers on torch, and torch's own exporter writes them.

Keras takes one backend for the length of a process, and training took TensorFlow: this runs in a process of its own,
`python -m foresense.export.keras_onnx MODEL FILE` with KERAS_BACKEND=torch. No converter of graphs is needed.
"""

import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

#: Names in the file, as of every model that takes one window.
INPUT, OUTPUT = "window", "output"
SOURCES = Path(__file__).parents[2]  # the folder that holds the package, wherever it is installed


def write_onnx(model: Any, file: Path) -> str:
    """Write a float32 file of batch 1.

    Args:
        model: A `keras.Model` of Keras's own layers, with one input and one output.
        file: Written in one go.

    Returns:
        The converters and their versions.

    Raises:
        RuntimeError: the model cannot be loaded on torch or exported, such as one with a layer of TensorFlow's; the
            message has the last lines.
    """
    path = os.pathsep.join([str(SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory(prefix="foresense-export-") as scratch:
        saved = Path(scratch) / "model.keras"
        model.save(saved)
        done = subprocess.run(
            [sys.executable, "-m", "foresense.export.keras_onnx", str(saved), str(file.resolve())],
            env={**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise RuntimeError(f"onnx-float32: exit code {done.returncode}, expected 0; last lines:\n{tail}")
    return done.stdout.strip().splitlines()[-1]


def convert_saved(saved: Path, file: Path) -> str:
    """The part that runs on torch: load a saved model, write it as ONNX, give the converters' versions."""
    import torch

    from foresense.export import onnx_format
    from foresense.export.quiet import quieted
    from foresense.export.source import ExportSource, versions_of

    class OneWindow(torch.nn.Module):
        """Gives the input its name."""

        def __init__(self) -> None:
            super().__init__()
            self.model = import_module("keras").saving.load_model(saved, compile=False)

        def forward(self, window: torch.Tensor) -> Any:
            return self.model(window)

    with quieted():
        model = OneWindow().eval()
        window = torch.zeros((1, *model.model.input_shape[1:]))
        source = ExportSource(model=model, calibration={INPUT: window.numpy()}, output=OUTPUT, scratch=saved.parent)
        converters = onnx_format.float32(source, file)
    return f"{versions_of('keras')}, {converters}"


if __name__ == "__main__":
    sys.stdout.write(convert_saved(Path(sys.argv[1]), Path(sys.argv[2])) + "\n")
