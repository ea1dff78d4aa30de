"""The encoder of the Pretrained Actigraphy Transformer in plain numpy, float64: written from the spec."""

import math

import numpy as np

#: size -> (minutes in a patch, heads, blocks)
SIZES = {"S": (18, 6, 1), "M": (18, 12, 2), "L": (9, 12, 4)}


def features(weights: dict[str, np.ndarray], size: str, weeks: np.ndarray) -> np.ndarray:
    """(n, minutes) to (n, 96)."""
    return np.stack([encode(weights, size, week)[0].mean(axis=0) for week in weeks])


def encode(weights: dict[str, np.ndarray], size: str, week: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One week: its tokens (n_patches, 96), and the last block's attention (heads, queries, keys)."""
    patch_length, n_heads, n_blocks = SIZES[size]
    arrays = {name: np.asarray(values, np.float64) for name, values in weights.items()}
    patches = np.asarray(week, np.float64).reshape(-1, patch_length)
    x = patches @ arrays["dense/dense/kernel:0"] + arrays["dense/dense/bias:0"]
    for position in range(len(x)):
        for column in range(48):
            angle = position * math.exp(-math.log(10000.0) * 2 * column / 96)
            x[position, column] += math.sin(angle)
            x[position, 48 + column] += math.cos(angle)
    attention = np.empty(0)
    for block in range(1, n_blocks + 1):
        root = f"encoder_layer_{block}_transformer/encoder_layer_{block}_"
        get = {name[len(root) :]: values for name, values in arrays.items() if name.startswith(root)}
        heads, shares = [], []
        for head in range(n_heads):
            q, k, v = (
                x @ get[f"attention/{part}/kernel:0"][:, head] + get[f"attention/{part}/bias:0"][head]
                for part in ("query", "key", "value")
            )
            scores = q / math.sqrt(96) @ k.T
            share = np.exp(scores - scores.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            heads.append(share @ v @ get["attention/attention_output/kernel:0"][head])
            shares.append(share)
        attention = np.stack(shares)
        y = normed(x + sum(heads) + get["attention/attention_output/bias:0"], get, "norm1")
        hidden = np.maximum(y @ get["ff1/kernel:0"] + get["ff1/bias:0"], 0)
        x = normed(y + hidden @ get["ff2/kernel:0"] + get["ff2/bias:0"], get, "norm2")
    return x, attention


def normed(x: np.ndarray, get: dict[str, np.ndarray], name: str) -> np.ndarray:
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * get[f"{name}/gamma:0"] + get[f"{name}/beta:0"]
