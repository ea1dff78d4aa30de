"""Names of registered models: MLflow forbids `/` and `:`, and a pipeline's dot must not be mistaken for ours."""

import re


def registered_name(pipeline: str, asset: str) -> str:
    """`<pipeline>.<asset>`; different pairs never share a name.

    Letters and digits of ASCII, `-` and `_` stay; every other byte of the UTF-8 text is `~` and two hex digits, so that
    the only dot is the one between the two.
    """
    return f"{quoted(pipeline)}.{quoted(asset)}"


def quoted(text: str) -> str:
    """`text` in letters, digits, `-`, `_` and `~`; different texts stay different."""
    return re.sub(r"[^A-Za-z0-9_-]", lambda found: "".join(f"~{byte:02x}" for byte in found[0].encode()), text)
