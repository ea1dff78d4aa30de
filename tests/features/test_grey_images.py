import ast
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foresense.features import grey_images
from foresense.features.grey_images import ImageError, resized_images
from foresense.features.picture_statistics import image_statistics, spectrogram_statistics

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 24)).astype(np.uint8)


def test_enlarged_images_are_those_of_pillow() -> None:
    """To 1e-3 of 255 levels: Pillow keeps its weights as float32 too, and clips them differently at the border."""
    ours = resized_images(IMAGES, height=224, width=224)[..., 0]
    for image, found in zip(IMAGES, ours, strict=True):
        theirs = Image.fromarray(image.astype(np.float32)).resize((224, 224), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(found, np.asarray(theirs), rtol=0, atol=1e-3)


def test_channels_are_copies_and_the_same_size_is_the_same_image() -> None:
    same = resized_images(IMAGES, height=40, width=24, n_channels=3)
    assert same.shape == (3, 40, 24, 3)
    assert same.dtype == np.float32
    for channel in range(3):
        np.testing.assert_array_equal(same[..., channel], IMAGES)


def test_a_plane_stays_a_plane_and_levels_stay_inside() -> None:
    plane = np.broadcast_to(np.arange(8.0), (1, 8, 8))
    found = resized_images(plane, height=16, width=16)[0, :, :, 0]
    np.testing.assert_allclose(found[0, 1:-1], np.arange(14) / 2 + 0.25, rtol=0, atol=1e-6)
    large = resized_images(IMAGES, height=97, width=101)
    assert large.min() >= IMAGES.min()
    assert large.max() <= IMAGES.max() + 1e-4


@pytest.mark.parametrize(("height", "width", "n_channels"), [(39, 24, 1), (40, 23, 1), (40, 24, 0)])
def test_making_smaller_is_refused(height: int, width: int, n_channels: int) -> None:
    with pytest.raises(ImageError, match=rf"at most {height} x {width}.*found shape \(3, 40, 24\) and {n_channels}"):
        resized_images(IMAGES, height=height, width=width, n_channels=n_channels)


def test_image_statistics_are_those_of_scipy_and_numpy() -> None:
    from scipy.stats import kurtosis, skew

    values, names = image_statistics(IMAGES)
    table = dict(zip(names, values.T, strict=True))
    flat = IMAGES.reshape(3, -1).astype(np.float64)
    np.testing.assert_allclose(table["skewness"], skew(flat, axis=1), rtol=1e-5)
    np.testing.assert_allclose(table["kurtosis"], kurtosis(flat, axis=1), rtol=1e-5)
    np.testing.assert_allclose(table["quantile_0.95"], np.quantile(flat, 0.95, axis=1), rtol=1e-6)
    np.testing.assert_allclose(table["block_0_mean"], IMAGES[:, :10, :6].mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(table["block_15_std"], IMAGES[:, 30:, 18:].std(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(
        table["rough_columns"], np.abs(np.diff(IMAGES.astype(float))).mean(axis=(1, 2)), rtol=1e-6
    )
    assert len(set(names)) == len(names) == values.shape[1]


def test_an_image_without_contrast_has_no_shape() -> None:
    values, names = image_statistics(np.full((2, 8, 8), 7))
    table = dict(zip(names, values.T, strict=True))
    assert (table["skewness"] == 0).all()
    assert (table["kurtosis"] == 0).all()
    assert (table["mean"] == 7).all()


def test_contrast_along_an_axis_is_seen_along_that_axis() -> None:
    stripes = np.zeros((1, 8, 8))
    stripes[0, 4:] = 10
    values, names = image_statistics(stripes)
    table = dict(zip(names, values[0], strict=True))
    assert (table["contrast_rows"], table["contrast_columns"], table["rough_columns"]) == (10, 0, 0)
    assert table["rough_rows"] == pytest.approx(10 / 7)


def test_spectrogram_statistics_are_of_bands_over_time() -> None:
    levels = np.random.default_rng(1).standard_normal((4, 6, 9)).astype(np.float32)
    values, names = spectrogram_statistics(levels)
    table = dict(zip(names, values.T, strict=True))
    assert values.shape == (4, 22)
    np.testing.assert_allclose(table["band_5_max"], levels[:, 5].max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(table["band_2_std"], levels[:, 2].std(axis=1), rtol=1e-5)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images: expected \(n, height, width\) of at least 4 x 4"):
        image_statistics(np.zeros((2, 3, 9)))
    with pytest.raises(ValueError, match=r"levels: expected \(n, n_mels, n_frames\), found \(2, 3\)"):
        spectrogram_statistics(np.zeros((2, 3)))


def test_a_device_with_python_3_9_and_numpy_can_resize_too() -> None:
    tree = ast.parse(Path(grey_images.__file__).read_text(), feature_version=(3, 9))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert modules == {"__future__", "functools", "numpy"}
