"""Step `export` of a pipeline of anomaly detectors: every format, agreement with the network, the folder for a Pi."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.anomaly import AnomalyNetworkConfig, SpectrogramConfig
from foresense.config.anomaly_pipeline import AnomalyExportConfig
from foresense.export.artefact import BuiltArtefact
from foresense.export.clips_artefact import ClipsOrigin, build_clips_artefact
from foresense.export.keras_format import KerasSource, run_file
from foresense.export.pi import PiFolderError, PiLimits, PiModel, Training, build_pi_folder
from foresense.models.anomaly import WEIGHTS, load_network
from foresense.signals import ExportReport, file_sha256, recordings_digest, replaced_folder, tree_sha256
from foresense.steps.anomaly_data import ClipData, open_clip_data, spectrogram_of
from foresense.steps.anomaly_scores import auc_of
from foresense.steps.exporting import finish_export, read_evaluation
from foresense.steps.frame import StepRun
from foresense.steps.window_anomaly import GROUP

#: Folder for a device, beside the artefacts.
PI = "pi"
_N_PROVING = 64  # validation clips on which each file is compared with its network


@dataclass(frozen=True, eq=False)
class Exported:
    """One network on its way out.

    Attributes:
        group: Name of its folder: GROUP of what ships, else the candidate's.
        evaluation: Content of its `evaluation.json`.
        config: Of the network.
        source: With its windows.
        built: What it left as.
    """

    group: str
    evaluation: dict[str, Any]
    config: AnomalyNetworkConfig
    source: KerasSource
    built: BuiltArtefact


def export_anomaly(run: StepRun, config: AnomalyExportConfig) -> ExportReport:
    """Build `exports/<pipeline>/clips/`, one folder for each network of `also`, and `pi/`; and write the report.

    The folder for a device holds, of each network, the first variant of `pi_variants` that loses no more AUC on the
    clips that choose than `limits.quality_drop`.

    Args:
        run: The step that is running.
        config: Which variants, and what a device has to keep to.

    Raises:
        ValueError: a model that is not the one that was evaluated, or that learnt from other clips.
        KerasExportError: not one variant of a network could be made.
        PiFolderError: no variant for a device loses little enough.
        FileNotFoundError: clips or model are absent; says which command writes them.
    """
    shipping = read_evaluation(run, run.paths.models / GROUP)
    data_sha256 = recordings_digest(run.paths.windows)
    windows_sha256 = tree_sha256(run.paths.windows)
    ships, spectrogram = shipping["candidate"], spectrogram_of(shipping["spectrogram"])
    data = open_clip_data(run, spectrogram)
    groups = [GROUP, *(name for name in config.also if name != ships)]
    with replaced_folder(run.paths.exports) as beside:
        exported = [
            _export(beside, group, run, config, data, spectrogram=spectrogram, made_from=(data_sha256, windows_sha256))
            for group in groups
        ]
        (beside / PI).mkdir()
        on_device = {_device_name(run.pipeline, one.group): for_device(beside, one, data, config) for one in exported}
        build_pi_folder(
            beside / PI,
            [
                _pi_model(name, beside, on_device[name], one, config)
                for name, one in zip(on_device, exported, strict=True)
            ],
            pipeline=run.pipeline,
            limits=PiLimits(**config.limits.model_dump()),
        )
    return finish_export(
        run,
        GROUP,
        exported[0].built,
        data_sha256=data_sha256,
        weights_sha256=shipping["model_sha256"],
        groups={**{one.group: one.built.variants for one in exported}, PI: on_device},
        refused={
            (variant if one.group == GROUP else f"{one.group}/{variant}"): reason
            for one in exported
            for variant, reason in one.built.refused.items()
        },
        models={one.group: one.evaluation["model_sha256"] for one in exported},
    )


def _export(
    beside: Path,
    group: str,
    run: StepRun,
    config: AnomalyExportConfig,
    data: ClipData,
    *,
    spectrogram: SpectrogramConfig | None,
    made_from: tuple[str, str],
) -> Exported:
    """Build the artefact of one network in `<beside>/<group>`."""
    folder = run.paths.models / group
    evaluation = read_evaluation(run, folder)
    _require_same(run, folder, evaluation, made_from[1])
    network, network_config, _ = load_network(folder)
    clips = data.turns.turn(int(evaluation["turn"]))
    proving = _spread(clips.of("validation"), _N_PROVING)
    source = KerasSource(
        model=network,
        calibration=data.inputs(network_config, _spread(clips.of("train"), config.n_calibration)),
        proving=data.inputs(network_config, proving),
    )
    origin = ClipsOrigin(
        pipeline=run.pipeline,
        data_sha256=made_from[0],
        evaluation=evaluation,
        spectrogram=spectrogram,
        rate_hz=clips.found.rate_hz,
        clips=clips.gather(proving[: config.n_golden]),
    )
    (beside / group).mkdir()
    built = build_clips_artefact(beside / group, source, origin, variants=config.variants)
    return Exported(group, evaluation, network_config, source, built)


def for_device(beside: Path, one: Exported, data: ClipData, config: AnomalyExportConfig) -> dict[str, Any]:
    """The first of `pi_variants` that loses little enough on the clips that choose, `pi_first` of its candidate before.

    Returns:
        {variant, size_mib, validation_auc, validation_drop, rejected}; the last is variant -> why not.

    Raises:
        PiFolderError: there is none; says why of each.
    """
    numbers = data.turns.turn(int(one.evaluation["turn"])).of("validation")
    inputs, labels = data.inputs(one.config, numbers), data.labels[numbers]
    reference, rejected = float(one.evaluation["validation"]["auc"]), {}
    first = config.pi_first.get(one.evaluation["candidate"])
    for variant in dict.fromkeys([*([first] if first else []), *config.pi_variants]):
        if variant not in one.built.variants:
            rejected[variant] = "could not be made"
            continue
        said = run_file(beside / one.group / one.built.variants[variant]["file"], inputs)
        auc = auc_of(labels, said[:, 0])
        if reference - auc <= config.limits.quality_drop:
            return {
                "variant": variant,
                "size_mib": one.built.variants[variant]["size_mib"],
                "validation_auc": auc,
                "validation_drop": reference - auc,
                "rejected": rejected,
            }
        rejected[variant] = f"AUC {reference - auc:.4f} lower, at most {config.limits.quality_drop:g}"
    reasons = "; ".join(f"{variant}: {reason}" for variant, reason in rejected.items())
    raise PiFolderError(f"{one.group}: no variant for a device: {reasons}; add tflite-float32 to export.pi_variants")


def _pi_model(
    name: str, beside: Path, chosen: Mapping[str, Any], one: Exported, config: AnomalyExportConfig
) -> PiModel:
    facts, training = one.built.variants[chosen["variant"]], one.evaluation["training"]
    return PiModel(
        name=name,
        file=beside / one.group / facts["file"],
        variant=chosen["variant"],
        max_size_mib=config.max_size_mib,
        inputs=one.source.proving[: config.n_golden],
        model_sha256=one.evaluation["model_sha256"],
        training=Training(n_epochs=training["n_epochs"], loss=training["validation_loss"]),
        checkpoint_sha256=one.evaluation["model_sha256"],
    )


def _device_name(pipeline: str, group: str) -> str:
    return pipeline if group == GROUP else f"{pipeline}-{group}"


def _spread(numbers: np.ndarray, n: int) -> np.ndarray:
    """At most `n` of the numbers, evenly spread."""
    places = np.unique(np.linspace(0, len(numbers) - 1, min(n, len(numbers))).round().astype(np.int64))
    return np.asarray(numbers[places])


def _require_same(run: StepRun, folder: Path, evaluation: dict[str, Any], windows_sha256: str) -> None:
    found = file_sha256(folder / WEIGHTS)
    if evaluation["model_sha256"] != found:
        raise ValueError(
            f"{folder}: evaluation.json is about weights {evaluation['model_sha256'][:12]}, {WEIGHTS} is {found[:12]}; "
            f"run `foresense train {run.pipeline}` again"
        )
    if evaluation["windows_sha256"] != windows_sha256:
        raise ValueError(
            f"{folder}: the model learnt from other clips than are there now; run `foresense train "
            f"{run.pipeline}` again"
        )
