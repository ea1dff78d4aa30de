"""The known raw data sets: file names, digests, public addresses, licences."""

from dataclasses import dataclass
from difflib import get_close_matches

from foresense.sources.tables import SourceError


@dataclass(frozen=True)
class RawFile:
    """One file of a raw set, unmodified.

    Attributes:
        name: File name in data/raw/<set>/.
        sha256: As `sha256sum` prints it.
        n_bytes: Size.
        address: Public https address of exactly these bytes.
    """

    name: str
    sha256: str
    n_bytes: int
    address: str


@dataclass(frozen=True)
class RawSet:
    """One raw data set.

    Attributes:
        name: Folder below data/raw/.
        files: All of its files.
        source: Where it is from, for people.
        licence: As stated by its authors.
        citation: What to cite.
    """

    name: str
    files: tuple[RawFile, ...]
    source: str
    licence: str
    citation: str

    def facts(self) -> dict[str, object]:
        """What a manifest of data made from this set says about it."""
        return {"set": self.name, "source": self.source, "licence": self.licence, "citation": self.citation}


_ETT_COMMIT = "1d16c8f4f943005d613b5bc962e9eeb06058cf07"

SETS: dict[str, RawSet] = {
    "ett": RawSet(
        name="ett",
        files=(
            RawFile(
                name="ETTh1.csv",
                sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
                n_bytes=2_589_657,
                address=f"https://raw.githubusercontent.com/zhouhaoyi/ETDataset/{_ETT_COMMIT}/ETT-small/ETTh1.csv",
            ),
        ),
        source=f"github.com/zhouhaoyi/ETDataset, ETT-small/, commit {_ETT_COMMIT}, unmodified",
        licence="CC BY-ND 4.0 (Creative Commons Attribution-NoDerivatives 4.0 International)",
        citation="Zhou et al., Informer, AAAI 2021",
    )
}


def find_set(name: str) -> RawSet:
    """The known set called `name`.

    Raises:
        SourceError: no such set; the message names the nearest and all known ones.
    """
    if name not in SETS:
        near = get_close_matches(name, list(SETS), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise SourceError(
            f"no public data set {name!r}{advice} (known: {', '.join(sorted(SETS))}); "
            f"put files of your own into data/raw/{name}/ and use the source 'csv' or 'parquet'"
        )
    return SETS[name]
