"""What can become of a file: cut off, bits turned, pieces lost, doubled or exchanged, or something else altogether."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

#: Pieces that parsers of text have stumbled over.
PIECES = (
    *(
        b'"',
        b"'",
        b",",
        b";",
        b"\n",
        b"\r",
        b"\r\n",
        b"\x00",
        b"\t",
        b"\xff",
        b"\xc3",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
    ),
    *(b"nan", b"inf", b"-1", b"1e999", b"1_000", b"0x10", b"9" * 400, b"true", b"null", b"9999-12-31", b"24:61"),
    *(b"[", b"]", b"{", b"}", b": ", b"- ", b"&a ", b"*a", b"!!python/object:os.system ", b"#", b"%", b"|"),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def prefixes(whole: bytes) -> st.SearchStrategy[bytes]:
    """The file cut off anywhere, so that at least its last byte that is no white space is missing."""
    return st.integers(0, len(whole.rstrip()) - 1).map(lambda n: whole[:n])


@st.composite
def damaged(draw: Callable[[Any], Any], whole: bytes) -> bytes:
    """The file after up to four accidents, or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        until = min(at + draw(st.integers(1, 40)), len(content))
        match draw(st.sampled_from(["bit", "byte", "lose", "double", "put", "zero", "cut"])):
            case "bit" if content:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "byte" if content:
                content[at] = draw(st.integers(0, 255))
            case "lose":
                del content[at:until]
            case "double":
                content[at:at] = content[at:until]
            case "put":
                content[at:at] = draw(st.sampled_from(PIECES) | st.binary(max_size=6))
            case "zero":
                content[at:until] = bytes(until - at)
            case _:
                del content[at:]
    return bytes(content)


@st.composite
def edited(draw: Callable[[Any], Any], whole: bytes) -> bytes:
    """The JSON file with up to three values exchanged or taken out, at any depth."""
    content = json.loads(whole)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(content))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        if draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = draw(json_values)
    return json.dumps(content).encode()


def _places(content: Any) -> Any:
    """Every (mapping or list, key) below `content`."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key
        yield from _places(content[key])
