"""Known sets of actigraphy; digests stand in lists beside this module.

A catalogue of its own: the steps of other pipelines can reach the others, so that a line more there would make them all
old. No public address holds exactly these bytes (CSV files were compressed, or made of another format), so they come
from a folder: FORESENSE_DATA.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from foresense.sources.sets import RawFile, RawSet
from foresense.sources.tables import SourceError


@dataclass(frozen=True)
class _Described:
    source: str
    licence: str
    citation: str


ACTIGRAPHY_SETS: dict[str, _Described] = {
    "depresjon": _Described(
        source="github.com/ruplsingh/preserving-privacy-AI-in-healthcare-with-FL, commit "
        "0b87980875263efcfefde7f286086737663d9c86, data/, each CSV compressed with gzip",
        licence="none stated there; the set's own page (Simula) allows research and education with citation",
        citation="Garcia-Ceja et al., Depresjon, ACM Multimedia Systems Conference, 2018",
    ),
    "nhanes_unidata": _Described(
        source="github.com/vandomed/accelerometry, commit 70afcac78b9dfc3c061a2e19d93cd66de8d6b8d9, data/unidata.rda "
        "as CSV",
        licence="GPL-3.0 (the package that holds it); the measurements are public data of CDC/NCHS",
        citation="National Health and Nutrition Examination Survey 2003-2004, physical activity monitor, CDC/NCHS",
    ),
}


def find_actigraphy_set(name: str) -> RawSet:
    """The known set called `name`, with all of its files.

    Raises:
        SourceError: no such set; the message names the nearest and all known ones.
    """
    if name not in ACTIGRAPHY_SETS:
        near = get_close_matches(name, list(ACTIGRAPHY_SETS), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise SourceError(f"no set of actigraphy {name!r}{advice} (known: {', '.join(ACTIGRAPHY_SETS)})")
    known = ACTIGRAPHY_SETS[name]
    listed = Path(__file__).with_name(f"{name}.sha256").read_text().splitlines()
    return RawSet(
        name=name,
        files=tuple(
            RawFile(name=file, sha256=digest, n_bytes=int(n_bytes), address=f"made of {known.source}")
            for digest, n_bytes, file in (line.split() for line in listed)
        ),
        source=known.source,
        licence=known.licence,
        citation=known.citation,
    )
