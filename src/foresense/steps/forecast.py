"""Scoring: the newest forecast of every machine, who is at risk, and what earlier forecasts were worth.

Not one of the six steps of a pipeline: it reads recordings and versions, and nothing depends on what it writes.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foresense.config import PipelineConfig
from foresense.signals import Layout, read_recordings, write_bytes, write_json
from foresense.steps.anomalies import RETENTION_DAYS, Anomaly, of_finding, record, store_anomalies
from foresense.steps.forecast_context import Measured, SkippedForecastError, by_asset, newest_context, told
from foresense.steps.forecast_page import PageAsset, at_risk_page
from foresense.steps.forecast_scores import alarm_rates, score
from foresense.steps.forecast_store import opened, store_forecasts
from foresense.steps.forecast_table import AssetForecast, forecast_files, forecasts_folder, write_forecasts
from foresense.steps.forecast_version import VersionRef, read_version
from foresense.steps.process import only_one
from foresense.steps.watch import RULES, Earlier, Rule, Watched, earlier_forecasts

LOG = logging.getLogger(__name__)
REPORT_VERSION = 1


@dataclass(frozen=True)
class ForecastOutcome:
    """What became of one asset.

    Attributes:
        asset: Name.
        status: `success`, `skipped` (it cannot be forecast now) or `failed` (something is wrong).
        reason: Why not `success`; "" otherwise.
        version: Label of the version that forecast it; "" where none did.
        origin: Time of the newest sample that the model saw, ISO 8601; "" where there is no forecast.
        n_judged: Newest measured values for which there was an earlier forecast; without any, the rule
            `measured-interval` cannot speak.
        seconds: It took, from reading the version to the last rule.
    """

    asset: str
    status: Literal["success", "skipped", "failed"]
    reason: str = ""
    version: str = ""
    origin: str = ""
    n_judged: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class ForecastRun:
    """One run over a fleet, complete on disk.

    Attributes:
        pipeline: Name.
        made_at_s: The time that the forecasts stand at: the newest sample of the fleet, or the asked time.
        path: The file of forecasts; None where not one was made.
        outcomes: One for each asset, by name.
        forecasts: Those that were made.
        anomalies: What the rules found.
        report: As in `report.json`.
    """

    pipeline: str
    made_at_s: int
    path: Path | None
    outcomes: tuple[ForecastOutcome, ...]
    forecasts: tuple[AssetForecast, ...]
    anomalies: tuple[Anomaly, ...]
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Scored:
    """One asset with all that the page shows of it."""

    outcome: ForecastOutcome
    watched: Watched | None = None
    anomalies: tuple[Anomaly, ...] = ()


def forecast_fleet(
    layout: Layout,
    pipeline: str,
    config: PipelineConfig,
    versions: Callable[[str], VersionRef],
    *,
    assets: Sequence[str] = (),
    now_s: int | None = None,
    max_age_s: float | None = None,
    rules: Mapping[str, Rule] = RULES,
) -> ForecastRun:
    """Forecast every asset from its newest context, in one process; one asset's failure stops no other.

    Writes `forecasts/<pipeline>/<made_at>.parquet` and `anomalies.parquet`, and of a whole fleet `report.json` and
    `at_risk.html`. A repeat at the same samples writes the same forecasts again.

    Args:
        layout: Where recordings are, and where forecasts go.
        pipeline: Name.
        config: Of the pipeline: `window.max_gap`.
        versions: Asset to the version that forecasts it.
        assets: Which; none: all that have a recording.
        now_s: Seconds since 1970 UTC: later samples are not looked at; absent: the newest sample of the fleet.
        max_age_s: An asset whose newest complete sample is older is skipped; absent: `window.max_gap` intervals, the
            longest silence that training would have bridged.
        rules: Name to rule.

    Raises:
        FileNotFoundError: the step `ingest` has not finished.
        StepBusyError: another process forecasts this pipeline.
        ValueError: an unknown asset, or no sample at all.
    """
    measured = by_asset(read_recordings(layout.of(pipeline).recordings))
    chosen = _chosen(assets, measured, pipeline)
    now_s = _newest(measured, pipeline) if now_s is None else now_s
    measured = {asset: measured[asset].until(now_s) for asset in chosen}
    folder = forecasts_folder(layout, pipeline)
    with only_one(layout.cache, "forecast", pipeline):
        files = forecast_files(folder)
        earlier = earlier_forecasts(files, measured, now_s=now_s)
        scorer = _Scorer(versions, rules, now_s, config.window.max_gap, max_age_s)
        scored = [scorer.score(one, earlier[asset]) for asset, one in measured.items()]
        forecasts = tuple(one.watched.forecast for one in scored if one.watched is not None)
        path = write_forecasts(folder, now_s, forecasts) if forecasts else None
        found = tuple(anomaly for one in scored for anomaly in one.anomalies)
        judged = [forecast.asset for forecast in forecasts]
        kept = record(folder, found, made_at_s=now_s, judged=judged)
        report = {
            "schema_version": REPORT_VERSION,
            "pipeline": pipeline,
            "made_at": told(now_s),
            "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "assets": [asdict(one.outcome) for one in scored],
            "at_risk": sorted({anomaly.asset for anomaly in found}),
            **score(files, measured, now_s=now_s),
            "alarms": alarm_rates(kept, [*files, now_s], measured, rules=tuple(rules), now_s=now_s),
        }
        if not assets:
            write_json(folder / "report.json", report)
            page = at_risk_page(pipeline, now_s, [_on_page(one) for one in scored], report)
            write_bytes(folder / "at_risk.html", page.encode())
    outcomes = tuple(one.outcome for one in scored)
    return ForecastRun(pipeline, now_s, path, outcomes, forecasts, found, report)


@dataclass(frozen=True, eq=False)
class _Scorer:
    """Forecasts one asset and asks the rules."""

    versions: Callable[[str], VersionRef]
    rules: Mapping[str, Rule]
    now_s: int
    max_gap: int
    max_age_s: float | None

    def score(self, measured: Measured, earlier: Earlier) -> _Scored:
        """Forecast and judge one asset; whatever goes wrong is its outcome."""
        began = time.perf_counter()
        try:
            watched = self._watched(measured, earlier)
            found = [finding for rule in self.rules.values() for finding in rule(watched)]
        except SkippedForecastError as error:
            outcome = ForecastOutcome(measured.asset, "skipped", str(error))
            return _Scored(replace(outcome, seconds=_since(began)))
        except Exception as error:  # of any kind: it is this asset's, and the others go on
            LOG.debug("%s", measured.asset, exc_info=True)
            first_line = (str(error).splitlines() or [""])[0]
            outcome = ForecastOutcome(measured.asset, "failed", f"{type(error).__name__}: {first_line}")
            return _Scored(replace(outcome, seconds=_since(began)))
        version = watched.forecast.version
        outcome = ForecastOutcome(
            measured.asset, "success", "", version, told(watched.context.origin_s), earlier.n_judged, _since(began)
        )
        anomalies = tuple(of_finding(finding, measured.asset, self.now_s, version) for finding in found)
        return _Scored(outcome, watched, anomalies)

    def _watched(self, measured: Measured, earlier: Earlier) -> Watched:
        if measured.interval_s % 1:
            raise ValueError(f"forecasts are kept by whole seconds, found an interval of {measured.interval_s:g} s")
        version = read_version(self.versions(measured.asset))
        version.require(measured.channels, measured.units, measured.interval_s)
        context = newest_context(
            measured,
            n_rows=version.context,
            max_gap=self.max_gap,
            scaler=version.scaler,
            now_s=self.now_s,
            max_age_s=max(self.max_gap, 1) * measured.interval_s if self.max_age_s is None else self.max_age_s,
        )
        predicted, lower, upper = version.forecast(context.scaled)
        ahead_s = np.round(np.arange(1, version.horizon + 1) * version.interval_s).astype(np.int64)
        forecast = AssetForecast(
            asset=measured.asset,
            version=version.label,
            channels=version.channels,
            units=version.units,
            times_s=context.origin_s + ahead_s,
            predicted=predicted,
            lower=lower,
            upper=upper,
        )
        return Watched(context, forecast, earlier)


def store_of(config: PipelineConfig, asked: str) -> str | None:
    """Name of the store that forecasts go to: the asked one, else the one that ingest reads; None for neither."""
    if asked:
        return asked
    if config.ingest.source != "store":
        return None
    return config.ingest.store or os.environ.get("FORESENSE_STORE") or "embedded:store"


def write_to_store(run: ForecastRun, store: str, layout: Layout) -> None:
    """Write forecasts and anomalies beside the measurements in `store`; a repeat changes nothing.

    Raises:
        StoreUnavailableError: no answer; the files are complete, and the command can be repeated.
        StoreError: the store will never take them, or keeps anomalies for another time than 90 days.
    """
    with opened(store, "Forecasts", run.pipeline, os.environ, layout.project, None) as forecasts:
        store_forecasts(forecasts, run.forecasts)
    with opened(store, "Anomalies", run.pipeline, os.environ, layout.project, RETENTION_DAYS) as anomalies:
        store_anomalies(anomalies, run.anomalies)


def _chosen(asked: Sequence[str], measured: Mapping[str, Measured], pipeline: str) -> list[str]:
    """The asked assets, or all of them.

    Raises:
        ValueError: names that no recording has, with the nearest ones.
    """
    unknown = sorted(set(asked) - set(measured))
    if unknown:
        near = {name: get_close_matches(name, measured, n=3) for name in unknown}
        told_of = "; ".join(
            f"{name!r}" + (f", did you mean {' or '.join(map(repr, found))}?" if found else "")
            for name, found in near.items()
        )
        raise ValueError(f"--asset: {pipeline} has no recording of {told_of} ({len(measured)} assets have one)")
    return sorted(set(asked)) or list(measured)


def _newest(measured: Mapping[str, Measured], pipeline: str) -> int:
    found = [one.newest_s for one in measured.values() if one.newest_s is not None]
    if not found:
        raise ValueError(
            f"{pipeline}: no recording holds a measured sample; look at reports/{pipeline}/ingest.json, and run "
            f"`foresense ingest {pipeline}` when there are some"
        )
    return max(found)


def _on_page(one: _Scored) -> PageAsset:
    outcome = one.outcome
    return PageAsset(outcome.asset, outcome.status, outcome.reason, outcome.version, one.watched, one.anomalies)


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 4)
