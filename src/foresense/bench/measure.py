"""The measuring plan, applied to every variant of an artefact."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from foresense.bench.reach import Work

#: Fewer timed runs than this say little about a 95th percentile.
MIN_TIMED = 100
#: Above this, somebody else was computing on the machine's cores.
NOISY_LOAD = 1.5


@dataclass(frozen=True)
class Plan:
    """How every variant is measured; a part of the result.

    Attributes:
        n_warmup: Untimed inferences before the timed ones.
        n_timed: Timed inferences at the first thread count; a quarter of it at the others.
        n_threads: Thread counts; headline figures are at the first.
        n_quality: Windows of the test part for quality; None for all of them.
    """

    n_warmup: int
    n_timed: int
    n_threads: tuple[int, ...]
    n_quality: int | None

    def described(self, load_1min: float) -> dict[str, Any]:
        """The plan as it stands in the report, beside the load of the machine just before."""
        return {
            **asdict(self),
            "n_threads": list(self.n_threads),
            "enough_runs": self.n_timed >= MIN_TIMED,
            "load_1min_before": round(load_1min, 2),
            "noisy": load_1min > NOISY_LOAD,
        }


def measured_variants(
    work: Work, described: Mapping[str, Mapping[str, Any]], plan: Plan, *, deviation: float = 1.0
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure variants one after the other, each in fresh processes.

    Args:
        work: Runs one request in a fresh process.
        described: variant -> what the artefact's manifest says of it.
        plan: What to do.
        deviation: What an error on the golden inputs is counted in, as the manifest's `max_abs_error` is.

    Yields:
        (variant, facts): the worker's, and size_mib, runtime_rss_mib (of the runtime without a model), deterministic
        (two processes), agreement_max_abs_error (the worst of the export's and of this machine's golden outputs).

    Raises:
        ValueError: the measured file is not the one that the manifest describes.
        WorkerError: a measuring process failed.
    """
    runtimes: dict[str, dict[str, Any]] = {}
    for variant, said in described.items():
        file = said["file"]
        suffix = file.rpartition(".")[2]
        if suffix not in runtimes:
            runtimes[suffix] = work({"mode": "runtime", "file": file})
        facts = work({"mode": "measure", "file": file, **asdict(plan)})
        again = work({"mode": "digest", "file": file, "n_threads": plan.n_threads})
        if facts["sha256"] != said["sha256"]:
            raise ValueError(
                f"{file}: measured a file with SHA-256 {facts['sha256']}, manifest.json says {said['sha256']}; "
                "run `foresense export` again"
            )
        digest, golden_error = facts.pop("digest"), facts.pop("golden_max_abs_error")
        yield (
            variant,
            {
                **facts,
                "size_mib": said["size_mib"],
                "runtime_rss_mib": runtimes[suffix]["peak_rss_mib"],
                "deterministic": digest == again["digest"],
                "agreement_max_abs_error": max(golden_error / deviation, said["max_abs_error"]),
            },
        )


def measure_artefact(
    work: Work, manifest: dict[str, Any], plan: Plan, variants: list[str], best_baseline_mse: float | None
) -> dict[str, dict[str, Any]]:
    """Measure variants one after the other, each in fresh processes.

    Args:
        work: Runs one request in a fresh process.
        manifest: The artefact's manifest.
        plan: What to do.
        variants: Which of the manifest's variants.
        best_baseline_mse: Scaled units; None where the evaluation has no baselines.

    Returns:
        variant -> facts: latency_ms {p50, p95, p99}, load_ms, cold_start_ms, peak_rss_mib, rss_delta_mib, size_mib,
        deterministic, deterministic_threads, thread_sweep_ms, quality {mse, mae, n_windows}, agreement_max_abs_error,
        mse_ratio_to_best_baseline, sha256.

    Raises:
        ValueError: the measured file is not the one that the manifest describes.
        WorkerError: a measuring process failed.
    """
    found: dict[str, dict[str, Any]] = {}
    described = {variant: manifest["variants"][variant] for variant in variants}
    for variant, facts in measured_variants(work, described, plan):
        heavy = facts.pop("heavy")
        found[variant] = {
            **facts,
            "rss_delta_mib": round(facts["peak_rss_mib"] - facts["runtime_rss_mib"], 2),
            "deterministic_threads": facts["threads_max_abs_difference"] == 0.0,
            "mse_ratio_to_best_baseline": facts["quality"]["mse"] / best_baseline_mse if best_baseline_mse else None,
            "only_runtime_loaded": not heavy,
        }
    return found
