"""One detector in one turn, from its first weights to what it says; a finished one is kept."""

import hashlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from foresense.config.anomaly_pipeline import AnomalyCandidateConfig
from foresense.models.anomaly import WEIGHTS, keras_module, load_network, save_network
from foresense.models.density import fit_density
from foresense.signals import file_sha256, read_json, replaced_folder, write_bytes, write_json
from foresense.signals.clips import NORMAL, Clips
from foresense.steps.anomaly_data import ClipData
from foresense.training.anomaly import (
    Detector,
    Examples,
    anomaly_scores,
    condition_probabilities,
    embeddings,
    fit_detector,
)
from foresense.training.sinks import ListSink

LOG = logging.getLogger(__name__)
_SCORES, _DENSITY, _CONDITIONS = "scores", "density", "conditions"
_LOSSES = ("train", "validation")


@dataclass(frozen=True, eq=False)
class TrainedDetector:
    """One candidate in one turn.

    Attributes:
        name: As in params.yaml.
        folder: Holds the network as `models.anomaly.load_network` reads it.
        scores: (n_clips,), float64: how anomalous each clip is; NaN for clips that neither choose nor test here.
        density: Likewise, how far its embedding lies from those of normal training clips; None where nobody asked.
        conditions: (n_clips, n_conditions), probabilities; None of a network with one output.
        n_parameters: Weights, those of norms too.
        n_epochs: That were trained.
        best_epoch: Counted from 0.
        losses: (training, validation) of every epoch.
        seconds: Of the training.
    """

    name: str
    folder: Path
    scores: np.ndarray
    density: np.ndarray | None
    conditions: np.ndarray | None
    n_parameters: int
    best_epoch: int
    losses: tuple[tuple[float, float], ...]
    seconds: float

    @property
    def n_epochs(self) -> int:
        """Epochs that were trained."""
        return len(self.losses)

    @property
    def sha256(self) -> str:
        """Of the weights."""
        return file_sha256(self.folder / WEIGHTS)


class Trainer:
    """Trains candidates turn by turn, and keeps what is finished.

    Args:
        data: Clips and turns.
        kept: Folder of finished networks, by digest.
        made_from: Digests of windows, features and code.
    """

    def __init__(self, data: ClipData, kept: Path, made_from: tuple[str, ...]) -> None:
        self.data, self.kept, self.made_from = data, kept, made_from
        kept.mkdir(parents=True, exist_ok=True)

    def train(self, turn: int, name: str, candidate: AnomalyCandidateConfig) -> TrainedDetector:
        """Train one candidate on the training clips of a turn, and let it score those that choose and test.

        Raises:
            ValueError: a part that it cannot learn from, or a training that diverges.
            ImportError: TensorFlow is not installed; names the extra.
        """
        facts = [*self.made_from, turn, candidate.model_dump(mode="json")]
        folder = self.kept / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        if (folder / "fit.json").is_file():
            LOG.info("%s, turn %d: known", name, turn)
        else:
            self._train(turn, name, candidate, folder)
        return _read(name, folder)

    def _train(self, turn: int, name: str, candidate: AnomalyCandidateConfig, folder: Path) -> None:
        begun, data, network = time.monotonic(), self.data, candidate.network
        clips, sink = data.turns.turn(turn), ListSink()
        parts = [data.examples(network, clips.of(part)) for part in ("train", "validation")]
        detector = fit_detector(
            network,
            candidate.fit,
            parts[0],
            parts[1],
            scaling=data.scaling(network, clips.of("train")),
            sink=sink,
        )
        seconds = time.monotonic() - begun
        said = self._said(detector, candidate, clips)
        metrics = {which: [value for found, value, _ in sink.rows if found == f"{which}/loss"] for which in _LOSSES}
        with replaced_folder(folder) as beside:
            save_network(beside, detector.network, detector.config, detector.scaling)
            write_bytes(beside / "said.safetensors", save(said))
            write_json(
                beside / "fit.json",
                {
                    "n_parameters": int(detector.network.count_params()),
                    "best_epoch": detector.best_epoch,
                    "losses": list(zip(metrics["train"], metrics["validation"], strict=True)),
                    "seconds": seconds,
                },
            )
        keras_module().backend.clear_session()  # Keras keeps every graph of a process until it is told
        LOG.info("%s, turn %d: best validation loss %.4f", name, turn, min(detector.losses))

    def _said(self, detector: Detector, candidate: AnomalyCandidateConfig, clips: Clips) -> dict[str, np.ndarray]:
        """What the network says of the clips that choose and test, in places of all clips."""
        data, network = self.data, candidate.network
        numbers = np.concatenate([clips.of("validation"), clips.of("test")])
        n_views, n = data.n_views(network), len(clips.starts)
        examples = data.examples(network, numbers)
        said = {_SCORES: _placed(anomaly_scores(detector, examples).reshape(-1, n_views).mean(axis=1), numbers, n)}
        if candidate.n_outputs > 1:
            said[_CONDITIONS] = _placed(condition_probabilities(detector, examples), numbers, n)
        if candidate.density:
            train = clips.of("train")
            normal = data.examples(network, train[data.labels[train] == NORMAL])
            density = fit_density(_of_clips(detector, normal, n_views))
            said[_DENSITY] = _placed(density.scores(_of_clips(detector, examples, n_views)), numbers, n)
        return said


def rebuilt(detector: TrainedDetector, data: ClipData, numbers: np.ndarray) -> np.ndarray:
    """(k, height, width), float32: clips as a convolutional autoencoder rebuilds them."""
    network, config, _ = load_network(detector.folder)
    return np.asarray(network(data.inputs(config, numbers), training=False), np.float32)[..., 0]


def _of_clips(detector: Detector, examples: Examples, n_views: int) -> np.ndarray:
    """(n_clips, d): the mean embedding of each clip's examples."""
    found = embeddings(detector, examples)
    return np.asarray(found.reshape(-1, n_views, found.shape[1]).mean(axis=1))


def _placed(values: np.ndarray, numbers: np.ndarray, n: int) -> np.ndarray:
    """(n, ...), NaN but for `numbers`."""
    found = np.full((n, *values.shape[1:]), np.nan)
    found[numbers] = values
    return found


def _read(name: str, folder: Path) -> TrainedDetector:
    facts: dict[str, Any] = read_json(folder / "fit.json")
    said = load_file(folder / "said.safetensors")
    return TrainedDetector(
        name=name,
        folder=folder,
        scores=said[_SCORES],
        density=said.get(_DENSITY),
        conditions=said.get(_CONDITIONS),
        n_parameters=facts["n_parameters"],
        best_epoch=facts["best_epoch"],
        losses=tuple((one[0], one[1]) for one in facts["losses"]),
        seconds=facts["seconds"],
    )
