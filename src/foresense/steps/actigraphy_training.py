"""One network of weeks in one turn, from its first weights to what it says; a finished one is kept."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.actigraphy_model import PatPretrainingConfig
from foresense.config.actigraphy_pipeline import ActigraphyCandidateConfig, OfficialWeightsConfig
from foresense.config.pat import PatSize, pat_size
from foresense.models.pat import (
    build_autoencoder,
    build_classifier,
    build_encoder,
    build_features,
    head_of,
    load,
    weights_of,
)
from foresense.signals import read_json, replaced_folder, write_bytes, write_json
from foresense.signals.weeks import TRAIN, WeekWindows
from foresense.training.actigraphy_rivals import equal_people
from foresense.training.loop import FitResult
from foresense.training.pat import fine_tune, pretrain
from foresense.training.progress import ShownProgress

LOG = logging.getLogger(__name__)
Arrays = dict[str, np.ndarray]
#: One of so many training people chooses the epoch.
N_PARTS = 4
#: Of published weights that were not trained further.
UNCHANGED = "the encoder is unchanged"
_BATCH = 16  # weeks at once where nothing is learnt: bounds the attention that is held


@dataclass(frozen=True, eq=False)
class Turn:
    """What one turn has to work with.

    Attributes:
        number: Of the turn.
        windows: Weeks, labels, roles.
        scaled: (n_weeks, 10080), float32: all weeks by the reference of this turn's training people.
    """

    number: int
    windows: WeekWindows
    scaled: np.ndarray

    def rows(self, role: int) -> np.ndarray:
        """Weeks of the people with a role."""
        return self.windows.weeks_of(self.number, role)

    def parts(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Weeks of the training people who are learnt from, and of those who choose an epoch: a quarter of each label.

        So the people who choose between networks and rivals (VALIDATION) have no part in any training.
        """
        rng = np.random.default_rng([seed, self.number])
        people = self.windows.people_of(self.number, TRAIN)
        chosen: list[int] = []
        for label in (0, 1):
            mine = people[self.windows.labels[people] == label]
            chosen += rng.permutation(mine)[: max(1, round(len(mine) / N_PARTS))].tolist()
        rows = self.rows(TRAIN)
        chooses = np.isin(self.windows.owners[rows], chosen)
        return rows[~chooses], rows[chooses]


@dataclass(frozen=True, eq=False)
class TrainedWeeks:
    """One candidate in one turn.

    Attributes:
        name: As in params.yaml.
        size: Of the encoder.
        encoder: Path in the official file -> array.
        head: Name -> array of the fine-tuning head.
        said: (n_weeks,), probability of the label, of all weeks; those of training people too.
        fit: Epochs and times of the last stage.
        seconds: Of the fine-tuning and of what is said.
        attribution: Of published weights that it began with; empty where it did not.
    """

    name: str
    size: PatSize
    encoder: Arrays
    head: Arrays
    said: np.ndarray
    fit: FitResult
    seconds: float
    attribution: str = ""


@dataclass(frozen=True, eq=False)
class PretrainedWeeks:
    """An encoder that has seen weeks without labels: those of training people, or of who published it.

    Attributes:
        size: Of the encoder.
        encoder: Path in the official file -> array.
        features: (n_weeks, 96), float32, of all weeks.
        seconds: Of the pretraining.
        attribution: Of published weights; empty where there are none.
    """

    size: PatSize
    encoder: Arrays
    features: np.ndarray
    seconds: float
    attribution: str = ""


class Trainer:
    """Trains candidates turn by turn, and keeps what is finished.

    Args:
        kept: Folder of finished networks, by digest.
        made_from: Digests of windows and code.
        seed: Of first weights, order, masks and dropout.
        project: Holds `models/pat` and `weights.lock.json`, where a candidate asks for published weights.

    Attributes:
        pretraining_s: Folder of each pretraining -> its seconds.
    """

    def __init__(self, kept: Path, made_from: tuple[str, ...], seed: int, project: Path) -> None:
        self.kept, self.made_from, self.seed, self.project = kept, made_from, seed, project
        self.pretraining_s: dict[Path, float] = {}
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns that each new network is traced anew
        kept.mkdir(parents=True, exist_ok=True)

    def train(self, turn: Turn, name: str, candidate: ActigraphyCandidateConfig) -> TrainedWeeks:
        """Train one candidate on the training people of a turn, a quarter of whom picks its epoch.

        Raises:
            ValueError: a training that diverges, or published weights that are not those of the size.
            FileNotFoundError, WeightsError: published weights that are not there, or not the pinned ones.
        """
        size, label = pat_size(candidate.size), f"{name}, turn {turn.number}"
        folder = self._folder(turn, "label", candidate.model_dump(mode="json"))
        if (folder / "fit.json").is_file():
            LOG.info("%s: known", label)
            return _read_trained(name, size, folder)
        before = self.before(turn, candidate)
        begun = time.monotonic()
        encoder = build_encoder(size, seed=self.seed)
        if before is not None:
            load(encoder, size, before.encoder)
        classifier = build_classifier(encoder, seed=self.seed)
        labels, owners = turn.windows.week_labels, turn.windows.owners
        learnt, choosing = turn.parts(self.seed)
        with ShownProgress(label) as progress:
            fit = fine_tune(
                classifier,
                size,
                (turn.scaled[learnt], labels[learnt]),
                (turn.scaled[choosing], labels[choosing]),
                candidate.fine_tuning,
                weights=equal_people(labels[learnt], owners[learnt]),
                seed=self.seed,
                progress=progress,
            )
        said = np.asarray(classifier.predict(turn.scaled, batch_size=_BATCH, verbose=0))[:, 0].astype(np.float64)
        seconds = time.monotonic() - begun
        credit = "" if before is None else before.attribution
        if credit and candidate.fine_tuning.style == "full":
            credit = credit.replace(UNCHANGED, "fine-tuned here")
        found = TrainedWeeks(name, size, weights_of(encoder, size), head_of(classifier), said, fit, seconds, credit)
        _forget_graphs()
        with replaced_folder(folder) as beside:
            write_arrays(beside / "encoder.safetensors", found.encoder)
            write_arrays(beside / "head.safetensors", found.head)
            write_arrays(beside / "said.safetensors", {"said": said})
            write_json(beside / "fit.json", {"seconds": seconds, "attribution": credit, **asdict(fit)})
        LOG.info("%s: best validation AUC %.4f in epoch %d", label, 1 - fit.best_validation, fit.best_epoch)
        return found

    def before(self, turn: Turn, candidate: ActigraphyCandidateConfig) -> PretrainedWeeks | None:
        """What a candidate's fine-tuning begins with; None: new weights."""
        if candidate.weights is not None:
            return self._published(turn, candidate.size, candidate.weights)
        if candidate.pretraining is not None:
            return self._pretrained(turn, candidate.size, candidate.pretraining)
        return None

    def _published(self, turn: Turn, size_name: str, asked: OfficialWeightsConfig) -> PretrainedWeeks:
        from foresense.registry.weights import read_weights

        size = pat_size(size_name)
        found = read_weights(asked.name, self.project / "models" / "pat", self.project / "weights.lock.json")
        if found.release.size != size_name or found.sha256 != asked.sha256:
            raise ValueError(
                f"weights {asked.name}: expected size {size_name} with SHA-256 {asked.sha256[:12]} (params.yaml), "
                f"found size {found.release.size} with {found.sha256[:12]} (weights.lock.json); correct weights.sha256 "
                "or size"
            )
        encoder = build_encoder(size, seed=self.seed)
        load(encoder, size, found.arrays)
        features = np.asarray(build_features(encoder).predict(turn.scaled, batch_size=_BATCH, verbose=0))
        _forget_graphs()
        credit = found.release.attribution
        attribution = (
            f"{asked.name}: {credit.title}, {credit.authors}, {credit.paper}; {credit.licence} "
            f"({credit.licence_address}); {credit.trained_on}; {UNCHANGED}"
        )
        return PretrainedWeeks(size, found.arrays, features, 0.0, attribution)

    def _pretrained(self, turn: Turn, size_name: str, config: PatPretrainingConfig) -> PretrainedWeeks:
        """The encoder of a pretraining on the weeks of a turn's training people; one serves all who ask alike."""
        size, label = pat_size(size_name), f"pretraining of {size_name}, turn {turn.number}"
        folder = self._folder(turn, "masked", {"size": size_name, **config.model_dump(mode="json")})
        if not (folder / "fit.json").is_file():
            begun = time.monotonic()
            encoder = build_encoder(size, seed=self.seed)
            autoencoder = build_autoencoder(encoder, size, mask_ratio=config.mask_ratio, seed=self.seed)
            weeks = [turn.scaled[rows] for rows in turn.parts(self.seed)]
            with ShownProgress(label) as progress:
                fit = pretrain(autoencoder, size, weeks[0], weeks[1], config, seed=self.seed, progress=progress)
            features = np.asarray(build_features(encoder).predict(turn.scaled, batch_size=_BATCH, verbose=0))
            seconds = time.monotonic() - begun
            with replaced_folder(folder) as beside:
                write_arrays(beside / "encoder.safetensors", weights_of(encoder, size))
                write_arrays(beside / "features.safetensors", {"features": features})
                write_json(beside / "fit.json", {"seconds": seconds, **asdict(fit)})
            _forget_graphs()
            LOG.info("%s: best error %.4f in epoch %d", label, fit.best_validation, fit.best_epoch)
        seconds = self.pretraining_s[folder] = float(read_json(folder / "fit.json")["seconds"])
        features = read_arrays(folder / "features.safetensors")["features"]
        return PretrainedWeeks(size, read_arrays(folder / "encoder.safetensors"), features, seconds)

    def _folder(self, turn: Turn, what: str, asked: Mapping[str, Any]) -> Path:
        facts = [*self.made_from, what, turn.number, self.seed, asked]
        return self.kept / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def read_arrays(path: Path) -> Arrays:
    """Arrays of a safetensors file by name."""
    from safetensors.numpy import load_file

    return dict(load_file(path))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a safetensors file; equal arrays give equal bytes."""
    from safetensors.numpy import save

    write_bytes(path, save({name: np.ascontiguousarray(one) for name, one in arrays.items()}))


def _read_trained(name: str, size: PatSize, folder: Path) -> TrainedWeeks:
    facts = read_json(folder / "fit.json")
    seconds, credit = float(facts.pop("seconds")), str(facts.pop("attribution"))
    parts = {part: read_arrays(folder / f"{part}.safetensors") for part in ("encoder", "head", "said")}
    fit = FitResult(**facts)
    return TrainedWeeks(name, size, parts["encoder"], parts["head"], parts["said"]["said"], fit, seconds, credit)


def _forget_graphs() -> None:
    """Keras keeps every graph that was built in a process until it is told."""
    import keras

    keras.backend.clear_session()
