"""Arrays of numbers in MATLAB v5 files.

scipy's reader ends the whole process where one bit of a type is turned (1.17, `read_real_complex`), so files that
anybody may hand in are read here: every type, length and shape is checked before it is used.

Source: MathWorks, MAT-File Format, "Level 5 MAT-File Format".
"""

import zlib
from collections.abc import Iterator
from math import prod

import numpy as np

from foresense.sources.tables import SourceError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
#: Type of stored numbers -> how numpy calls it.
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
#: Classes of arrays of numbers: double, single, and integers of 8 to 64 bits.
_CLASSES = range(6, 16)
_COMPLEX = 0x0800
_MOST_BYTES = 1 << 31  # of one variable that was compressed


def read_matlab(content: bytes, *, where: str) -> dict[str, np.ndarray]:
    """Read every real array of numbers; text, cells, structures and complex arrays are passed over.

    Args:
        content: A whole file of version 5, little-endian, as MATLAB writes it without `-v7.3`.
        where: Named in errors.

    Returns:
        Name -> array, float64, of the shape that it has in MATLAB.

    Raises:
        SourceError: another format, or a file that was cut off or damaged.
    """
    if len(content) < _HEADER or content[124:128] != b"\x00\x01IM":
        raise SourceError(
            f"{where}: not a complete MATLAB v5 file (no header of version 5, little-endian); save it with `-v7`, or "
            "copy it again"
        )
    try:
        found = dict(_variables(memoryview(content)[_HEADER:]))
    except (ValueError, zlib.error) as error:
        raise SourceError(f"{where}: not a complete MATLAB v5 file ({error}); copy it again") from error
    return {name: values for name, values in found.items() if values is not None}


def _variables(content: memoryview) -> Iterator[tuple[str, np.ndarray | None]]:
    """Name and numbers of each variable; None for what is no real array of numbers."""
    for kind, data in _elements(content, 1):
        if kind == _COMPRESSED:
            expanded = zlib.decompressobj()
            inner = memoryview(expanded.decompress(data, _MOST_BYTES))
            if not expanded.eof:
                raise ValueError("a compressed variable has no end")
            ((kind, data),) = _elements(inner, 1)
        if kind != _MATRIX:
            raise ValueError(f"a variable of type {kind}, expected {_MATRIX}")
        yield _array(data)


def _array(content: memoryview) -> tuple[str, np.ndarray | None]:
    parts = list(_elements(content, 8))
    if len(parts) < 3 or len(parts[0][1]) != 8:
        raise ValueError("a variable without flags, shape or name")
    flags = int(_numbers(*parts[0])[0])
    name = bytes(parts[2][1]).decode("latin-1")
    if flags & 0xFF not in _CLASSES or flags & _COMPLEX:
        return name, None
    if len(parts) != 4:
        raise ValueError(f"{name}: {len(parts)} parts, expected 4")
    values, shape = _numbers(*parts[3]), [int(length) for length in _numbers(*parts[1])]
    if len(shape) < 2 or min(shape) < 0 or prod(shape) != len(values):
        raise ValueError(f"{name}: shape {shape} with {len(values)} numbers")
    return name, values.astype(np.float64).reshape(shape, order="F")


def _elements(content: memoryview, step: int) -> Iterator[tuple[int, memoryview]]:
    """Type and data of each element that lies in `content`, one after the other, padded to whole `step`s."""
    at = 0
    while at < len(content):
        if len(content) - at < 8:
            raise ValueError(f"{len(content) - at} bytes behind the last element")
        kind, length = (int(number) for number in np.frombuffer(content[at : at + 8], "<u4"))
        begin = at + 8
        if kind >> 16:  # a small element: type and length share four bytes, data follows at once
            kind, length, begin = kind & 0xFFFF, kind >> 16, at + 4
        if length > (len(content) - begin if begin == at + 8 else 4):
            raise ValueError(f"an element of {length} bytes, {len(content) - begin} are left")
        yield kind, content[begin : begin + length]
        at = at + 8 if begin == at + 4 else begin + -(-length // step) * step


def _numbers(kind: int, data: memoryview) -> np.ndarray:
    if kind not in _NUMBERS:
        raise ValueError(f"numbers of type {kind}, expected one of {sorted(_NUMBERS)}")
    return np.frombuffer(data, _NUMBERS[kind])
