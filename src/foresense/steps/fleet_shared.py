"""The model that all assets of a fleet share: trained once on the windows of all of them, kept by its digest."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from foresense.config import FleetConfig
from foresense.models import build_model, save_model
from foresense.signals import group_folders, open_windows, replaced_folder, write_json
from foresense.steps.candidates import _same_way as same_way
from foresense.steps.frame import StepRun
from foresense.training import FitPlan, fit
from foresense.training.calibrate import Calibration, calibrate
from foresense.training.pooled import PooledObjective
from foresense.training.progress import ShownProgress

LOG = logging.getLogger(__name__)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """So many threads of torch in the block, as a worker of the engine has: a small network gains nothing by more."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def shared_model(run: StepRun, config: FleetConfig, kept: Path, *, made_from: tuple[str, ...]) -> Path:
    """Train the shared model, or find it: `kept`/<digest> holds what `save_model` writes and `fit.json`.

    Args:
        run: The step that is running.
        config: Section `fleet`.
        kept: Folder of shared models.
        made_from: Digests of code and windows.

    Raises:
        ValueError: nothing to train on, or the training diverges.
    """
    facts = [*made_from, config.shared.model_dump(mode="json"), config.validation_stride, config.seed]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    folder = kept / digest
    if (folder / "fit.json").is_file():
        LOG.info("%s: the shared model is known (%s)", run.pipeline, digest)
        return folder
    groups = [open_windows(found) for found in group_folders(run.paths.windows)]
    first, candidate = groups[0], config.shared
    objective = PooledObjective(groups, stride=candidate.train_stride, validation_stride=config.validation_stride)
    sizes = {"n_channels": len(first.channels), "context": first.context, "horizon": first.horizon}
    scratch = kept.parent / "scratch"

    def build() -> nn.Module:
        torch.manual_seed(config.seed)
        return build_model(candidate, **sizes)

    def measured() -> Calibration:
        return calibrate(
            build,
            objective,
            batch_size=candidate.batch_size,
            n_passes=objective.n_items * candidate.n_epochs,
            cache=run.layout.cache / "calibration.json",
            key=["shared", candidate.model_dump(mode="json"), sizes],
        )

    with ShownProgress(f"{run.pipeline}/shared") as progress, threads(run.engine.threads):
        choice = same_way(scratch / f"shared-{digest}.json", measured)
        for sentence in choice.said:
            LOG.info("%s/shared: %s", run.pipeline, sentence)
        plan = FitPlan(
            n_epochs=candidate.n_epochs,
            batch_size=candidate.batch_size,
            micro_batch=choice.way.micro_batch,
            bf16=choice.way.bf16,
            compile=choice.way.compile,
            learning_rate=candidate.learning_rate,
            schedule=candidate.schedule,
            optimizer=candidate.optimizer,
            clip_norm=candidate.clip_norm,
            patience=candidate.patience,
            seed=config.seed,
        )
        model = build()
        checkpoint = scratch / f"shared-{digest}.safetensors"
        result = fit(model, objective, plan, checkpoint=checkpoint, progress=progress)
    with replaced_folder(folder) as beside:
        save_model(beside, model, candidate)
        write_json(beside / "fit.json", asdict(result))
    LOG.info("%s/shared: best validation MSE %.5f in epoch %d", run.pipeline, result.best_validation, result.best_epoch)
    return folder
