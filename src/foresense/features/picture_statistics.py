"""Statistics of images and of spectrograms: what a forest, a rival of a network, looks at. Numpy alone."""

import numpy as np

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_N_BLOCKS = 4  # an image is looked at in so many blocks of rows, and of columns


def image_statistics(images: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Of each image: moments, quantiles, roughness along both axes, and means and deviations of blocks.

    Args:
        images: (n, height, width), any real type, at least 4 x 4.

    Returns:
        (n, n_features), float32, in the unit of the images but for skewness and kurtosis (excess), which are 0 for an
        image without contrast; and their names.

    Raises:
        ValueError: another shape.
    """
    if images.ndim != 3 or min(images.shape[1:]) < _N_BLOCKS:
        raise ValueError(
            f"images: expected (n, height, width) of at least {_N_BLOCKS} x {_N_BLOCKS} pixels, found {images.shape}; "
            "enlarge them first"
        )
    levels = images.astype(np.float64)
    columns: dict[str, np.ndarray] = _moments(levels.reshape(len(levels), -1))
    columns |= {
        f"quantile_{share:g}": values
        for share, values in zip(_QUANTILES, np.quantile(levels, _QUANTILES, axis=(1, 2)), strict=True)
    }
    for axis, name in ((1, "rows"), (2, "columns")):
        columns[f"rough_{name}"] = np.abs(np.diff(levels, axis=axis)).mean(axis=(1, 2))
        lines = levels.mean(axis=3 - axis)
        columns[f"contrast_{name}"] = np.ptp(lines, axis=1)
    blocks = [
        block for band in np.array_split(levels, _N_BLOCKS, axis=1) for block in np.array_split(band, _N_BLOCKS, axis=2)
    ]
    for number, block in enumerate(blocks):
        columns[f"block_{number}_mean"] = block.mean(axis=(1, 2))
        columns[f"block_{number}_std"] = block.std(axis=(1, 2))
    return np.stack(list(columns.values()), axis=1).astype(np.float32), tuple(columns)


def spectrogram_statistics(levels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Of each band: mean, deviation and highest level over time; of the whole: moments.

    Args:
        levels: (n, n_mels, n_frames), dB.

    Returns:
        (n, 3 n_mels + 4), float32, dB but for skewness and kurtosis; and their names.

    Raises:
        ValueError: another shape.
    """
    if levels.ndim != 3:
        raise ValueError(f"levels: expected (n, n_mels, n_frames), found {levels.shape}; give clips, not one clip")
    values = levels.astype(np.float64)
    of_bands = {"mean": values.mean(axis=2), "std": values.std(axis=2), "max": values.max(axis=2)}
    moments = _moments(values.reshape(len(values), -1))
    names = [f"band_{band}_{name}" for name in of_bands for band in range(levels.shape[1])]
    table = np.concatenate([*of_bands.values(), np.stack(list(moments.values()), axis=1)], axis=1)
    return table.astype(np.float32), (*names, *moments)


def _moments(values: np.ndarray) -> dict[str, np.ndarray]:
    """Of each row (n, k): mean, deviation, skewness, excess kurtosis."""
    mean, std = values.mean(axis=1), values.std(axis=1)
    standard = (values - mean[:, None]) / np.where(std > 0, std, 1)[:, None]
    has_contrast = std > 0
    return {
        "mean": mean,
        "std": std,
        "skewness": (standard**3).mean(axis=1),
        "kurtosis": np.where(has_contrast, (standard**4).mean(axis=1) - 3, 0),
    }
