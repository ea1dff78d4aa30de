"""Writes a file as Keras 2 left the official ones, with h5py and numpy alone; names and shapes are the spec's."""

from pathlib import Path

import h5py
import numpy as np

#: Layer -> path below its group -> values.
Layers = dict[str, dict[str, np.ndarray]]
#: size -> (minutes in a patch, heads, blocks)
SIZES = {"S": (18, 6, 1), "M": (18, 12, 2), "L": (9, 12, 4)}


def layout(size: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Layer -> path below its group -> shape."""
    patch_length, n_heads, n_blocks = SIZES[size]
    layers: dict[str, dict[str, tuple[int, ...]]] = {
        "dense": {"dense/kernel:0": (patch_length, 96), "dense/bias:0": (96,)}
    }
    for block in range(1, n_blocks + 1):
        e = f"encoder_layer_{block}"
        layers[f"{e}_transformer"] = {
            f"{e}_attention/query/kernel:0": (96, n_heads, 96),
            f"{e}_attention/query/bias:0": (n_heads, 96),
            f"{e}_attention/key/kernel:0": (96, n_heads, 96),
            f"{e}_attention/key/bias:0": (n_heads, 96),
            f"{e}_attention/value/kernel:0": (96, n_heads, 96),
            f"{e}_attention/value/bias:0": (n_heads, 96),
            f"{e}_attention/attention_output/kernel:0": (n_heads, 96, 96),
            f"{e}_attention/attention_output/bias:0": (96,),
            f"{e}_norm1/gamma:0": (96,),
            f"{e}_norm1/beta:0": (96,),
            f"{e}_ff1/kernel:0": (96, 256),
            f"{e}_ff1/bias:0": (256,),
            f"{e}_ff2/kernel:0": (256, 96),
            f"{e}_ff2/bias:0": (96,),
            f"{e}_norm2/gamma:0": (96,),
            f"{e}_norm2/beta:0": (96,),
        }
    return layers


def arrays(size: str, seed: int = 0) -> Layers:
    """Layer -> path -> float32 values of trained size: no bias is 0, no gamma 1, and attention has preferences."""
    rng = np.random.default_rng(seed)
    found: Layers = {}
    for layer, paths in layout(size).items():
        found[layer] = {}
        for path, shape in paths.items():
            if "kernel" in path:
                width = 0.2 if "query" in path or "key" in path else 0.08
                values = rng.normal(0, width, shape)
            else:
                values = rng.normal(1 if "gamma" in path else 0, 0.1, shape)
            found[layer][path] = values.astype(np.float32)
    return found


def flat(layers: Layers) -> dict[str, np.ndarray]:
    """Path in the file -> values."""
    return {f"{layer}/{path}": values for layer, paths in layers.items() for path, values in paths.items()}


def write(path: Path, layers: Layers, *, below: str = "") -> Path:
    """Write a legacy HDF5 file: weights alone at the root, or below `model_weights` as a whole saved model has them."""
    with h5py.File(path, "w", track_order=True) as file:
        root = file.create_group(below) if below else file
        root.attrs["layer_names"] = [name.encode() for name in ("actigraphy_input", "reshape", *layers)]
        root.attrs["backend"] = b"tensorflow"
        root.attrs["keras_version"] = b"2.13.1"
        for empty in ("actigraphy_input", "reshape"):  # layers without weights have a group, too
            root.create_group(empty).attrs["weight_names"] = np.array([], "S1")
        for layer, weights in layers.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, values in weights.items():
                group.create_dataset(name, data=values)
    return path
