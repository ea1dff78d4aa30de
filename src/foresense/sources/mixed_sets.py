"""Public sets of mixed recordings, beside those of `sources.sets`; digests stand in lists beside this module.

A catalogue of its own: the steps of other pipelines can reach that of `sources.sets`, so that a line more there would
make them all old.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from foresense.sources.sets import SETS, RawFile, RawSet, find_set
from foresense.sources.tables import SourceError


@dataclass(frozen=True)
class ListedSet:
    """A set whose files stand in `<name>.sha256`: digest, size, name of each.

    Attributes:
        repository: On github.com.
        commit: Of it.
        folders: Start of a file's name to the folder of the repository that it lies below.
        licence: As stated by its authors.
        citation: What to cite.
    """

    repository: str
    commit: str
    folders: dict[str, str]
    licence: str
    citation: str

    def complete(self, name: str) -> RawSet:
        """The set with all of its files."""
        address = f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/"
        listed = Path(__file__).with_name(f"{name}.sha256").read_text().splitlines()
        return RawSet(
            name=name,
            files=tuple(
                RawFile(name=file, sha256=digest, n_bytes=int(n_bytes), address=address + self._below(file) + file)
                for digest, n_bytes, file in (line.split() for line in listed)
            ),
            source=f"github.com/{self.repository}, commit {self.commit}, {len(listed)} files, unmodified",
            licence=self.licence,
            citation=self.citation,
        )

    def _below(self, file: str) -> str:
        return next((folder for start, folder in self.folders.items() if file.startswith(start)), "")


MIXED_SETS: dict[str, ListedSet] = {
    "beijing_air_quality": ListedSet(
        repository="Peiris94-dev/Beijing-Multi-Site-Air-Quality-Analysis",
        commit="0aa46c055fcca7da49ebac9329435ffe674b74c3",
        folders={},
        licence="none stated there; the original data set is CC BY 4.0 (UCI Machine Learning Repository)",
        citation="Zhang et al., Cautionary tales on air-quality improvement in Beijing, Proc. R. Soc. A 473, 2017",
    ),
    "physionet2012_icu": ListedSet(
        repository="AbdelrahmanManz/ICU-Mortality-Predictor",
        commit="7037a4f84275e146be51bae44ceaa11e687269b8",
        folders={"set-a/": "backup/"},
        licence="none stated there; PhysioNet publishes the challenge under ODC-By 1.0",
        citation="Silva et al., Predicting in-hospital mortality of ICU patients, Computing in Cardiology, 2012",
    ),
}


def known_set(name: str) -> RawSet:
    """The known set called `name`, of any kind of pipeline.

    Raises:
        SourceError: no such set; the message names the nearest and all known ones.
    """
    if name in MIXED_SETS:
        return MIXED_SETS[name].complete(name)
    if name in (*SETS, "wisdm_watch_accel"):
        return find_set(name)
    known = [*SETS, "wisdm_watch_accel", *MIXED_SETS]
    near = get_close_matches(name, known, n=1)
    advice = f"; did you mean {near[0]!r}?" if near else ""
    raise SourceError(
        f"no public data set {name!r}{advice} (known: {', '.join(known)}); put files of your own into "
        f"data/raw/{name}/ and use a source that reads them, such as 'csv', 'parquet' or 'event_tables'"
    )
