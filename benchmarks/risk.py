"""Are faults found, how early, and how often is nothing called a fault? Ours against the plain 30 % rule.

Every machine has a small PatchTST of its own (benchmarks/risk_machines.py), trained on twelve weeks that hold faults,
with conformal intervals from the three weeks after; then 150 days are scored hour by hour, without retraining. Rules
and limits were chosen on seeds TUNING with faults of other shapes (linear, sawtooth, other lengths and peaks) and are
judged on seeds JUDGED with the simulator's own (bearing: exponential; overheating and imbalance: steps). A stuck sensor
has one shape only, so `n_equal` was not tuned: hourly means of a live sensor never repeat.

Consecutive flagged hours of one machine and channel are one alarm. It is a hit where it overlaps a fault (a stuck
sensor: on its own channel); else of a stop where it overlaps an unplanned stop or the day after it; else an echo where
it begins in the two days after a fault, when forecasts still remember it; else false. Run from the project root:
`python -m benchmarks.risk` (half an hour on two cores; `--keep FOLDER` keeps forecasts, and reads what is kept).
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.harness import write_results
from benchmarks.risk_machines import (
    CONTEXT,
    HORIZON,
    N_TRAIN,
    N_VALIDATION,
    Watched,
    load_watched,
    save_watched,
    tuning_faults,
    watch,
)
from foresense.evaluate.conformal import Conformal, coverage, fit_conformal
from foresense.evaluate.risk import (
    PLAIN_SHARE,
    RiskRule,
    alarms_of,
    at_risk,
    forecasts_made_before,
    plain_shares,
    shares_of_newest,
    still_for,
)
from foresense.sources.faults import Fault
from foresense.sources.injected import KINDS
from foresense.sources.simulate import UNITS

TUNING, TUNING_HEALTHY, JUDGED, JUDGED_HEALTHY = 21, 22, 2021, 2022
LEVEL = 0.9
STOP_ECHO_H, FAULT_ECHO_H = 24, 48
_H = 3600.0
_FIRST = N_TRAIN + N_VALIDATION + HORIZON  # first hour that is judged

Flags = Callable[["Study"], np.ndarray]


@dataclass(frozen=True, eq=False)
class Study:
    """One machine with what the rules need, each (n_rows, n_channels) in scaled units."""

    watched: Watched
    conformal: Conformal
    test_coverage: np.ndarray
    actual: np.ndarray
    still: np.ndarray


@dataclass
class Tally:
    """Alarms by what they were, and faults by how they were found."""

    hours: int = 0
    hits: int = 0
    stops: int = 0
    echoes: int = 0
    false: int = 0
    delays_h: dict[str, list[float | None]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    leads_h: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})


def study(watched: Watched) -> Study:
    """Fit intervals on validation, measure their coverage on test."""

    def residuals(origins: np.ndarray, forecasts: np.ndarray) -> np.ndarray:
        return np.asarray(watched.scaled[origins[:, None] + np.arange(1, HORIZON + 1)] - forecasts)

    channels = tuple(UNITS)
    conformal = fit_conformal(
        residuals(watched.validation, watched.validation_forecasts), channels=channels, level=LEVEL
    )
    actual = np.where(watched.measured, watched.scaled, np.nan)
    on_test = coverage(conformal, residuals(watched.test, watched.test_forecasts))
    return Study(watched, conformal, on_test, actual, still_for(actual))


def plain(found: Study) -> np.ndarray:
    """The plain rule at every origin: 30 % of the forecast outside of the context's range."""
    watched = found.watched
    contexts = np.lib.stride_tricks.sliding_window_view(watched.scaled, CONTEXT, axis=0).swapaxes(1, 2)
    flags = np.zeros(watched.scaled.shape, bool)
    shares = plain_shares(contexts[watched.test - CONTEXT + 1], watched.test_forecasts)
    flags[watched.test] = np.nan_to_num(shares) >= PLAIN_SHARE
    return flags


def ours(rule: RiskRule) -> Flags:
    """Our rule at every hour."""

    def flags(found: Study) -> np.ndarray:
        watched = found.watched
        predicted, steps = forecasts_made_before(
            watched.test, watched.test_forecasts, n_rows=len(found.actual), lead=rule.lead
        )
        shares = shares_of_newest(found.actual, predicted, steps, found.conformal.half_width, rule)
        return at_risk(shares, found.still, rule)

    return flags


def count(studies: Sequence[Study], rule: Flags) -> Tally:
    """Sort every alarm, and find every fault, of all machines."""
    tally = Tally()
    for found in studies:
        flags = rule(found)
        flags[:_FIRST] = False
        tally.hours += len(flags) - _FIRST
        alarms = alarms_of(flags)
        faults = [fault for fault in found.watched.faults if fault.end_s > _FIRST * _H]
        for alarm in alarms:
            kind = _kind_of(alarm, faults)
            setattr(tally, kind, getattr(tally, kind) + 1)
        for fault in faults:
            if fault.kind in KINDS and fault.start_s >= _FIRST * _H:
                _find(fault, alarms, tally)
    return tally


def _kind_of(alarm: tuple[int, int, int], faults: Sequence[Fault]) -> str:
    first, end, _ = alarm
    if any(fault.kind in KINDS and _overlaps(alarm, fault) for fault in faults):
        return "hits"
    stops = [fault for fault in faults if fault.kind == "unplanned_stop"]
    if any(first < stop.end_s / _H + STOP_ECHO_H and end > stop.start_s / _H for stop in stops):
        return "stops"
    if any(fault.kind in KINDS and 0 <= first - fault.end_s / _H < FAULT_ECHO_H for fault in faults):
        return "echoes"
    return "false"


def _overlaps(alarm: tuple[int, int, int], fault: Fault) -> bool:
    first, end, column = alarm
    is_its = fault.channel is None or fault.channel == tuple(UNITS)[column]
    return is_its and first < fault.end_s / _H and end > fault.start_s / _H


def _find(fault: Fault, alarms: Sequence[tuple[int, int, int]], tally: Tally) -> None:
    # An alarm of a row is raised when its hour is over.
    at_h = [
        max(first + 1, fault.start_s / _H) for first, end, column in alarms if _overlaps((first, end, column), fault)
    ]
    tally.delays_h[fault.kind].append(min(at_h) - fault.start_s / _H if at_h else None)
    if at_h:
        tally.leads_h[fault.kind].append(max(fault.end_s / _H - min(at_h), 0.0))


def rows_of(faulty: Sequence[Study], healthy: Sequence[Study], rule: RiskRule) -> list[dict[str, object]]:
    """Rows of the result; ours beside the plain rule."""
    rules: Mapping[str, Flags] = {"ours": ours(rule), "plain": plain}
    on_faulty = {name: count(faulty, flags) for name, flags in rules.items()}
    on_healthy = {name: count(healthy, flags) for name, flags in rules.items()}
    peer = {"peer": "30 % of the horizon outside of the context's range"}
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        row: dict[str, object] = {"case": kind, "unit": "share of faults found", **peer}
        row["n_faults"] = len(on_faulty["ours"].delays_h[kind])
        for name, key in (("ours", "ours"), ("plain", "peer_value")):
            delays = on_faulty[name].delays_h[kind]
            row[key] = round(float(np.mean([delay is not None for delay in delays])), 4) if delays else None
            row[f"{name}_delay_h_median"] = _median([delay for delay in delays if delay is not None])
            row[f"{name}_lead_h_median"] = _median(on_faulty[name].leads_h[kind])
        rows.append(row)
    for case, value in (
        ("precision, hits of all alarms", lambda tally: tally.hits / max(_n(tally), 1)),
        ("precision, hits of hits and false", lambda tally: tally.hits / max(tally.hits + tally.false, 1)),
    ):
        pair = {"ours": round(value(on_faulty["ours"]), 4), "peer_value": round(value(on_faulty["plain"]), 4)}
        counts = {name: _counts(tally) for name, tally in on_faulty.items()}
        rows.append({"case": case, "unit": "share of alarms", **peer, **pair, "alarms": counts})
    for case, names in (("false alarms, healthy machines", ("false", "echoes")), ("alarms of stops", ("stops",))):
        per = {name: 1000 * sum(getattr(t, key) for key in names) / t.hours for name, t in on_healthy.items()}
        pair = {"ours": round(per["ours"], 3), "peer_value": round(per["plain"], 3)}
        rows.append({"case": case, "unit": "per 1000 machine-hours", **peer, **pair, "hours": on_healthy["ours"].hours})
    for name, machines in (("faulty", faulty), ("healthy", healthy)):
        covered = np.mean([found.test_coverage for found in machines], axis=0)
        shares = {channel: round(float(share), 4) for channel, share in zip(UNITS, covered, strict=True)}
        rows.append(
            {"case": f"coverage of {LEVEL:g} intervals on test, {name} machines", "unit": "share", "ours": shares}
        )
        ratios = [found.watched.naive_ratio for found in machines]
        beaten = {"ours": round(float(np.median(ratios)), 4), "n_machines": len(ratios)}
        rows.append({"case": f"MSE over that of last week's values, {name} machines", "unit": "1", **beaten})
    return rows


def _n(tally: Tally) -> int:
    return tally.hits + tally.stops + tally.echoes + tally.false


def _counts(tally: Tally) -> dict[str, int]:
    return {name: getattr(tally, name) for name in ("hits", "stops", "echoes", "false")}


def _median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 1) if values else None


def machines(seed: int, n: int, keep: Path | None) -> list[Study]:
    """Machines of one plant: seeds say whether they have the tuning faults, the simulator's own, or none."""
    found = []
    for index in range(n):
        path = None if keep is None else keep / f"{seed}-{index}.npz"
        if path is not None and path.is_file():
            watched = load_watched(path)
        else:
            injections = tuning_faults(np.random.default_rng([seed, index])) if seed == TUNING else ()
            watched = watch(index, seed, None if seed == JUDGED else injections)
            if path is not None:
                save_watched(path, watched)
        found.append(study(watched))
        sys.stderr.write(f"{seed} {watched.asset}: MSE {watched.naive_ratio:.3f} of last week's values\n")
    return found


def tune(n: int, keep: Path | None) -> None:
    """Print what rules around the chosen one do on the tuning machines."""
    faulty, healthy = machines(TUNING, n, keep), machines(TUNING_HEALTHY, n // 2, keep)
    for lead, newest, share, clear in product((6, 24), (24, 48), (0.4, 0.5, 0.6), (0.1, 0.25)):
        rule = RiskRule(lead=lead, newest=newest, share=share, clear=clear)
        told = {row["case"]: row["ours"] for row in rows_of(faulty, healthy, rule)}
        sys.stdout.write(f"{rule}: {json.dumps(told)}\n")


def main() -> None:
    """Judge the rule and write benchmarks/results/risk.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", type=int, metavar="N", help="look at N tuning machines instead; writes nothing")
    parser.add_argument("--faulty", type=int, default=24)
    parser.add_argument("--healthy", type=int, default=14)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    if arguments.tune:
        tune(arguments.tune, arguments.keep)
        return
    faulty = machines(JUDGED, arguments.faulty, arguments.keep)
    healthy = machines(JUDGED_HEALTHY, arguments.healthy, arguments.keep)
    rule = RiskRule()
    facts = {
        "case": "the rule",
        "rule": asdict(rule),
        "level": LEVEL,
        "n_machines": {"faulty": len(faulty), "healthy": len(healthy)},
        "seeds": {"tuning": [TUNING, TUNING_HEALTHY], "judged": [JUDGED, JUDGED_HEALTHY]},
    }
    write_results("risk", [facts, *rows_of(faulty, healthy, rule)])


if __name__ == "__main__":
    main()
