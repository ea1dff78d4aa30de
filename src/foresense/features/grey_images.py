"""Grey images at the size that a network wants, with numpy alone, so that a device can do the same."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


class ImageError(ValueError):
    """Images of a shape that cannot be used; the message says what, expected, and found."""


def resized_images(images: np.ndarray, *, height: int, width: int, n_channels: int = 1) -> np.ndarray:
    """Interpolate grey images linearly, and repeat them for each channel.

    Nothing is gained by it: an image of 24 x 40 pixels at 224 x 224 x 3 has 960 numbers spread over 150,528. Pixels
    are areas with their centres at half steps (as in Pillow's BILINEAR when it enlarges, and tf.image.resize); beyond
    the outermost centres the outermost pixel holds. Making smaller is refused: it would skip pixels.

    Args:
        images: (n, h, w), any real type.
        height: Rows of the result, at least h.
        width: Columns of the result, at least w.
        n_channels: Copies of the grey level.

    Returns:
        (n, height, width, n_channels), float32.

    Raises:
        ImageError: another shape, or smaller than the images are.
    """
    if images.ndim != 3 or height < images.shape[1] or width < images.shape[2] or n_channels < 1:
        raise ImageError(
            f"expected images (n, h, w) of at most {height} x {width}, and n_channels of at least 1, found shape "
            f"{images.shape} and {n_channels}"
        )
    grey = images.astype(np.float32)
    if images.shape[1:] != (height, width):
        rows, columns = _weights(images.shape[1], height), _weights(images.shape[2], width)
        grey = rows @ grey @ columns.T
    return np.repeat(grey[..., None], n_channels, axis=3)


@lru_cache(maxsize=8)
def _weights(n_from: int, n_to: int) -> np.ndarray:
    """(n_to, n_from), float32: what each old pixel adds to each new one."""
    places = np.clip((np.arange(n_to) + 0.5) * n_from / n_to - 0.5, 0, n_from - 1)
    weights: np.ndarray = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(n_from))).astype(np.float32)
    weights.flags.writeable = False  # kept and handed out again
    return weights
