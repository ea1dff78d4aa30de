"""MATLAB files: scipy's numbers, and an error where scipy's reader would end the process."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.io import loadmat, savemat

from foresense.sources import SourceError
from foresense.sources.matlab import read_matlab

DTYPES = st.sampled_from([np.float64, np.float32, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32])
VALUES = DTYPES.flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=4))
)


def saved(is_compressed: bool = False, **variables: object) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=is_compressed)
    return file.getvalue()


@settings(deadline=None, max_examples=60)
@given(values=VALUES, is_compressed=st.booleans())
def test_numbers_are_those_of_scipy(values: np.ndarray, is_compressed: bool) -> None:
    content = saved(is_compressed, first=values, rpm=np.array([[1796]], np.uint16))
    found, expected = read_matlab(content, where="here"), loadmat(io.BytesIO(content))
    assert sorted(found) == ["first", "rpm"]
    for name, own in found.items():
        assert own.dtype == np.float64
        np.testing.assert_array_equal(own, expected[name])


def test_what_is_no_array_of_numbers_is_passed_over() -> None:
    content = saved(text="rig 2", complex=np.array([[1 + 2j]]), cells=np.array([["a", 1]], object), speed=[[3.0]])
    assert list(read_matlab(content, where="here")) == ["speed"]


def test_a_turned_bit_of_a_type_is_an_error() -> None:
    """One of the bits with which scipy 1.17.1 ends in a segmentation fault: numbers of a type that there is none of."""
    content = bytearray(saved(x=np.arange(9.0)[:, None]))
    at = content.index(np.array([9, 72], "<u4").tobytes())
    content[at] ^= 1 << 5
    with pytest.raises(SourceError, match=r"here: not a complete MATLAB v5 file \(numbers of type 41, expected one of"):
        read_matlab(bytes(content), where="here")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header of version 5"),
        (saved(x=[[1.0]])[:126] + b"MI" + saved(x=[[1.0]])[128:], "no header of version 5, little-endian"),
        (saved(x=[[1.0]])[:-1], r"an element of \d+ bytes, \d+ are left"),
        (saved(x=[[1.0]]) + b"\x00", "1 bytes behind the last element"),
        (saved(is_compressed=True, x=[[1.0]])[:-4], r"an element of \d+ bytes"),
        (saved(x=[[1.0]])[:128] + np.array([14, 0], "<u4").tobytes(), "a variable without flags, shape or name"),
        (saved(x=[[1.0]])[:128] + np.array([9, 8, 0, 0], "<u4").tobytes(), "a variable of type 9, expected 14"),
    ],
)
def test_damage_is_said(content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_matlab(content, where="here")
