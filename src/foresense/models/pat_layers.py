"""The two layers of the Pretrained Actigraphy Transformer that Keras has not; imported when a network is built."""

from typing import Any

import keras

from foresense.config.pat import EMBED_DIM
from foresense.models.pat_arrays import positions


class Positions(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Adds the fixed positions to (n, n_patches, 96); holds no weight."""

    def call(self, tokens: Any) -> Any:
        """(n, n_patches, 96), of the same number type."""
        return tokens + keras.ops.convert_to_tensor(positions(tokens.shape[1]), dtype=tokens.dtype)


class MaskToken(keras.layers.Layer):  # type: ignore[misc]
    """One learnt token in the place of every hidden patch."""

    def __init__(self, n_hidden: int, *, seed: int, **named: Any) -> None:
        super().__init__(**named)
        self.n_hidden, self.seed = n_hidden, seed

    def build(self, shape: Any) -> None:
        """Make the token: (1, 1, 96)."""
        normal = keras.initializers.RandomNormal(seed=self.seed)
        self.token = self.add_weight(shape=(1, 1, EMBED_DIM), initializer=normal, name="mask_token")

    def call(self, tokens: Any) -> Any:
        """(n, n_visible + n_hidden, 96): the visible tokens, then the learnt one in each hidden place."""
        hidden = keras.ops.broadcast_to(self.token, (keras.ops.shape(tokens)[0], self.n_hidden, EMBED_DIM))
        return keras.ops.concatenate([tokens, hidden], axis=1)
