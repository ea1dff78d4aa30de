"""What every form of the Pretrained Actigraphy Transformer shares, in numpy: positions, new weights, attention."""

from collections.abc import Mapping
from math import prod

import numpy as np

from foresense.config.pat import EMBED_DIM, Shape


def positions(n_patches: int) -> np.ndarray:
    """(n_patches, 96), float32: sines in the first half, cosines in the second, not interleaved.

    Source: get_positional_embeddings of the pretraining notebook. It computes in float32, where the angle of patch 1119
    is rounded by up to 6e-5; here it is float64, rounded once at the end.
    """
    rates = np.exp(np.arange(0, EMBED_DIM, 2) * (-np.log(10_000.0) / EMBED_DIM))
    angles = np.arange(n_patches)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def new_weights(shapes: Mapping[str, Shape], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Untrained weights by name, float32: Keras' defaults, drawn from `rng` and not from Keras' own random state.

    Kernels are Glorot uniform with Keras' fans (its MultiHeadAttention counts (96, heads, 96) as 96 receptive fields),
    biases and beta 0, gamma 1.
    """
    return {name: _new(name, shape, rng) for name, shape in shapes.items()}


def _new(name: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    if "kernel" in name:
        fields = prod(shape[:-2])
        limit = np.sqrt(6 / (fields * (shape[-2] + shape[-1])))
        return rng.uniform(-limit, limit, shape).astype(np.float32)
    return np.full(shape, 1.0 if "gamma" in name else 0.0, np.float32)


def attention_received(attention: np.ndarray, patch_length: int) -> np.ndarray:
    """How much each minute is looked at: which part of a week moved the model.

    Args:
        attention: (n, n_heads, n_patches of queries, n_patches of keys): shares of the last block, each query's add up
            to 1.
        patch_length: Minutes in a patch.

    Returns:
        (n, n_patches * patch_length), float64: summed over the queries, averaged over the heads, scaled so that a
        week's patches add up to 1 (a minute's number is its patch's). Without preference every patch gets
        1 / n_patches.

    Raises:
        ValueError: not four axes with as many queries as keys.

    Source: the explainability notebook, which sums axis 1 of (heads, queries, keys). The paper's words ("across the key
    positions") would be 1 everywhere.
    """
    if attention.ndim != 4 or attention.shape[2] != attention.shape[3]:
        raise ValueError(
            f"attention: expected (n, n_heads, n_patches, n_patches), found {attention.shape}; give the last output of "
            "the encoder"
        )
    received = attention.sum(axis=2, dtype=np.float64).mean(axis=1)
    return np.repeat(received / received.sum(axis=1, keepdims=True), patch_length, axis=1)
