"""The folder that leaves a pipeline of minute actigraphy: a week of minutes in, its features and a probability out.

`service/artefact.py` says what a service reads of it. No week of a person is in it: the known answer and the golden
vectors are about weeks that are made up here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.pat import PatSize
from foresense.export import pat_runtime
from foresense.export.artefact import BuiltArtefact
from foresense.export.manifest import SCHEMA_VERSION, write_manifest
from foresense.export.pat import OUTPUT, agreed_source, keras_difference
from foresense.export.pat_runtime import open_features
from foresense.export.proof import ExportError, Proven, convert_all, versions
from foresense.export.weeks_label import HEAD
from foresense.models.pat import INPUT, build_encoder, load
from foresense.signals import write_bytes, write_json
from foresense.signals.actigraphy import MINUTES_PER_DAY, MINUTES_PER_WEEK
from foresense.windows.minute_scaler import MinuteScaler

#: Units of the features, which are of the order of 1: float32 files differ from the network by the order of sums.
TOLERANCE = 1e-5
#: Monday; made-up weeks begin here.
KNOWN_START = "2024-01-01T00:00:00+00:00"
_QUIET_MIN = (22 * 60 + 30, 6 * 60 + 30)  # of a made-up day: from when to when next to nothing happens


@dataclass(frozen=True, eq=False)
class WeeksOrigin:
    """Where an artefact comes from, and what its weeks are.

    Attributes:
        pipeline: Name of the pipeline.
        data_sha256: Digest of the recordings behind the model.
        evaluation: Content of the model's `evaluation.json`.
        classifier: Content of its `classifier.json`.
        head: Arrays of the network's own head (`models.pat_head.HEAD_SHAPES`); empty where its encoder was not
            fine-tuned.
        preparation: Content of a `WeekPreparationConfig`: what the model's weeks were prepared with.
        scaler: Reference of the training people of the turn that ships.
        attribution: Of published weights that the encoder began with; empty where it did not.
    """

    pipeline: str
    data_sha256: str
    evaluation: Mapping[str, Any]
    classifier: Mapping[str, Any]
    head: Mapping[str, np.ndarray]
    preparation: Mapping[str, Any]
    scaler: MinuteScaler
    attribution: str = ""


def made_up_weeks(n: int, scaler: MinuteScaler, seed: int = 0) -> np.ndarray:
    """(n, 10080), float64, activity: days of a smooth course with gamma noise, whole numbers, nights nearly still."""
    rng = np.random.default_rng(seed)
    minute = np.arange(MINUTES_PER_WEEK) % MINUTES_PER_DAY
    asleep = (minute >= _QUIET_MIN[0]) | (minute < _QUIET_MIN[1])
    course = np.where(asleep, 0.02, 0.6 + np.sin((minute - _QUIET_MIN[1]) / 960 * np.pi).clip(0))
    level = float(scaler.mean.mean()) * 1.5
    noise = rng.gamma(0.8, 1.25, (n, MINUTES_PER_WEEK))
    return np.asarray(np.round(level * course * noise, 0 if scaler.unit == "counts" else 4))


def build_weeks_artefact(
    folder: Path,
    size: PatSize,
    encoder: Mapping[str, np.ndarray],
    weeks: np.ndarray,
    origin: WeeksOrigin,
    scratch: Path,
    *,
    variants: Sequence[str],
    n_golden: int,
) -> BuiltArtefact:
    """Convert, prove and describe one encoder.

    Args:
        folder: An existing empty folder; the manifest and its seal are written last.
        size: Of the encoder.
        encoder: Path in the official file -> array.
        weeks: (n, 10080), float32, scaled weeks of training people: they calibrate and prove, and stay here.
        origin: Where everything comes from.
        scratch: An existing folder.
        variants: Names in FORMATS.
        n_golden: How many made-up weeks become golden vectors.

    Raises:
        ExportError: not one variant could be made, lists every reason; or a float file off by more than rounding.
    """
    activity = made_up_weeks(n_golden, origin.scaler)
    weekdays = np.zeros(n_golden, np.int64)
    golden = origin.scaler.scale(activity, weekdays, origin.scaler.unit).values
    network = build_encoder(size)
    load(network, size, encoder)
    source = agreed_source(size, network, np.concatenate([golden, weeks]), scratch)
    keras_error = keras_difference(network, source)
    proven = convert_all(folder, source, variants, open_features, what=origin.pipeline)
    for variant, facts in proven.facts.items():
        facts["max_abs_error"] += keras_error  # of the folded network: so far can a file be from Keras' at most
        if variant.endswith("-float32"):
            if facts["max_abs_error"] > TOLERANCE:
                raise ExportError(
                    f"{variant} differs from Keras' network by up to {facts['max_abs_error']:.3g} on "
                    f"{len(source.reference)} weeks; at most {TOLERANCE:g} is rounding"
                )
            facts["tolerance"] = TOLERANCE
    said = {variant: outputs[:n_golden] for variant, outputs in proven.outputs.items()}
    np.savez(folder / "golden.npz", allow_pickle=False, **{INPUT: golden, "model": source.reference[:n_golden]}, **said)
    known = {variant: outputs[0].astype(np.float32) for variant, outputs in said.items()}
    np.savez(folder / "known_answer.npz", allow_pickle=False, activity=activity[0], **known)
    origin.scaler.save(folder / "scaler.safetensors")
    write_json(folder / "classifier.json", origin.classifier)
    write_json(folder / "evaluation.json", origin.evaluation)
    if origin.head:
        np.savez(
            folder / HEAD,
            allow_pickle=False,
            **{name.replace("/", "."): one for name, one in origin.head.items()},
        )
    write_bytes(folder / "pat_runtime.py", Path(pat_runtime.__file__).read_bytes())
    manifest = _manifest(origin, len(source.reference), proven)
    manifest["agreement"]["keras_max_abs_error"] = keras_error
    manifest["golden"] = {"file": "golden.npz", "n": n_golden}
    write_bytes(folder / "README.md", _readme(manifest).encode())
    write_manifest(folder, manifest)
    return BuiltArtefact(variants=proven.facts, refused=proven.refused)


def _manifest(origin: WeeksOrigin, n_proving: int, proven: Proven) -> dict[str, Any]:
    evaluation = origin.evaluation
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "weeks",
        "pipeline": origin.pipeline,
        "input": INPUT,
        "output": OUTPUT,
        "label": evaluation["positive"],
        "scaler": {"file": "scaler.safetensors"},
        "preparation": dict(origin.preparation),
        "known_answer": {
            "file": "known_answer.npz",
            "start": KNOWN_START,
            "time_zone": "UTC",
            "unit": origin.scaler.unit,
        },
        "agreement": {"n_windows": n_proving, "unit": "features"},
        "model": evaluation["model"],
        "model_sha256": evaluation["model_sha256"],
        "data_sha256": origin.data_sha256,
        "attribution": origin.attribution,
        "versions": versions(),
        "variants": dict(proven.facts),
        "refused": dict(proven.refused),
    }


def _readme(manifest: Mapping[str, Any]) -> str:
    first = next(iter(manifest["variants"]))
    lines = [
        f"# {manifest['pipeline']}: features of a week of minutes",
        "",
        "**Not a medical device.** 10,080 minutes of activity from a local midnight on go in, 96 features come out.",
        "",
        "```python",
        "import asyncio",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "",
        "from foresense.export.weeks_label import probability_of",
        "from foresense.service import service_from_artefact",
        "from foresense.service.weeks import week_preparation",
        "",
        "",
        "async def main(recording):",
        '    async with service_from_artefact(Path("."), read_preparation=week_preparation) as service:',
        "        return await service.analyse(recording)",
        "",
        "",
        "found = asyncio.run(main(recording))",
        "metrics = {name: np.array([one.value]) for name, one in found.week.metrics.items()}",
        'probability_of(Path("."))(np.array([found.features["raw_features"]]), metrics)',
        "```",
        "",
        f"The last line is the probability of '{manifest['label']}' by `classifier.json`. It is no diagnosis:",
        "`evaluation.json` says how often it is right.",
        "",
        f"Served is the first variant, {first}, unless another is asked for. `scaler.safetensors` is the reference of",
        "the training people: mean and deviation of each minute of the week, for one counter on one place of the body;",
        "a week in another unit is refused. `known_answer.npz` and `golden.npz` are about made-up weeks, no person's.",
        "",
        "| variant | file | MiB | largest difference from the network, features |",
        "| --- | --- | ---: | ---: |",
        *(
            f"| {name} | {facts['file']} | {facts['size_mib']:.3f} | {facts['max_abs_error']:.2g} |"
            for name, facts in manifest["variants"].items()
        ),
        "",
        *([manifest["attribution"], ""] if manifest["attribution"] else []),
        "`pat_runtime.py` needs none of this project: numpy and onnxruntime or ai-edge-litert; it takes scaled weeks.",
        "`foresense verify <this folder>` checks every file and the golden vectors.",
    ]
    return "\n".join(lines) + "\n"
