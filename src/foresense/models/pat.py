"""The Pretrained Actigraphy Transformer in Keras: encoder, features, fine-tuning head, masked autoencoder, attention.

A week of minutes becomes patches, a linear map (or a convolution), fixed positions, and post-norm blocks whose heads
each have the whole width of 96. Layers and weights are named as in the official files (Ruan et al. 2024, arXiv
2411.15240; notebooks of njacobsonlab). Keras and TensorFlow are imported when a network is built.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from foresense.config.pat import (
    CONV_KERNEL,
    DROPOUT,
    EMBED_DIM,
    FF_DIM,
    HEAD_DIM,
    KEY_DIM,
    NORM_EPSILON,
    WEEK_MINUTES,
    PatSize,
    PatWeightsError,
    block_shapes,
    require_weights,
    weight_shapes,
)
from foresense.models.pat_arrays import attention_received, new_weights

INPUT = "actigraphy_input"
#: Second input of the masked autoencoder: (n, n_patches), int32, a permutation in each row; the first are visible.
ORDER = "patch_order"
POOLED = "global_avg_pool"


def build_encoder(size: PatSize, *, n_minutes: int = WEEK_MINUTES, seed: int = 0) -> Any:
    """Build the encoder with new weights: a keras.Model that maps (n, n_minutes), standardised counts, float32.

    Args:
        size: One of PAT_SIZES.
        n_minutes: A multiple of the patch length.
        seed: Of the weights and of dropout.

    Returns:
        A model that gives a list: tokens (n, n_patches, 96), then the attention of each block
        (n, n_heads, n_patches, n_patches); each query's row adds up to 1.

    Raises:
        ValueError: `n_minutes` is no multiple of the patch length.
        ImportError: TensorFlow is not installed, or Keras runs on something else.
    """
    n_patches = size.n_patches(n_minutes)
    keras, own = _keras(), import_module("foresense.models.pat_layers")
    layers = keras.layers
    minutes = keras.Input((n_minutes,), name=INPUT)
    if size.is_conv:
        patches = layers.Reshape((n_patches, size.patch_length, 1), name="reshape")(minutes)
        filters = layers.Conv1D(EMBED_DIM, CONV_KERNEL, padding="same", activation="relu")
        tokens = layers.TimeDistributed(filters, name="conv1d_patch_embedding")(patches)
        tokens = layers.TimeDistributed(layers.GlobalAveragePooling1D(), name="global_avg_pooling")(tokens)
    else:
        patches = layers.Reshape((n_patches, size.patch_length), name="reshape")(minutes)
        tokens = layers.Dense(EMBED_DIM, name="dense")(patches)
    tokens = own.Positions(name="positions")(tokens)
    attentions = []
    for number in range(1, size.n_layers + 1):
        tokens, attention = _block(keras, f"encoder_layer_{number}", size.n_heads, seed=(seed, number))(tokens)
        attentions.append(attention)
    encoder = keras.Model(minutes, [tokens, *attentions], name=f"PAT_{size.name}")
    load(encoder, size, new_weights(weight_shapes(size), np.random.default_rng([seed, 1])))
    return encoder


def load(encoder: Any, size: PatSize, weights: Mapping[str, np.ndarray]) -> None:
    """Put weights into an encoder.

    Args:
        encoder: What `build_encoder` made of `size`.
        size: Its size.
        weights: Path in the official file -> float32 array, exactly those of the size.

    Raises:
        PatWeightsError: a name or a shape is not the size's; lists all.
    """
    require_weights(size, {name: np.shape(values) for name, values in weights.items()}, where="load")
    for name, variable in _variables(encoder, size).items():
        variable.assign(weights[name])


def weights_of(encoder: Any, size: PatSize) -> dict[str, np.ndarray]:
    """The weights of an encoder by their path in the official file, float32, shaped as `weight_shapes` says."""
    return {name: np.asarray(variable.numpy()) for name, variable in _variables(encoder, size).items()}


def build_features(encoder: Any) -> Any:
    """A model that maps (n, n_minutes) to the (n, 96) features of a week, float32: tokens averaged over the patches."""
    keras = _keras()
    pooled = keras.layers.GlobalAveragePooling1D(name=POOLED)(encoder.outputs[0])
    return keras.Model(encoder.input, pooled, name=f"{encoder.name}_features")


def build_classifier(encoder: Any, *, seed: int = 0) -> Any:
    """A model that maps (n, n_minutes) to the probability (n, 1) of a label; it trains the encoder's own weights."""
    keras = _keras()
    layers, uniform = keras.layers, keras.initializers.GlorotUniform
    pooled = layers.GlobalAveragePooling1D(name=POOLED)(encoder.outputs[0])
    hidden = layers.Dropout(DROPOUT, seed=seed, name="dropout")(pooled)
    hidden = layers.Dense(HEAD_DIM, activation="relu", kernel_initializer=uniform(seed), name="dense_128")(hidden)
    label = layers.Dense(1, activation="sigmoid", kernel_initializer=uniform(seed + 1), name="output")(hidden)
    return keras.Model(encoder.input, label, name=f"{encoder.name}_classifier")


def head_of(classifier: Any) -> dict[str, np.ndarray]:
    """The weights of a classifier's head by layer and name, float32 (`HEAD_SHAPES`): what `load_head` takes."""
    return {name: np.asarray(variable.numpy()) for name, variable in _head(classifier).items()}


def load_head(classifier: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Put weights into the head of a classifier.

    Raises:
        PatWeightsError: names or shapes are not those of the head.
    """
    expected = {name: tuple(variable.shape) for name, variable in _head(classifier).items()}
    found = {name: np.shape(values) for name, values in weights.items()}
    if found != expected:
        raise PatWeightsError(f"not the weights of a head: expected {expected}, found {found}")
    for name, variable in _head(classifier).items():
        variable.assign(weights[name])


def build_autoencoder(encoder: Any, size: PatSize, *, mask_ratio: float, seed: int = 0) -> Any:
    """Build the masked autoencoder around an encoder: it trains the encoder's own weights.

    The encoder sees the visible patches only; a decoder of one block sees them and a learnt token for every hidden one,
    with positions again, and gives 2 tanh: standardised counts beyond ±2 are not told apart.

    Args:
        encoder: What `build_encoder` made of `size`.
        size: Its size.
        mask_ratio: Share of the patches that are hidden; rounded to whole patches.
        seed: Of the decoder's weights and of dropout.

    Returns:
        A model of {INPUT: (n, n_minutes), ORDER: (n, n_patches)} that gives (n, n_patches, patch_length).

    Raises:
        ValueError: no patch, or every patch, would be hidden.
    """
    n_patches = size.n_patches(encoder.input.shape[1])
    hidden = n_hidden(n_patches, mask_ratio)
    keras, own = _keras(), import_module("foresense.models.pat_layers")
    ops, layers = keras.ops, keras.layers
    uniform = keras.initializers.GlorotUniform
    minutes, order = encoder.input, keras.Input((n_patches,), dtype="int32", name=ORDER)
    placed = encoder.get_layer("positions").output
    visible = ops.expand_dims(order[:, : n_patches - hidden], axis=-1)
    tokens = ops.take_along_axis(placed, visible, axis=1)
    for number in range(1, size.n_layers + 1):
        tokens, _ = encoder.get_layer(f"encoder_layer_{number}_transformer")(tokens)
    tokens = own.MaskToken(hidden, seed=seed, name="mask_layer")(tokens)
    tokens = ops.take_along_axis(tokens, ops.expand_dims(ops.argsort(order, axis=-1), axis=-1), axis=1)
    tokens = own.Positions(name="decoder_positions")(tokens)
    decoder = _block(keras, "decoder_layer_1", size.n_heads, seed=(seed, 0))
    drawn = new_weights(block_shapes("decoder_layer_1", size.n_heads), np.random.default_rng([seed, 0]))
    for name, variable in _paths(decoder).items():
        variable.assign(drawn[name])
    tokens, _ = decoder(tokens)
    patches = layers.Dense(
        size.patch_length, activation="tanh", kernel_initializer=uniform(seed), name="decoder_dense"
    )(tokens)
    return keras.Model([minutes, order], 2 * patches, name=f"{encoder.name}_autoencoder")


def n_hidden(n_patches: int, mask_ratio: float) -> int:
    """Patches that are hidden of so many.

    Raises:
        ValueError: none or all of them.
    """
    hidden = round(mask_ratio * n_patches)
    if not 0 < hidden < n_patches:
        raise ValueError(
            f"mask_ratio {mask_ratio:g} hides {hidden} of {n_patches} patches; expected at least one hidden and one "
            "visible: give longer recordings, or another mask_ratio"
        )
    return hidden


def explain(encoder: Any, size: PatSize, weeks: np.ndarray, *, batch_size: int = 1) -> np.ndarray:
    """(n, n_minutes): how much the last block looks at each minute of (n, n_minutes) weeks; see `attention_received`.

    One week of L holds 60 MiB of attention, so weeks go through a few at a time.
    """
    last = _keras().Model(encoder.input, encoder.outputs[-1])
    batches = [weeks[first : first + batch_size] for first in range(0, len(weeks), batch_size)]
    return np.concatenate(
        [attention_received(np.asarray(last(batch, training=False)), size.patch_length) for batch in batches]
    )


def _block(keras: Any, prefix: str, n_heads: int, *, seed: tuple[int, int]) -> Any:
    """Attention and feed-forward, each added and normalised after: (n, n_tokens, 96) to the same, and the attention."""
    layers = keras.layers
    first_seed, second_seed = (int(word) for word in np.random.SeedSequence(seed).generate_state(2) >> 1)
    tokens = keras.Input((None, EMBED_DIM), name=f"{prefix}_input")
    attended, attention = layers.MultiHeadAttention(n_heads, KEY_DIM, name=f"{prefix}_attention")(
        tokens, tokens, return_attention_scores=True
    )
    attended = layers.Dropout(DROPOUT, seed=first_seed, name=f"{prefix}_dropout")(attended)
    first = layers.LayerNormalization(epsilon=NORM_EPSILON, name=f"{prefix}_norm1")(tokens + attended)
    fed = layers.Dense(FF_DIM, activation="relu", name=f"{prefix}_ff1")(first)
    fed = layers.Dense(EMBED_DIM, name=f"{prefix}_ff2")(fed)
    fed = layers.Dropout(DROPOUT, seed=second_seed, name=f"{prefix}_dropout2")(fed)
    second = layers.LayerNormalization(epsilon=NORM_EPSILON, name=f"{prefix}_norm2")(first + fed)
    return keras.Model(tokens, [second, attention], name=f"{prefix}_transformer")


def _variables(encoder: Any, size: PatSize) -> dict[str, Any]:
    """Path in the official file -> variable, in the file's order."""
    found: dict[str, Any] = {}
    for layer in encoder.layers:
        if layer.name.endswith("_transformer"):
            found |= {f"{layer.name}/{path}": variable for path, variable in _paths(layer).items()}
        else:
            found |= {f"{layer.name}/{layer.name}/{variable.name}:0": variable for variable in layer.weights}
    return {name: found[name] for name in weight_shapes(size)}


def _head(classifier: Any) -> dict[str, Any]:
    layers = [classifier.get_layer(name) for name in ("dense_128", "output")]
    return {f"{layer.name}/{variable.name}": variable for layer in layers for variable in layer.weights}


def _paths(layer: Any) -> dict[str, Any]:
    return {f"{variable.path}:0": variable for variable in layer.weights}


def _keras() -> Any:
    try:
        keras = import_module("keras")
        import_module("tensorflow")
    except ImportError as error:
        raise ImportError(
            "the Pretrained Actigraphy Transformer needs TensorFlow, which is in the extra 'edge': "
            "pip install 'foresense[edge]'"
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            f"Keras runs on {keras.backend.backend()!r}, expected 'tensorflow': set KERAS_BACKEND=tensorflow before "
            "the first import of keras"
        )
    return keras
