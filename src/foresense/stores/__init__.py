"""Where samples are kept: an embedded store, or InfluxDB. An adapter is imported when it is asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from foresense.stores.batch import (
    Batch,
    NoDatabaseError,
    RefusedRow,
    SeriesStore,
    Store,
    StoreError,
    StoreUnavailableError,
)

__all__ = [
    "Batch",
    "NoDatabaseError",
    "RefusedRow",
    "SeriesStore",
    "Store",
    "StoreError",
    "StoreUnavailableError",
    "check_channels",
    "open_store",
    "split_name",
]


def open_store(text: str, environment: Mapping[str, str], root: Path = Path()) -> SeriesStore:
    """Open the store that `text` names; nothing is asked or written yet.

    Args:
        text: `embedded:<folder>`, `influx`, or `influx:<bucket>` for another bucket than that of the environment.
        environment: For `influx`: FORESENSE_INFLUX_URL, _TOKEN, _ORG, _BUCKET, _FLAVOUR.
        root: A relative folder lies below it.

    Raises:
        ValueError: another name, or settings that are wrong or missing.
    """
    kind, rest = split_name(text)
    if kind == "embedded":
        from foresense.stores.embedded import EmbeddedStore

        return EmbeddedStore(root / rest)
    from foresense.stores.influx import InfluxSettings, InfluxStore

    bucket = {"FORESENSE_INFLUX_BUCKET": rest} if rest else {}
    return InfluxStore(InfluxSettings.from_environment({**environment, **bucket}))


def split_name(text: str) -> tuple[str, str]:
    """Take apart what names a store.

    Args:
        text: As for `open_store`.

    Returns:
        `embedded` and the folder, or `influx` and the bucket, "" for that of the environment.

    Raises:
        ValueError: another name.
    """
    kind, colon, rest = text.partition(":")
    if (kind == "embedded" and rest) or (kind == "influx" and bool(colon) == bool(rest)):
        return kind, rest
    raise ValueError(
        f"no store {text!r}; known: embedded:<folder>, influx (address in FORESENSE_INFLUX_URL), influx:<bucket>"
    )


def check_channels(text: str, channels: Sequence[str]) -> None:
    """Refuse channels that the store `text` would refuse with every batch.

    Raises:
        StoreError: the embedded store has a column of such a name.
    """
    if text.startswith("embedded:"):
        from foresense.stores import parts

        parts.check_channels(channels)
