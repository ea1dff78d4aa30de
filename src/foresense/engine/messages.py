"""Messages between the engine and a worker process: eight bytes of length, then JSON."""

import json
import struct
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">Q")


def packed(message: object) -> bytes:
    """The bytes of one message.

    Raises:
        TypeError: it holds something that is not JSON.
        ValueError: it holds NaN or infinity, which JSON lacks.
    """
    content = json.dumps(message, allow_nan=False).encode()
    return _LENGTH.pack(len(content)) + content


def unpacked(received: bytearray) -> Any | None:
    """Take the first message out of `received`; None while it is not complete."""
    if len(received) < _LENGTH.size:
        return None
    end = _LENGTH.size + _LENGTH.unpack_from(received)[0]
    if len(received) < end:
        return None
    message = json.loads(received[_LENGTH.size : end])
    del received[:end]
    return message


def read_message(stream: BinaryIO) -> Any | None:
    """Wait for one message; None when the other side has gone."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    length = _LENGTH.unpack(head)[0]
    content = stream.read(length)
    return json.loads(content) if len(content) == length else None
