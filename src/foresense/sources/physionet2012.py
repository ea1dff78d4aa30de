"""PhysioNet/CinC Challenge 2012: the first 48 hours of stays in intensive care, and death in hospital.

Silva et al., Predicting in-hospital mortality of ICU patients: the PhysioNet/Computing in Cardiology Challenge 2012,
Computing in Cardiology, 2012; physionet.org/content/challenge-2012 (names, units, codes of ICUType and Gender). Limits
are VALID LOW and VALID HIGH of `variable_ranges.csv` of Harutyunyan et al., Multitask learning and benchmarking with
clinical time series data, Scientific Data, 2019, where it has the variable, with deviations of our own judgement: 0 of
a pulse, a breath, a pressure or a gas is a sensor that is not connected, so that the lower limit is 1 where theirs is
0; values of ALP, AST and PaO2 just below theirs do occur, so that these limits are lower; urine up to OUTLIER HIGH,
because the first entry holds what was collected before; adults only.
"""

from dataclasses import replace

from foresense.config.mixed import (
    EventCategoryConfig,
    EventChannelConfig,
    EventOutcomeConfig,
    EventStaticConfig,
    EventTablesIngestConfig,
    Physionet2012IngestConfig,
    Rule,
)
from foresense.sources.event_tables import read_event_tables
from foresense.sources.mixed import FoundMixed
from foresense.sources.tables import Places

#: Parameter, unit, limits, rule of an hour.
CHANNELS: tuple[tuple[str, str, float, float, Rule], ...] = (
    ("ALP", "IU/L", 5, 3625, "last"),
    ("ALT", "IU/L", 2, 10000, "last"),
    ("AST", "IU/L", 1, 20000, "last"),
    ("Albumin", "g/dL", 0.6, 6, "last"),
    ("BUN", "mg/dL", 0, 250, "last"),
    ("Bilirubin", "mg/dL", 0.1, 60, "last"),
    ("Cholesterol", "mg/dL", 32, 600, "last"),
    ("Creatinine", "mg/dL", 0.1, 60, "last"),
    ("DiasABP", "mmHg", 1, 375, "mean"),
    ("FiO2", "1", 0.21, 1, "max"),
    ("GCS", "1", 3, 15, "last"),
    ("Glucose", "mg/dL", 1, 2000, "last"),
    ("HCO3", "mmol/L", 1, 60, "last"),
    ("HCT", "%", 1, 75, "last"),
    ("HR", "1/min", 1, 350, "mean"),
    ("K", "mmol/L", 0.5, 12, "last"),
    ("Lactate", "mmol/L", 0.4, 30, "last"),
    ("MAP", "mmHg", 14, 330, "mean"),
    ("MechVent", "1", 0, 1, "fraction"),
    ("Mg", "mmol/L", 0, 20, "last"),
    ("NIDiasABP", "mmHg", 1, 375, "mean"),
    ("NIMAP", "mmHg", 14, 330, "mean"),
    ("NISysABP", "mmHg", 1, 375, "mean"),
    ("Na", "mmol/L", 50, 225, "last"),
    ("PaCO2", "mmHg", 1, 200, "last"),
    ("PaO2", "mmHg", 15, 700, "last"),
    ("Platelets", "1/nL", 0, 2000, "last"),
    ("RespRate", "1/min", 1, 300, "mean"),
    ("SaO2", "%", 1, 100, "last"),
    ("SysABP", "mmHg", 1, 375, "mean"),
    ("Temp", "Cel", 26, 45, "mean"),
    ("TroponinI", "ug/L", 0.01, 49.6, "last"),
    ("TroponinT", "ug/L", 0.01, 20.85, "last"),
    ("Urine", "mL", 0, 2445, "sum"),
    ("WBC", "1/nL", 0.1, 1000, "last"),
    ("Weight", "kg", 20, 250, "last"),
    ("pH", "1", 6.3, 8.4, "last"),
)
ICU_TYPES = {
    "1": "coronary care",
    "2": "cardiac surgery recovery",
    "3": "medical",
    "4": "surgical",
}
DEATH = "In-hospital_death"


def read_physionet2012(config: Physionet2012IngestConfig, places: Places) -> FoundMixed:
    """Read `data/raw/physionet2012_icu/set-a/<RecordID>.txt` and `Outcomes-a.txt`.

    37 channels, with the hours since each was last seen; static: age, height and weight at admission, gender and kind
    of unit; the outcome: death in hospital, 0 or 1. MechVent is only ever recorded as 1: what it tells is when.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: the files are not there.
        SourceError: as of `read_event_tables`.
    """
    found = read_event_tables(_tables(config), places)
    facts: dict[str, object] = {
        "set": "PhysioNet/CinC Challenge 2012, set A",
        "licence": "none stated where the files are from; PhysioNet publishes the challenge under ODC-By 1.0",
        "citation": "Silva et al., Computing in Cardiology, 2012",
    }
    return replace(found, facts=facts | found.facts)


def _tables(config: Physionet2012IngestConfig) -> EventTablesIngestConfig:
    return EventTablesIngestConfig(
        source="event_tables",
        raw=config.raw,
        files="set-a/*.txt",
        id_column=None,
        time_column="Time",
        parameter_column="Parameter",
        value_column="Value",
        time_format="hh:mm",
        n_hours=config.n_hours,
        channels=tuple(
            EventChannelConfig(
                name=name, unit=unit, low=low, high=high, rule=rule, unknown=-1 if name == "Weight" else None
            )
            for name, unit, low, high, rule in CHANNELS
        ),
        static_numeric=(
            EventStaticConfig(name="Age", unit="a", low=15, high=120, unknown=-1),
            EventStaticConfig(name="Height", unit="cm", low=100, high=240, unknown=-1),
            EventStaticConfig(name="Weight", unit="kg", low=20, high=250, unknown=-1),
        ),
        static_categorical=(
            EventCategoryConfig(name="Gender", values={"0": "female", "1": "male"}, unknown="-1"),
            EventCategoryConfig(name="ICUType", values=ICU_TYPES, unknown="-1"),
        ),
        hours_since=config.hours_since,
        id_parameter="RecordID",
        outcomes_file="Outcomes-a.txt",
        outcomes_id_column="RecordID",
        outcomes=(EventOutcomeConfig(name=DEATH),),
        first_recordings=config.first_recordings,
    )
