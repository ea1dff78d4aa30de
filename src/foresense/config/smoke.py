"""Shrink a pipeline until all its steps pass in under a minute: the same code, tiny numbers."""

from typing import Any

from foresense.config.actigraphy_pipeline import ActigraphyConfig
from foresense.config.activity import ActivityConfig
from foresense.config.anomaly_pipeline import AnomalyConfig
from foresense.config.mixed_pipeline import MixedConfig
from foresense.config.pipeline import PipelineConfig
from foresense.config.reading import AnyPipeline

#: Rows, samples and sizes of a smoke run. The context keeps a week of hourly samples, for the weekly features.
SMOKE_ROWS = 600
SMOKE_CONTEXT = 192
SMOKE_HORIZON = 24
#: Of mixed recordings: how many stays, and steps between windows of stations (a prime: all hours of a day occur).
SMOKE_RECORDINGS = 60
SMOKE_STRIDE = 101
#: Of anomaly detectors: simulated machines, of which 80 train, 20 choose and 25 test; and the step that teaches the
#: small network in two epochs.
SMOKE_MACHINES = 125
SMOKE_LEARNING_RATE = 1e-2
#: Judging how good a model is after a few steps of training would say nothing.
QUALITY_GATES = ("mse", "mae", "mse_ratio_to_best_baseline", "macro_f1", "quality_drop", "auc")


def shrink(config: AnyPipeline) -> AnyPipeline:
    """Make a small copy of `config`: few rows, short windows, tiny models, one format, no gates on quality.

    Args:
        config: Any valid pipeline.

    Returns:
        A valid pipeline with the same sources, channels, scaler and kinds of model; a detector of anomalies has a
        simulation for its source.
    """
    if isinstance(config, ActivityConfig):
        return _shrink_activity(config)
    if isinstance(config, ActigraphyConfig):
        return _shrink_actigraphy(config)
    if isinstance(config, AnomalyConfig):
        return _shrink_anomaly(config)
    return _shrink_mixed(config) if isinstance(config, MixedConfig) else _shrink_forecast(config)


def _shrink_forecast(config: PipelineConfig) -> PipelineConfig:
    sections: dict[str, Any] = config.model_dump()
    sections["ingest"] |= dict.fromkeys(("first_rows", "newest_rows", "n_rows"), SMOKE_ROWS)
    sections["ingest"] |= {"n_assets": 1, "min_rows": 0}
    sections["window"] |= {
        "context": SMOKE_CONTEXT,
        "horizon": SMOKE_HORIZON,
        "stride_evaluation": SMOKE_HORIZON,
        "split": {},
    }
    sections["features"] |= {"stride": 24}
    section = "train" if config.fleet is None else "fleet"
    candidates = {name: _tiny(one) for name, one in list(sections[section]["candidates"].items())[:2]}
    sections[section] |= {"candidates": candidates, "season_lengths": (24,), "drop_last_batch": None}
    if config.fleet is not None:
        sections["ingest"]["n_assets"] = 3
        sections["engine"] = {}
        sections["fleet"] |= {
            "shared": _tiny(sections["fleet"]["shared"]),
            "from_shared": tuple(name for name in config.fleet.from_shared if name in candidates),
            "assets": "all",
            "min_rows": 0,
            "dlinear": False,
        }
    sections["export"] |= {"variants": ("onnx-float32", "onnx-int8"), "n_calibration": 4, "n_golden": 2}
    sections["benchmark"] |= {
        "n_warmup": 2,
        "n_timed": 20,
        "n_threads": (1,),
        "n_quality": 8,
        "gates": {name: gate for name, gate in sections["benchmark"]["gates"].items() if name not in QUALITY_GATES},
    }
    return PipelineConfig.model_validate(sections)


def _shrink_activity(config: ActivityConfig) -> ActivityConfig:
    sections: dict[str, Any] = config.model_dump()
    sections["ingest"] |= {"first_people": 6, "n_people": 6, "n_hours": 16.0}  # a day shorter than that has no sleep
    sections["window"] |= {"n_folds": 3, "stride_s": config.window.length_s}
    candidates = {
        name: one
        | {"pretrain_epochs": min(one["pretrain_epochs"], 1), "n_epochs": 1}
        | {"network": one["network"] | {"n_kernels": 100}}
        for name, one in list(sections["train"]["candidates"].items())[:1]
    }
    sections["train"] |= {"candidates": candidates, "folds": 1}
    sections["export"] |= {"variants": ("onnx-float32",), "n_calibration": 4, "n_golden": 2}
    gates = {name: gate for name, gate in sections["benchmark"]["gates"].items() if name not in QUALITY_GATES}
    sections["benchmark"] |= {"n_warmup": 2, "n_timed": 20, "n_threads": (1,), "n_quality": 8, "gates": gates}
    return ActivityConfig.model_validate(sections)


def _shrink_mixed(config: MixedConfig) -> MixedConfig:
    sections: dict[str, Any] = config.model_dump()
    limits = {"first_recordings": SMOKE_RECORDINGS, "n_recordings": SMOKE_RECORDINGS}
    sections["ingest"] |= {name: limit for name, limit in limits.items() if name in sections["ingest"]}
    if config.window.is_outcome:
        sections["window"] |= {"n_folds": 3}
    else:  # all of the time, which has the dates of the split in it, in few windows
        strides = {"stride": config.window.stride, "stride_evaluation": config.window.stride_evaluation}
        sections["window"] |= {name: max(stride, SMOKE_STRIDE) for name, stride in strides.items()}
    candidates = {name: _tiny_mixed(one) for name, one in list(sections["train"]["candidates"].items())[:2]}
    sections["train"] |= {"candidates": candidates, "folds": 1, "studies": None}
    sections["train"]["rivals"] = ("prevalence", "logistic") if config.train.predicts == "class" else ("ridge",)
    sections["export"] |= {"variants": config.export.variants[:1], "n_calibration": 4, "n_golden": 2}
    gates = {name: gate for name, gate in sections["benchmark"]["gates"].items() if name not in QUALITY_GATES}
    sections["benchmark"] |= {"n_warmup": 2, "n_timed": 20, "n_threads": (1,), "n_quality": 8, "gates": gates}
    return MixedConfig.model_validate(sections)


def _tiny_mixed(candidate: dict[str, Any]) -> dict[str, Any]:
    network = candidate["network"]
    length = min(network["patch_length"], 16)
    small = {"d_model": 16, "n_heads": 2, "n_layers": 1, "patch_length": length, "patch_stride": length}
    epochs = {stage: min(candidate[stage], 1) for stage in ("pretrain_epochs", "probe_epochs", "n_epochs")}
    return candidate | epochs | {"network": network | small}


def _tiny(candidate: dict[str, Any]) -> dict[str, Any]:
    return candidate | {
        "context_length": None,
        "patch_length": 24,
        "patch_stride": 24,
        "end_padding": False,
        "d_model": 16,
        "ffn_dim": 32,
        "n_heads": 2,
        "n_layers": 1,
        "batch_size": 16,
        "n_epochs": 2,
        "train_stride": 24,
    }


def _shrink_actigraphy(config: ActigraphyConfig) -> ActigraphyConfig:
    sections: dict[str, Any] = config.model_dump()
    sections["ingest"] |= {"first_people": 6}
    sections["window"] |= {"n_folds": 3, "n_repeats": 1}
    sections["train"] |= {
        "candidates": {
            name: one
            | {"pretraining": one["pretraining"] and one["pretraining"] | {"n_epochs": 1}}
            | {"fine_tuning": one["fine_tuning"] | {"n_epochs": 1}}
            for name, one in list(sections["train"]["candidates"].items())[-1:]
        },
        "turns": 1,
    }
    sections["export"] |= {"variants": ("onnx-float32",), "n_calibration": 4, "n_golden": 2}
    sections["benchmark"] |= {
        "n_warmup": 2,
        "n_timed": 20,
        "n_threads": (1,),
        "gates": {name: gate for name, gate in sections["benchmark"]["gates"].items() if name not in QUALITY_GATES},
    }
    return ActigraphyConfig.model_validate(sections)


def _shrink_anomaly(config: AnomalyConfig) -> AnomalyConfig:
    """Simulated machines in place of the recordings: what can be learnt, a gate can ask for."""
    sections: dict[str, Any] = config.model_dump()
    spectrogram = config.features.spectrogram
    if spectrogram is None:
        shape = sections["train"]["candidates"][config.train.default]["network"]["shape"]
        source = {"source": "synthetic_images", "height": shape[0], "width": shape[1]}
    else:
        length = config.window.clips.length
        source = {"source": "synthetic_vibration", "rate_hz": spectrogram.rate_hz, "n_samples": length}
    sections["ingest"] = source | {"n_recordings": SMOKE_MACHINES}
    sections["window"] |= {"splits": {"machines": ({"kind": "assets", "train": 0.64, "validation": 0.16},)}}
    kept = dict.fromkeys((config.train.default, *config.export.also))
    sections["train"] |= {
        "candidates": {name: _quick(sections["train"]["candidates"][name]) for name in kept},
        "turns": "all",
        "false_alarm_rate": max(config.train.false_alarm_rate, 0.1),
    }
    sections["export"] |= {
        "variants": ("tflite-float32", "tflite-int8"),
        "pi_variants": ("tflite-int8", "tflite-float32"),
        "pi_first": {},
        "n_calibration": 20,
        "n_golden": 2,
    }
    gates = {name: gate for name, gate in sections["benchmark"]["gates"].items() if name not in QUALITY_GATES}
    sections["benchmark"] |= {"n_timed": 50, "gates": gates}
    return AnomalyConfig.model_validate(sections)


def _quick(candidate: dict[str, Any]) -> dict[str, Any]:
    small = {"learning_rate": SMOKE_LEARNING_RATE, "batch_size": 8}
    steps = small if candidate["network"]["network"] == "small" else {"batch_size": 16}
    return candidate | {"fit": candidate["fit"] | steps | {"n_epochs": 2}}
