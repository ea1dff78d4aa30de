"""The known raw data sets: file names, digests, public addresses, licences."""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

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


_WISDM = "github.com/Chrissi2802/WISDM---Biometric-time-series-data-classification"
_WISDM_COMMIT = "09ef9890cee5d2f3e3b3f8ce31d246c9fe56b91f"
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


@cache
def _wisdm() -> RawSet:
    """51 files, whose digests, sizes and names stand in a list beside this module."""
    address = _WISDM.replace("github.com", "https://raw.githubusercontent.com") + f"/{_WISDM_COMMIT}/Datasets/train"
    listed = Path(__file__).with_name("wisdm_watch_accel.sha256").read_text().splitlines()
    return RawSet(
        name="wisdm_watch_accel",
        files=tuple(
            RawFile(name=name, sha256=digest, n_bytes=int(n_bytes), address=f"{address}/{name}")
            for digest, n_bytes, name in (line.split() for line in listed)
        ),
        source=f"{_WISDM}, Datasets/train/, commit {_WISDM_COMMIT}, unmodified",
        licence="none stated there; the original data set is CC BY 4.0 (UCI Machine Learning Repository)",
        citation="Weiss et al., Smartphone and Smartwatch-Based Biometrics Using Activities of Daily Living, 2019",
    )


def find_set(name: str) -> RawSet:
    """The known set called `name`.

    Raises:
        SourceError: no such set; the message names the nearest and all known ones.
    """
    if name == "wisdm_watch_accel":
        return _wisdm()
    if name not in SETS:
        near = get_close_matches(name, [*SETS, "wisdm_watch_accel"], n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise SourceError(
            f"no public data set {name!r}{advice} (known: {', '.join([*SETS, 'wisdm_watch_accel'])}); "
            f"put files of your own into data/raw/{name}/ and use the source 'csv' or 'parquet'"
        )
    return SETS[name]
