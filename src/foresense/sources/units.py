"""Turn what a file holds into the unit that a pipeline works in."""

from collections.abc import Sequence
from dataclasses import replace

from foresense.config import ChannelConfig
from foresense.sources.tables import RawTable, SourceError

#: UCUM code -> (quantity, factor, offset): value * factor + offset is in the quantity's base unit. Factors are exact by
#: definition: SP 811, appendix B.8 (https://www.nist.gov/pml/special-publication-811), or a prefix.
UNITS: dict[str, tuple[str, float, float]] = {
    "K": ("temperature", 1.0, 0.0),
    "Cel": ("temperature", 1.0, 273.15),
    "[degF]": ("temperature", 5 / 9, 459.67 * 5 / 9),
    "A": ("current", 1.0, 0.0),
    "mA": ("current", 1e-3, 0.0),
    "m/s2": ("acceleration", 1.0, 0.0),
    "mm/s2": ("acceleration", 1e-3, 0.0),
    "g": ("acceleration", 9.80665, 0.0),  # standard gravity; UCUM's code is [g]
    "mg": ("acceleration", 9.80665e-3, 0.0),
    "Pa": ("pressure", 1.0, 0.0),
    "kPa": ("pressure", 1e3, 0.0),
    "bar": ("pressure", 1e5, 0.0),
    "[psi]": ("pressure", 6894.757293168362, 0.0),
    "m/s": ("velocity", 1.0, 0.0),
    "mm/s": ("velocity", 1e-3, 0.0),
    "[in_i]/s": ("velocity", 0.0254, 0.0),
    "Hz": ("frequency", 1.0, 0.0),
    "/min": ("frequency", 1 / 60, 0.0),  # revolutions per minute
    "W": ("power", 1.0, 0.0),
    "kW": ("power", 1e3, 0.0),
    "1": ("ratio", 1.0, 0.0),
    "%": ("ratio", 1e-2, 0.0),
}


def conversion(found: str, wanted: str) -> tuple[float, float]:
    """Factor and offset that turn a value in `found` into one in `wanted`.

    Raises:
        SourceError: a unit that is not known, or two that do not measure the same quantity.
    """
    unknown = [unit for unit in (found, wanted) if unit not in UNITS]
    if unknown:
        raise SourceError(
            f"no conversion from {found!r} to {wanted!r}: {unknown[0]!r} is not one of {', '.join(UNITS)}"
        )
    (quantity, factor, offset), (other, to_factor, to_offset) = UNITS[found], UNITS[wanted]
    if quantity != other:
        raise SourceError(f"no conversion from {found!r} to {wanted!r}: one is a {quantity}, the other a {other}")
    return factor / to_factor, (offset - to_offset) / to_factor


def in_asked_units(table: RawTable, channels: Sequence[ChannelConfig]) -> RawTable:
    """The same samples with every channel in its `unit`.

    Args:
        table: One asset, in the units that its files hold.
        channels: `found_unit` says what the files hold where that is not `unit`.

    Raises:
        SourceError: units that cannot be converted; every channel's problem together.
    """
    changed = [
        (number, channel, channel.found_unit)
        for number, channel in enumerate(channels)
        if channel.found_unit not in (None, channel.unit)
    ]
    if not changed:
        return table
    values, problems = table.values.copy(), []
    for number, channel, found_unit in changed:
        try:
            factor, offset = conversion(str(found_unit), channel.unit)
        except SourceError as error:
            problems.append(f"ingest.channels: {channel.name}: {error}")
            continue
        values[:, number] = values[:, number] * factor + offset
    if problems:
        raise SourceError("; ".join(problems))
    return replace(table, values=values)
