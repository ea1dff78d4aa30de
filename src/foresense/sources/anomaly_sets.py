"""Public sets of machines in known conditions, beside those of `mixed_sets`; digests stand in lists beside this module.

A catalogue of its own, for the reason that `mixed_sets` is one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foresense.sources.sets import RawFile, RawSet


@dataclass(frozen=True)
class MovedSet:
    """A set whose files stand in `<name>.sha256` and have other places in the repository that they are from.

    Attributes:
        repository: On github.com.
        commit: Of it.
        place: Name of a file here to its path there.
        licence: As stated.
        citation: What to cite.
    """

    repository: str
    commit: str
    place: Callable[[str], str]
    licence: str
    citation: str

    def complete(self, name: str) -> RawSet:
        """The set with all of its files."""
        address = f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/"
        listed = Path(__file__).with_name(f"{name}.sha256").read_text().splitlines()
        return RawSet(
            name=name,
            files=tuple(
                RawFile(name=file, sha256=digest, n_bytes=int(n_bytes), address=address + self.place(file))
                for digest, n_bytes, file in (line.split() for line in listed)
            ),
            source=f"github.com/{self.repository}, commit {self.commit}, {len(listed)} files, contents unmodified",
            licence=self.licence,
            citation=self.citation,
        )


def _bearing_place(file: str) -> str:
    """Healthy records in one folder, faults by size, without the prefix that names their rate here."""
    if file.startswith("normal_"):
        return f"data/crwu_dataset/normal_baseline/{file}"
    own = file.removeprefix("12k_DE_")
    size = own.lstrip("BIRO")[:3]
    return f"data/crwu_dataset/drive_end_bearing_fault_12k_data/{size}/{own}"


def _sound_place(file: str) -> str:
    return file.replace("normal/", "train/").replace("anomaly/", "test/")


ANOMALY_SETS: dict[str, MovedSet] = {
    "cwru_bearing": MovedSet(
        repository="kobarion/bearing-failure-model",
        commit="8ed99b625ad3d637b5f3318a170b04fecefe7f49",
        place=_bearing_place,
        licence="none stated there; Case Western Reserve University publishes the data without a licence text",
        citation="Case Western Reserve University Bearing Data Center",
    ),
    "dcase2020_task2_audio": MovedSet(
        repository="Zyy438/Abnormal-listener",
        commit="3fbd3271fa52a5a4b2239daf32f708b76939d1e4",
        place=_sound_place,
        licence="none stated there; MIMII is CC BY-SA 4.0, the DCASE 2020 development set CC BY-NC-SA 4.0",
        citation="Koizumi et al., Description and Discussion on DCASE2020 Challenge Task 2, DCASE Workshop, 2020",
    ),
    "infrared_solar_modules": MovedSet(
        repository="gavazzc/Panel-synth-images",
        commit="764e7f810d9b1f6ded3760be9e03231c293eb80c",
        place=lambda file: f"InfraredSolarModules/{file}",
        licence="none stated there; RaptorMaps/InfraredSolarModules is MIT (Copyright 2020 Raptor Maps, Inc.)",
        citation="Millendorf et al., Infrared Solar Module Dataset for Anomaly Detection, ICLR 2020 CCAI workshop",
    ),
}


def facts_of(name: str) -> dict[str, object]:
    """What a manifest says about data made from a set; of a folder of one's own, only its name."""
    return ANOMALY_SETS[name].complete(name).facts() if name in ANOMALY_SETS else {"set": name}
