"""The step `train` of a fleet: a shared model, then one for each asset, by an engine; nothing is trained twice."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config import ConfigError, FleetConfig
from foresense.engine import Job, Outcome, forget_record, run_jobs
from foresense.features import read_features
from foresense.signals import TrainReport, group_folders, open_windows, read_json, replaced_folder, tree_sha256
from foresense.steps.fleet_assets import SHARED, read_result
from foresense.steps.fleet_report import draw_fleet, fleet_report
from foresense.steps.fleet_shared import shared_model
from foresense.steps.frame import StepRun, code_digest
from foresense.steps.train_evaluation import GroupResult
from foresense.steps.train_report import flat_metrics, flat_parameters
from foresense.steps.training import tags_of, time_gate, track_model, tracked

LOG = logging.getLogger(__name__)
FUNCTION = "foresense.steps.fleet_assets:train_assets"


@dataclass(frozen=True)
class FleetFolders:
    """Where a fleet's training keeps what the next one need not do again; never an output of DVC.

    Attributes:
        records: One file for each asset: what became of it.
        results: One folder for each trained asset, named by its digest.
        shared: One folder for each shared model, named by its digest.
        scratch: Checkpoints and calibrations.
    """

    records: Path
    results: Path
    shared: Path
    scratch: Path

    @classmethod
    def of(cls, run: StepRun) -> "FleetFolders":
        """The folders of one pipeline."""
        base = run.layout.cache / "fleet" / run.pipeline
        return cls(base / "records", base / "results", base / "shared", base / "scratch")


def train_fleet(
    run: StepRun, config: FleetConfig, function: str = FUNCTION, more: Mapping[str, Any] | None = None
) -> TrainReport:
    """Train a model for every asset and one for all of them, and judge each on its own test part.

    Every asset that has windows gets a model: its own, or the shared one. A training that fails is an outcome, and its
    asset is served by the shared model; a gate fails where too many do.

    Args:
        run: Pipeline, folders, profile, engine.
        config: Section `fleet`.
        function: What the engine calls for each stack of assets, as "module:name".
        more: Further arguments for it.

    Returns:
        The report, also written to `reports/<pipeline>/train.json`; beside it `metrics.json`, `loss.csv` and plots.

    Raises:
        FileNotFoundError: the steps before have not finished.
        ConfigError: `assets` names one that is not there.
        ValueError: the shared model has nothing to train on, or diverges.
    """
    folders = FleetFolders.of(run)
    manifest = read_json(run.paths.windows / "manifest.json")
    data_sha256 = manifest["recordings_sha256"]
    assets = [folder.name for folder in group_folders(run.paths.windows)]
    why_not = _without_own(run, config, assets)
    code = code_digest(run.layout.project, "train_fleet")
    trees = {asset: tree_sha256(run.paths.windows / asset) for asset in assets}
    tags = tags_of(run, data_sha256)
    with tracked(run, data_sha256) as mlflow_run:
        shared = shared_model(run, config, folders.shared, made_from=(code, *trees.values()))
        digests = _digests(run, config, trees, why_not, shared.name, code)
        arguments = {
            "windows": str(run.paths.windows),
            "features": str(run.paths.features),
            "shared": str(shared),
            "results": {asset: str(folders.results / digest) for asset, digest in digests.items()},
            "config": config.model_dump(mode="json"),
            "why_not": why_not,
            "scratch": str(folders.scratch),
            "code": code,
            **(more or {}),
        }
        for asset, digest in digests.items():
            if not (folders.results / digest).is_dir():
                forget_record(folders.records, asset)
        outcomes: dict[str, Outcome] = {}
        results: dict[str, GroupResult] = {}
        with replaced_folder(run.paths.models) as models:
            for outcome in run_jobs(
                function, _jobs(assets, digests, arguments, config), settings=run.engine, records=folders.records
            ):
                outcomes[outcome.asset] = outcome
                if outcome.status != "success":
                    continue
                results[outcome.asset] = _keep(folders, outcome, models / outcome.asset)
                _record(run, config, outcome, results[outcome.asset], models, mlflow_run, tags)
            served = _serve_failed(run, function, folders, arguments, outcomes, models)
            for asset, result in served.items():
                _record(run, config, outcomes[asset], result, models, mlflow_run, tags)
            results |= served
        report = fleet_report(
            run,
            config,
            results,
            outcomes,
            why_not=why_not,
            left_out=manifest.get("left_out", {}),
            data_sha256=data_sha256,
            mlflow_run_id=mlflow_run.run_id,
            time_gate=time_gate(run.elapsed_s(), config.budget_min),
        )
        draw_fleet(run.paths.reports / "plots", run, report, results)
        mlflow_run.metrics(flat_metrics(report.model_dump()))
        mlflow_run.parameters({"n_assets": len(assets), "seed": config.seed, "engine": run.engine.name})
    _forget_others(folders, set(digests.values()), shared.name)
    LOG.info("%s", report.conclusion)
    return report


def forget(run: StepRun, assets: Sequence[str]) -> None:
    """Make the next training train `assets` again although nothing has changed.

    Raises:
        ConfigError: one of them has no windows; names the nearest.
    """
    known = [folder.name for folder in group_folders(run.paths.windows)]
    for asset in assets:
        if asset not in known:
            near = get_close_matches(asset, known, n=1)
            advice = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"--asset: {run.pipeline} has no asset {asset!r}{advice} ({len(known)} are known)")
    for asset in assets:
        forget_record(FleetFolders.of(run).records, asset)


def _without_own(run: StepRun, config: FleetConfig, assets: list[str]) -> dict[str, str]:
    """Assets that get no model of their own, with the reason."""
    if config.assets != "all":
        unknown = sorted(set(config.assets) - set(assets))
        if unknown:
            raise ConfigError(
                f"fleet.assets: {unknown} have no windows; known: {', '.join(assets[:20])}"
                f"{' ...' if len(assets) > 20 else ''}"
            )
    found = {}
    for asset in assets:
        windows = open_windows(run.paths.windows / asset)
        if config.assets != "all" and asset not in config.assets:
            found[asset] = "not in fleet.assets"
        elif len(windows.samples) < config.min_rows:
            unit = "hours" if windows.interval_s == 3600 else "rows"
            found[asset] = f"{len(windows.samples)} of {config.min_rows} {unit}"
    return found


def _digests(
    run: StepRun, config: FleetConfig, trees: Mapping[str, str], why_not: Mapping[str, str], shared: str, code: str
) -> dict[str, str]:
    """For each asset, what decides its model: windows, features, parameters, shared model, code and seed."""
    table = read_features(run.paths.features)
    rows = {str(group): found for group, found in table.groupby("group")}
    asked = config.model_dump(mode="json", exclude={"assets", "budget_min", "max_failed", "at_once"})
    found = {}
    for asset, tree in trees.items():
        group = open_windows(run.paths.windows / asset).group
        features = hashlib.sha256(rows[group].drop(columns=["group", "part"]).to_numpy(np.float64).tobytes())
        facts = [tree, features.hexdigest(), asked, asset in why_not, shared, code]
        found[asset] = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return found


def _jobs(assets: list[str], digests: Mapping[str, str], arguments: dict[str, Any], config: FleetConfig) -> list[Job]:
    jobs = []
    for first in range(0, len(assets), config.at_once):
        names = tuple(assets[first : first + config.at_once])
        own = {key: {name: arguments[key][name] for name in names if name in arguments[key]} for key in _BY_ASSET}
        jobs.append(Job(names, tuple(digests[name] for name in names), {**arguments, **own}))
    return jobs


#: Arguments that are mappings by asset: a job carries those of its own assets only.
_BY_ASSET = ("results", "why_not")


def _keep(folders: FleetFolders, outcome: Outcome, model: Path) -> GroupResult:
    folder = folders.results / outcome.digest
    shutil.copytree(folder / "model", model)
    return read_result(folder)


def _record(
    run: StepRun,
    config: FleetConfig,
    outcome: Outcome,
    result: GroupResult,
    models: Path,
    mlflow_run: Any,
    tags: Mapping[str, str],
) -> None:
    """One nested run for the asset: parameters, metrics, curves, weights."""
    with mlflow_run.child(outcome.asset) as child:
        windows = open_windows(run.paths.windows / outcome.asset)
        candidates = config.candidates | {SHARED: config.shared}
        track_model(
            child,
            models / outcome.asset,
            result.evaluation,
            parameters=flat_parameters(result.evaluation, config, windows, candidates),
            metrics={**flat_metrics(result.evaluation), "seconds": outcome.seconds},
        )
        for name, fit in result.fits.items():
            for row in fit.history:
                child.metric(f"{name}/validation/loss", row["validation"], round(row["epoch"]))
                child.metric(f"{name}/train/loss", row["train"], round(row["epoch"]))
        child.tags({"outcome": outcome.status, "resumed": str(outcome.resumed), **tags})


def _serve_failed(
    run: StepRun,
    function: str,
    folders: FleetFolders,
    arguments: dict[str, Any],
    outcomes: Mapping[str, Outcome],
    models: Path,
) -> dict[str, GroupResult]:
    """The shared model for every asset whose training failed, judged like any other, in a process of its own."""
    failed = [outcome for outcome in outcomes.values() if outcome.status != "success"]
    for outcome in failed:
        if not (folders.results / f"{outcome.digest}-shared").is_dir():
            forget_record(folders.records / "served", outcome.asset)
    jobs = [
        Job(
            (outcome.asset,),
            (f"{outcome.digest}-shared",),
            {
                **arguments,
                "why_not": {outcome.asset: outcome.reason},
                "results": {outcome.asset: str(folders.results / f"{outcome.digest}-shared")},
            },
        )
        for outcome in failed
    ]
    results = {}
    for served in run_jobs(function, jobs, settings=run.engine, records=folders.records / "served") if jobs else ():
        reason = outcomes[served.asset].reason
        if served.status == "success":
            LOG.warning("%s: %s; the shared model forecasts for it", served.asset, reason)
            results[served.asset] = _keep(folders, served, models / served.asset)
        else:
            LOG.error("%s: %s; nor has the shared model a forecast for it: %s", served.asset, reason, served.reason)
    return results


def _forget_others(folders: FleetFolders, digests: set[str], shared: str) -> None:
    """Remove results and shared models that nothing asks for any more, and half-done work."""
    for folder in folders.results.iterdir() if folders.results.is_dir() else ():
        if folder.name.removesuffix("-shared") not in digests:
            shutil.rmtree(folder)
    for folder in folders.shared.iterdir():
        if folder.name != shared:
            shutil.rmtree(folder)
    shutil.rmtree(folders.scratch, ignore_errors=True)
