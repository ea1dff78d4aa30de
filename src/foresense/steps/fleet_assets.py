"""Models of some assets of a fleet, trained and judged in a process of the engine; everything big stays on the disk.

`train_assets` is what the engine calls: here, in a worker process, or in a task of Spark.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from foresense.config import CandidateConfig, FleetConfig
from foresense.evaluate import ErrorSums, last_value, ridge_on_features, seasonal_naive, sum_errors
from foresense.features import read_features
from foresense.models import build_model, load_model, save_model
from foresense.signals import Windows, open_windows, read_json, replaced_folder, write_json
from foresense.steps.candidates import Settings, Trained, best_linear, train_candidate
from foresense.steps.train import DLINEAR, DLINEAR_RATES
from foresense.steps.train_evaluation import GroupResult, evaluate
from foresense.training import FitResult
from foresense.training.forecast import ForecastObjective, forecaster
from foresense.training.stacked import StackedFailure, fit_stacked

LOG = logging.getLogger(__name__)

#: Name of the model that all assets share, where it stands beside candidates.
SHARED = "shared"
Forecast = Callable[[np.ndarray, np.ndarray], np.ndarray]


def train_assets(assets: tuple[str, ...], arguments: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Train every candidate for each of `assets`, keep the best on validation, and judge it on the test part.

    Args:
        assets: Names of folders below `arguments["windows"]`.
        arguments: `windows` and `features` (folders of the pipeline), `shared` (folder of the shared model),
            `results` (asset to the folder that is written), `config` (section `fleet`), `why_not` (asset to the
            reason why it gets no model of its own), `scratch` (folder), `code` (digest).

    Returns:
        For each asset `candidate`, the name of what forecasts for it, and its `test_mse` (squared scaled units).

    Raises:
        ValueError: a training diverged or had no windows, or a candidate cannot begin with the shared weights.
    """
    config = FleetConfig.model_validate(arguments["config"])
    why_not: Mapping[str, str] = arguments["why_not"]
    groups = {asset: open_windows(Path(arguments["windows"]) / asset) for asset in assets}
    shared = load_model(Path(arguments["shared"]))
    trained = {asset: [_untrained(SHARED, config.shared, shared, groups[asset], config)] for asset in assets}
    own = [asset for asset in assets if asset not in why_not]
    for name, candidate in config.candidates.items():
        begins = shared if name in config.from_shared else None
        for asset, one in _train(own, groups, name, candidate, begins, config, arguments).items():
            trained[asset].append(one)
    table = read_features(Path(arguments["features"]))
    return {
        asset: _finish(Path(arguments["results"][asset]), groups[asset], trained[asset], table, config, arguments)
        for asset in assets
    }


def read_result(folder: Path) -> GroupResult:
    """Read what `train_assets` wrote for one asset."""
    with np.load(folder / "errors.npz", allow_pickle=False) as arrays:
        names = read_json(folder / "fits.json")["baselines"]
        sums = [
            ErrorSums(*(arrays[f"{number}.{field}"] for field in ("squared", "absolute", "squared_by_step")))
            for number in range(len(names) + 1)
        ]
    fits = {name: FitResult(**fit) for name, fit in read_json(folder / "fits.json")["fits"].items()}
    evaluation = read_json(folder / "model" / "evaluation.json")
    return GroupResult(evaluation, sums[0], dict(zip(names, sums[1:], strict=True)), fits, earlier_s=0.0)


def _train(
    assets: list[str],
    groups: Mapping[str, Windows],
    name: str,
    candidate: CandidateConfig,
    begins: nn.Module | None,
    config: FleetConfig,
    arguments: Mapping[str, Any],
) -> dict[str, Trained]:
    """One candidate for each asset, as one stack of networks where that is possible."""
    if not assets:
        return {}
    if _can_stack(candidate) and (config.at_once > 1 or begins is not None):
        begun = time.monotonic()
        found = fit_stacked(
            candidate,
            [groups[asset] for asset in assets],
            validation_stride=config.validation_stride,
            seed=config.seed,
            start=None if begins is None else begins.state_dict(),
            linear=[best_linear(groups[asset]).weights for asset in assets] if candidate.shortcut == "linear" else None,
        )
        LOG.info("%s: %d networks in one stack in %.1f s", name, len(assets), time.monotonic() - begun)
        trained = {}
        for asset, one in zip(assets, found, strict=True):
            if isinstance(one, StackedFailure):  # in a stack of several, the engine tries each asset alone
                raise ValueError(f"{name}: {one.reason}")
            trained[asset] = Trained(name, candidate, _with(candidate, groups[asset], one.state), one.fit, [])
        return trained
    if begins is not None:
        raise ValueError(
            f"fleet.from_shared: {name} cannot begin with shared weights: only a patchtst without path_dropout can; "
            "take the name off from_shared, or set path_dropout: 0"
        )
    settings = _settings(config, arguments)
    return {asset: train_candidate(groups[asset], name, candidate, settings) for asset in assets}


def _settings(config: FleetConfig, arguments: Mapping[str, Any]) -> Settings:
    return Settings(
        seed=config.seed,
        validation_stride=config.validation_stride,
        device="cpu",
        checkpoints=Path(arguments["scratch"]),
        cache=Path(arguments["scratch"]) / "calibration.json",
        made_from=(arguments["code"],),
    )


def _can_stack(candidate: CandidateConfig) -> bool:
    return candidate.model == "patchtst" and candidate.path_dropout == 0


def _with(candidate: CandidateConfig, windows: Windows, state: Mapping[str, torch.Tensor]) -> nn.Module:
    model = build_model(candidate, n_channels=len(windows.channels), context=windows.context, horizon=windows.horizon)
    model.load_state_dict(state)
    return model.eval()


def _untrained(
    name: str, candidate: CandidateConfig, model: nn.Module, windows: Windows, config: FleetConfig
) -> Trained:
    objective = ForecastObjective(windows, stride=1, validation_stride=config.validation_stride)
    with torch.no_grad():
        validation = objective.validate(model)
    return Trained(name, candidate, model, FitResult(validation, best_epoch=0, history=[]), [])


def _finish(
    folder: Path,
    windows: Windows,
    trained: list[Trained],
    table: pd.DataFrame,
    config: FleetConfig,
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """Choose on validation, judge on test, write model and numbers; the folder is complete or absent."""
    best = min(trained, key=lambda one: one.fit.best_validation)
    rivals = _rivals(config, windows, table[table["group"] == windows.group])
    if config.dlinear:
        rivals["dlinear"] = _dlinear(windows, _settings(config, arguments))
    test = windows.starts["test"]
    errors = {one.name: sum_errors(windows, test, forecaster(one.model, "cpu")) for one in trained}
    rival_errors = {name: sum_errors(windows, test, rival) for name, rival in rivals.items()}
    with replaced_folder(folder) as beside:
        (beside / "model").mkdir()
        save_model(beside / "model", best.model, best.candidate)
        others = {name: found.summary() for name, found in errors.items()}
        shipped = errors[best.name]
        evaluation = evaluate(config, windows, beside / "model", best, trained, shipped, rival_errors, others)
        write_json(beside / "model" / "evaluation.json", evaluation)
        all_errors = [shipped, *rival_errors.values()]
        arrays = {f"{n}.{name}": values for n, one in enumerate(all_errors) for name, values in vars(one).items()}
        np.savez(beside / "errors.npz", allow_pickle=False, **arrays)
        fits = {one.name: asdict(one.fit) for one in trained}
        write_json(beside / "fits.json", {"baselines": list(rivals), "fits": fits})
    return {"candidate": best.name, "test_mse": shipped.summary()["mse"]}


def _rivals(config: FleetConfig, windows: Windows, table: pd.DataFrame) -> dict[str, Forecast]:
    """Forecasts that a small network has to beat: naive ones, and two linear ones in closed form."""
    rivals: dict[str, Forecast] = {"last value": last_value(windows.horizon)}
    for season in config.season_lengths:
        if season <= windows.context:
            rivals[f"seasonal naive {season}"] = seasonal_naive(windows.horizon, season)
    values = table.drop(columns=["group", "part", "start"]).to_numpy(np.float64)
    of_start = dict(zip(table["start"].astype(int), values, strict=True))
    of_part = {part: rows["start"].to_numpy(np.int64) for part, rows in table.groupby("part")}
    rivals["ridge on features"], _ = ridge_on_features(
        windows, of_start, train=of_part["train"], validation=of_part["validation"]
    )
    rivals["linear map"] = best_linear(windows)
    return rivals


def _dlinear(windows: Windows, settings: Settings) -> Forecast:
    """The linear baseline that is trained like a model, as the step `train` has it."""
    stride = max(1, len(windows.starts["train"]) // 20_000)
    found = [
        train_candidate(
            windows,
            f"dlinear {rate:g}",
            DLINEAR.model_copy(update={"learning_rate": rate, "train_stride": stride}),
            settings,
        )
        for rate in DLINEAR_RATES
    ]
    return forecaster(min(found, key=lambda one: one.fit.best_validation).model, settings.device)
