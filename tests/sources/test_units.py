"""Conversions against scipy's constants, and the messages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import constants

from foresense.config import ChannelConfig
from foresense.sources import RawTable, SourceError
from foresense.sources.units import UNITS, conversion, in_asked_units

PAIRS = [(a, b) for a in UNITS for b in UNITS if UNITS[a][0] == UNITS[b][0]]


@pytest.mark.parametrize(
    ("found", "wanted", "factor"),
    [
        ("[psi]", "Pa", constants.psi),
        ("bar", "kPa", constants.bar / constants.kilo),
        ("g", "m/s2", constants.g),
        ("mm/s2", "mg", constants.milli / (constants.g * constants.milli)),
        ("[in_i]/s", "mm/s", constants.inch / constants.milli),
        ("/min", "Hz", 1 / constants.minute),
        ("mA", "A", constants.milli),
    ],
)
def test_factors_are_those_of_another_library(found: str, wanted: str, factor: float) -> None:
    assert conversion(found, wanted) == (pytest.approx(factor, rel=1e-14), 0.0)


@given(st.floats(-400, 4000))
def test_temperatures_are_those_of_another_library(value: float) -> None:
    for found, wanted, names in [("[degF]", "Cel", "FC"), ("Cel", "[degF]", "CF"), ("K", "[degF]", "KF")]:
        factor, offset = conversion(found, wanted)
        scale = {"F": "Fahrenheit", "C": "Celsius", "K": "Kelvin"}
        expected = constants.convert_temperature(value, scale[names[0]], scale[names[1]])
        assert value * factor + offset == pytest.approx(expected, abs=2e-12)  # sums of hundreds, 1e-16 each


@pytest.mark.parametrize(("found", "wanted"), PAIRS)
def test_there_and_back_is_where_it_began(found: str, wanted: str) -> None:
    there, back = conversion(found, wanted), conversion(wanted, found)
    assert (7.0 * there[0] + there[1]) * back[0] + back[1] == pytest.approx(7.0, abs=1e-11)


def table(values: np.ndarray) -> RawTable:
    n = len(values)
    return RawTable("press", np.arange(n), values, np.arange(n), np.zeros(n, np.int64), ("press.csv",))


def test_only_channels_that_say_so_are_converted_and_missing_stays_missing() -> None:
    values = np.array([[212.0, 5.0], [np.nan, 6.0]])
    channels = (
        ChannelConfig(name="oil", unit="Cel", found_unit="[degF]"),
        ChannelConfig(name="odd", unit="furlong"),
    )
    found = in_asked_units(table(values), channels).values
    np.testing.assert_allclose(found, [[100.0, 5.0], [np.nan, 6.0]], atol=1e-12)
    assert values[0, 0] == 212.0


def test_every_unit_that_does_not_fit_is_named() -> None:
    channels = (
        ChannelConfig(name="oil", unit="Cel", found_unit="F"),
        ChannelConfig(name="load", unit="A", found_unit="bar"),
    )
    with pytest.raises(SourceError) as caught:
        in_asked_units(table(np.zeros((1, 2))), channels)
    assert "ingest.channels: oil: no conversion from 'F' to 'Cel': 'F' is not one of K, Cel, [degF]" in str(
        caught.value
    )
    assert "load: no conversion from 'bar' to 'A': one is a pressure, the other a current" in str(caught.value)
