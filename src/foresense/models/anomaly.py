"""Networks of the anomaly detectors (Keras): the published ones, the small default, two autoencoders; saved and loaded.

Inputs are what a clip gives without further scaling: grey levels, or dB. The first layer standardises them with mean
and deviation of the training part, so that a file that leaves the project needs no scaler beside it. `Rescaling` holds
them as constants: the count of parameters stays the published one. Without it the thermal network dies: on inputs in
0..1 and with a step of 1e-3 all of its ReLUs end at zero.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors.numpy import load_file, save

from foresense.config.anomaly import (
    AnomalyNetworkConfig,
    ConvAutoencoderConfig,
    DenseAutoencoderConfig,
    ParityConfig,
    SmallConfig,
)
from foresense.signals import read_json, write_bytes, write_json

if TYPE_CHECKING:
    import keras

#: Name of the layer whose output is the embedding of a clip.
EMBEDDING = "embedding"
WEIGHTS, DESCRIPTION = "network.safetensors", "network.json"
# Of the means that inference uses. Keras' 0.99 needs some 300 steps to forget its start; small sets have 50 an epoch.
_MOMENTUM = 0.9
_CONFIG: TypeAdapter[AnomalyNetworkConfig] = TypeAdapter(AnomalyNetworkConfig)


@dataclass(frozen=True)
class Scaling:
    """How inputs are standardised: (input - mean) / std.

    Attributes:
        mean: Of all values of the training part, in the unit of the inputs.
        std: Likewise, above 0.
    """

    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def of(cls, inputs: np.ndarray) -> "Scaling":
        """Mean and deviation of training inputs, any shape.

        Raises:
            ValueError: no finite contrast.
        """
        mean, std = float(inputs.mean(dtype=np.float64)), float(inputs.std(dtype=np.float64))
        if not (np.isfinite(mean) and std > 0):
            raise ValueError(
                f"training inputs {inputs.shape} with mean {mean} and deviation {std} cannot be standardised; expected "
                "finite values that differ: look at what the clips hold"
            )
        return cls(mean, std)


def build_network(config: AnomalyNetworkConfig, scaling: Scaling) -> "keras.Model":
    """Build an untrained network; its weights follow from `keras.utils.set_random_seed`.

    Args:
        config: Which network and its sizes.
        scaling: Of the training part.

    Returns:
        `parity` and `small`: (n, height, width, channels) to (n, 1), probability of an anomaly, or (n, n_outputs),
        probabilities of the conditions. `conv_autoencoder` and `dense_autoencoder`: to the shape and the unit of the
        input.

    Raises:
        ImportError: TensorFlow is not installed; names the extra.
    """
    keras = keras_module()
    inputs = keras.Input(config.shape, name="input")
    scaled = keras.layers.Rescaling(1 / scaling.std, offset=-scaling.mean / scaling.std, name="standardise")(inputs)
    match config:
        case ParityConfig():
            outputs = _parity(keras, config, scaled)
        case SmallConfig():
            outputs = _small(keras, config, scaled)
        case ConvAutoencoderConfig():
            outputs = _conv_autoencoder(keras, config, scaled)
        case DenseAutoencoderConfig():
            outputs = _dense_autoencoder(keras, config, scaled)
    if is_autoencoder(config):
        outputs = keras.layers.Rescaling(scaling.std, offset=scaling.mean, name="unit_of_the_input")(outputs)
    return keras.Model(inputs, outputs, name=config.network)


def is_autoencoder(config: AnomalyNetworkConfig) -> bool:
    """Whether the network rebuilds its input, and so learns from normal clips alone."""
    return isinstance(config, ConvAutoencoderConfig | DenseAutoencoderConfig)


def embedding_of(network: "keras.Model") -> "keras.Model":
    """The same network up to its embedding: inputs to (n, ...).

    Raises:
        ValueError: a network without one.
    """
    names = [layer.name for layer in network.layers]
    if EMBEDDING not in names:
        raise ValueError(f"network {network.name!r} has no layer {EMBEDDING!r}, only {names}; use another network")
    return keras_module().Model(network.input, network.get_layer(EMBEDDING).output)


def save_network(folder: Path, network: "keras.Model", config: AnomalyNetworkConfig, scaling: Scaling) -> None:
    """Write weights (safetensors, without the optimiser's state) and `network.json` into `folder`."""
    tensors = {weight.path: np.asarray(weight.numpy()) for weight in network.weights}
    write_bytes(folder / WEIGHTS, save(tensors))
    content = {"schema_version": 1, "network": config.model_dump(mode="json")}
    write_json(folder / DESCRIPTION, {**content, "scaling": {"mean": scaling.mean, "std": scaling.std}})


def load_network(folder: Path) -> tuple["keras.Model", AnomalyNetworkConfig, Scaling]:
    """Load what `save_network` wrote.

    Raises:
        FileNotFoundError: there is no network.
        ValueError: the description or the weights are not those of a network of this release.
        ImportError: TensorFlow is not installed; names the extra.
    """
    description = folder / DESCRIPTION
    if not description.is_file():
        raise FileNotFoundError(f"{description}: not there; run `foresense train {folder.parent.name}` first")
    content = read_json(description)
    try:
        config = _CONFIG.validate_python(content["network"])
        scaling = Scaling(content["scaling"]["mean"], content["scaling"]["std"])
    except (KeyError, ValidationError) as error:
        raise ValueError(
            f"{description}: not a network of this release ({error}); train again with "
            f"`foresense train {folder.parent.name}`"
        ) from error
    network, tensors = build_network(config, scaling), load_file(folder / WEIGHTS)
    shapes = {weight.path: tuple(weight.shape) for weight in network.weights}
    if shapes != {name: tensor.shape for name, tensor in tensors.items()}:
        raise ValueError(
            f"{folder / WEIGHTS}: weights of another network than {description.name} describes; the two files belong "
            f"together: train again with `foresense train {folder.parent.name}`"
        )
    for weight in network.weights:
        weight.assign(tensors[weight.path])
    return network, config, scaling


def keras_module() -> ModuleType:
    """Keras, imported when asked for.

    Raises:
        ImportError: it is not installed; names the extra.
    """
    try:
        return import_module("keras")
    except ImportError as error:
        raise ImportError("anomaly detectors need TensorFlow: pip install 'foresense[edge]'") from error


def _parity(keras: ModuleType, config: ParityConfig, scaled: "keras.KerasTensor") -> "keras.KerasTensor":
    """Two convolutions, each with pooling, then a dense layer that holds nearly all parameters (NX-19)."""
    layers = keras.layers
    maps = scaled
    for number, width in enumerate((32, 64)):
        maps = layers.Conv2D(width, 3, activation="relu", name=f"convolution_{number}")(maps)
        maps = layers.MaxPooling2D(name=f"pooling_{number}")(maps)
    hidden = layers.Dense(64, activation="relu", name=EMBEDDING)(layers.Flatten(name="flatten")(maps))
    return layers.Dense(1, activation="sigmoid", name="output")(layers.Dropout(config.dropout, name="dropout")(hidden))


def _small(keras: ModuleType, config: SmallConfig, scaled: "keras.KerasTensor") -> "keras.KerasTensor":
    """Depth-wise separable convolutions (Howard et al., MobileNets, 2017, section 3), then a mean."""
    layers = keras.layers
    maps = layers.Conv2D(
        config.widths[0], 3, strides=config.strides[0], padding="same", use_bias=False, name="convolution_0"
    )(scaled)
    maps = _normed(keras, maps, "0")
    for number, (width, stride) in enumerate(zip(config.widths[1:], config.strides[1:], strict=True), start=1):
        maps = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=f"depthwise_{number}")(
            maps
        )
        maps = _normed(keras, maps, f"{number}_depthwise")
        maps = layers.Conv2D(width, 1, use_bias=False, name=f"pointwise_{number}")(maps)
        maps = _normed(keras, maps, f"{number}_pointwise")
    if config.pool == "image":
        pooled = layers.GlobalAveragePooling2D(name=EMBEDDING)(maps)
    else:
        of_bands = layers.AveragePooling2D((1, maps.shape[2]), name="mean_over_time")(maps)
        pooled = layers.Flatten(name=EMBEDDING)(of_bands)
    dropped = layers.Dropout(config.dropout, name="dropout")(pooled)
    if config.blocks is not None:
        statistics = _statistics(keras, scaled, config.shape, config.blocks)
        dropped = layers.Concatenate(name="with_statistics")([dropped, statistics])
    activation = "sigmoid" if config.n_outputs == 1 else "softmax"
    return layers.Dense(config.n_outputs, activation=activation, name="output")(dropped)


def _statistics(
    keras: ModuleType, scaled: "keras.KerasTensor", shape: tuple[int, int, int], blocks: tuple[int, int]
) -> "keras.KerasTensor":
    """Of each channel: means and mean absolute deviations of blocks, extremes, roughness, extremes of rows and columns.

    No squares and no roots, which have few levels left in int8; and the lowest is the highest of the input times -1, as
    TFLite negates in float alone.
    """
    layers, ops = keras.layers, keras.ops
    height, width, _ = shape
    size = (height // blocks[0], width // blocks[1])
    means = layers.AveragePooling2D(size, name="block_means")(scaled)
    away = ops.abs(scaled - layers.UpSampling2D(size, name="block_means_again")(means))
    lines = [layers.AveragePooling2D(one)(scaled) for one in ((1, width), (height, 1))]
    steps = [scaled[:, 1:] - scaled[:, :-1], scaled[:, :, 1:] - scaled[:, :, :-1]]
    highest, mirrored = layers.GlobalMaxPooling2D, layers.Rescaling(-1.0, name="mirrored")
    parts = [layers.Flatten()(means), layers.Flatten()(layers.AveragePooling2D(size)(away))]
    parts += [layers.GlobalAveragePooling2D()(ops.abs(one)) for one in steps]
    parts += [part for one in (scaled, *lines) for part in (highest()(one), highest()(mirrored(one)))]
    found = layers.Concatenate(name="statistics")(parts)
    return layers.BatchNormalization(momentum=_MOMENTUM, name="norm_statistics")(found)


def _conv_autoencoder(
    keras: ModuleType, config: ConvAutoencoderConfig, scaled: "keras.KerasTensor"
) -> "keras.KerasTensor":
    """Halve height and width with each width, keep `latent_channels` on the last grid, and go back up."""
    layers = keras.layers
    maps = scaled
    for number, width in enumerate(config.widths):
        maps = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name=f"down_{number}")(maps)
        maps = _normed(keras, maps, f"down_{number}")
    maps = layers.Conv2D(config.latent_channels, 1, name=EMBEDDING)(maps)
    for number, width in enumerate(reversed(config.widths)):
        maps = layers.UpSampling2D(name=f"double_{number}")(maps)
        maps = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"up_{number}")(maps)
        maps = _normed(keras, maps, f"up_{number}")
    return layers.Conv2D(config.shape[2], 3, padding="same", name="output")(maps)


def _dense_autoencoder(
    keras: ModuleType, config: DenseAutoencoderConfig, scaled: "keras.KerasTensor"
) -> "keras.KerasTensor":
    """The network of DCASE 2020 Task 2's baseline (Koizumi et al., 2020, section 4): 269,992 parameters."""
    layers = keras.layers
    hidden = scaled
    sides = [("before", config.width)] * config.n_hidden + [("latent", config.latent)]
    for number, (side, width) in enumerate([*sides, *[("after", config.width)] * config.n_hidden]):
        hidden = layers.Dense(width, name=f"dense_{number}")(hidden)
        hidden = layers.BatchNormalization(momentum=_MOMENTUM, name=f"norm_{number}")(hidden)
        hidden = layers.ReLU(name=EMBEDDING if side == "latent" else f"relu_{number}")(hidden)
    return layers.Dense(config.shape[0], name="output")(hidden)


def _normed(keras: ModuleType, maps: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
    normed = keras.layers.BatchNormalization(momentum=_MOMENTUM, name=f"norm_{name}")(maps)
    return keras.layers.ReLU(name=f"relu_{name}")(normed)
