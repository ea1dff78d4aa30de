"""One network of mixed recordings in one fold, from its first weights to what it says; a finished one is kept."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import nn

from foresense.config.dualpatch import DualPatchConfig
from foresense.config.mixed_pipeline import MixedCandidateConfig
from foresense.models.dualpatch import DualPatchEncoder
from foresense.models.mixed import load_encoder, load_mixed, save_encoder, save_mixed
from foresense.signals import read_json, replaced_folder, write_json
from foresense.signals.labelled import write_array
from foresense.steps.mixed_data import MixedData, MixedFold, Predicts, network_of
from foresense.training import FitResult
from foresense.training.mixed import outputs_of
from foresense.training.mixed_network import MixedScales, pretrain_network, train_network

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainedMixed:
    """One candidate in one fold.

    Attributes:
        name: As in params.yaml.
        model: In evaluation mode, weights of the best epoch.
        validation: Of the windows that choose: logits (k, n_classes), or values (k, 1) in the target's unit.
        test: Likewise of those that are held out.
        fit: Epochs and times of the last stage.
        seconds: Of all stages; a pretraining that others use too counts for each of them.
    """

    name: str
    model: nn.Module
    validation: np.ndarray
    test: np.ndarray
    fit: FitResult
    seconds: float


def train_mixed_network(
    data: MixedData,
    fold: MixedFold,
    name: str,
    candidate: MixedCandidateConfig,
    *,
    predicts: Predicts,
    seed: int,
    kept: Path,
    made_from: tuple[str, ...],
    labelled: np.ndarray | None = None,
    choosing: np.ndarray | None = None,
) -> TrainedMixed:
    """Train one candidate on the training windows of a fold; those that choose pick its epoch, the others are not seen.

    Args:
        data: Windows.
        fold: Which train, choose and test.
        name: Shown to a person.
        candidate: Network and way of training.
        predicts: A value or a class.
        seed: Of first weights, order of windows, dropout and what is hidden.
        kept: Folder of finished networks and checkpoints, by digest.
        made_from: Digests of windows and code.
        labelled: (k,), int64: training rows that keep their label; a pretraining sees the others too. None: all.
        choosing: (k,), int64: rows whose labels choose the epoch. None: all that choose in this fold.

    Raises:
        ValueError: a training that diverges.
    """
    network = network_of(candidate, data, predicts, fold.number)
    rows = fold.train if labelled is None else labelled
    choosing = fold.validation if choosing is None else choosing
    facts = [*made_from, network.model_dump(mode="json"), candidate.model_dump(mode="json"), seed]
    folder = kept / _digest([*facts, *_rows(fold), _rows_digest(rows), _rows_digest(choosing)])
    if (folder / "fit.json").is_file():
        LOG.info("%s, fold %d: known", name, fold.number)
        return _read(name, folder)
    label = f"{name}, fold {fold.number}"
    encoder, before_s = None, 0.0
    if candidate.pretrain_epochs:
        encoder, before_s = _encoder(data, fold, network, candidate, predicts, seed, kept, made_from, label)
    found = train_network(
        data.items(rows, fold.number, predicts),
        data.items(choosing, fold.number, predicts),
        network,
        candidate,
        scales=_scales(data, fold),
        checkpoint=folder.with_suffix(".safetensors"),
        label=label,
        seed=seed,
        encoder=encoder,
    )
    model, result = found.model, found.fit
    said = [outputs_of(model, data.items(part, fold.number, predicts)) for part in (fold.validation, fold.test)]
    trained = TrainedMixed(name, model, said[0], said[1], result, before_s + found.seconds)
    with replaced_folder(folder) as beside:
        save_mixed(beside, model)
        write_array(beside / "validation.npy", trained.validation)
        write_array(beside / "test.npy", trained.test)
        write_json(beside / "fit.json", {"seconds": trained.seconds, **asdict(result)})
    for unfinished in kept.glob(f"{folder.name}*.safetensors"):
        unfinished.unlink()
    LOG.info(
        "%s, fold %d: best validation %.4f in epoch %d", name, fold.number, result.best_validation, result.best_epoch
    )
    return trained


def _encoder(
    data: MixedData,
    fold: MixedFold,
    network: DualPatchConfig,
    candidate: MixedCandidateConfig,
    predicts: Predicts,
    seed: int,
    kept: Path,
    made_from: tuple[str, ...],
    label: str,
) -> tuple[DualPatchEncoder, float]:
    """The encoder of a pretraining on all training windows of a fold, and its seconds; one serves all who ask alike."""
    way = {"learning_rate", "schedule", "batch_size", "optimizer", "pretrain_epochs", "hidden_share"}
    facts = [
        *made_from,
        "encoder",
        network.model_dump(mode="json"),
        candidate.model_dump(mode="json", include=way),
        seed,
    ]
    folder = kept / _digest([*facts, *_rows(fold)])
    if not (folder / "encoder.json").is_file():
        pretrained, seconds = pretrain_network(
            data.items(fold.train, fold.number, predicts),
            data.items(fold.validation, fold.number, predicts),
            network,
            candidate,
            scales=_scales(data, fold),
            checkpoint=folder.with_suffix(".safetensors"),
            label=label,
            seed=seed,
        )
        with replaced_folder(folder) as beside:
            save_encoder(beside, pretrained)
            write_json(beside / "seconds.json", seconds)
        folder.with_suffix(".safetensors").unlink()
    return load_encoder(folder), float(read_json(folder / "seconds.json"))


def _rows(fold: MixedFold) -> list[object]:
    return [fold.number, _rows_digest(fold.train), _rows_digest(fold.validation)]


def _rows_digest(rows: np.ndarray) -> str:
    return hashlib.sha256(rows.tobytes()).hexdigest()


def _digest(facts: list[object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _read(name: str, folder: Path) -> TrainedMixed:
    fit = read_json(folder / "fit.json")
    seconds = float(fit.pop("seconds"))
    return TrainedMixed(
        name=name,
        model=load_mixed(folder),
        validation=np.load(folder / "validation.npy", allow_pickle=False),
        test=np.load(folder / "test.npy", allow_pickle=False),
        fit=FitResult(**fit),
        seconds=seconds,
    )


def _scales(data: MixedData, fold: MixedFold) -> MixedScales:
    """Those of the schema; the four waves of the clock behind the static numbers have a mean of 0 and swing by 1."""
    schema = data.windows.schemas[fold.number]
    n_waves = 0 if data.calendar is None else data.calendar.shape[1]
    return MixedScales(
        schema.means,
        schema.deviations,
        (*schema.static_means, *[0.0] * n_waves),
        (*schema.static_deviations, *[1.0] * n_waves),
    )
