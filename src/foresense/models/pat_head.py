"""The fine-tuning head of the Pretrained Actigraphy Transformer in numpy: features of a week to a probability."""

from collections.abc import Mapping

import numpy as np

from foresense.config.pat import EMBED_DIM, HEAD_DIM

#: Name -> shape of each array.
HEAD_SHAPES = {
    "dense_128/kernel": (EMBED_DIM, HEAD_DIM),
    "dense_128/bias": (HEAD_DIM,),
    "output/kernel": (HEAD_DIM, 1),
    "output/bias": (1,),
}


def head_probabilities(head: Mapping[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """(n, 96) features to the probability (n,) of the label, float64.

    Raises:
        ValueError: arrays that are no head.
    """
    shapes = {name: np.shape(one) for name, one in head.items()}
    if shapes != HEAD_SHAPES:
        raise ValueError(f"expected the head {HEAD_SHAPES}, found {shapes}; train it again")
    hidden = np.maximum(features.astype(np.float64) @ head["dense_128/kernel"] + head["dense_128/bias"], 0.0)
    odds = hidden @ head["output/kernel"] + head["output/bias"]
    return np.asarray(1 / (1 + np.exp(-odds[:, 0])))
