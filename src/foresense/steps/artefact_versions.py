"""A version of an artefact: the folder that left a pipeline, its evaluation, and what of it ships with which score."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foresense.config import AnyPipeline, ConfigError
from foresense.registry import ARTEFACT_FOLDER, SHIPPED, VersionError, seal_artefact
from foresense.signals import (
    Layout,
    TrainReport,
    file_sha256,
    read_json,
    read_report,
    recordings_digest,
    replaced_folder,
    tree_sha256,
    write_json,
)
from foresense.steps.edge import NotMeasuredError, measured_facts
from foresense.steps.export_anomaly import PI
from foresense.steps.results_table import Headline, headline

SCHEMA_VERSION = 1
#: Kind of an artefact -> what it takes and gives, from its folder and its manifest; the same in every version, or a
#: device that feeds the one cannot feed the other. What happens inside (networks, features, scaling) is not in it.
SIGNATURES: dict[str, Callable[[Path, Mapping[str, Any]], dict[str, Any]]] = {
    "activity": lambda _, said: _of(said, "channels", "units", "length", "rate_hz", "classes"),
    "mixed": lambda folder, said: {
        **_of(said, "predicts", "target", "classes", "length", "interval_s", "has_time"),
        **_channels(read_json(folder / "schema.json")),
    },
    "weeks": lambda _, said: {**_of(said, "label", "output"), "unit": said["known_answer"]["unit"]},
    "clips": lambda _, said: {**_of(said, "classes", "output"), **_of(said["preparation"], "clip_shape", "rate_hz")},
}


@dataclass(frozen=True)
class Shipped:
    """Content of `shipped.json`; nothing in it is a clock time, a latency or a run.

    Attributes:
        kind: Of the artefact, as its manifest says: activity, mixed, weeks or clips.
        variant: {name, file, sha256, size_mib, quality} of the file that ships; None where none was measured.
        headline: What the training report says first, on held-out data.
        windows_sha256: Tree digest of the windows, which say what was held out.
        weights: What training left: file -> SHA-256.
        signature: What the artefact takes and gives.
        schema_version: Of this shape.
    """

    kind: str
    variant: dict[str, Any] | None
    headline: Headline
    windows_sha256: str
    weights: dict[str, str]
    signature: dict[str, Any]
    schema_version: int = SCHEMA_VERSION


def read_shipped(folder: Path) -> Shipped:
    """Read what ships of a version.

    Args:
        folder: Of the version; its files have been verified.

    Raises:
        VersionError: it is a version of another kind or shape.
    """
    path = folder / SHIPPED
    if not path.is_file():
        raise VersionError(f"{folder}: not a version of an artefact: it has no {SHIPPED}; promote one by hand")
    content = read_json(path)
    if content.get("schema_version") != SCHEMA_VERSION:
        raise VersionError(
            f"{path}: shape version {content.get('schema_version')!r}, this program reads {SCHEMA_VERSION}; promote a "
            "version of now by hand"
        )
    return Shipped(**{**content, "headline": Headline(**content["headline"])})


def build_artefact_version(layout: Layout, pipeline: str, group: str, config: AnyPipeline) -> Path:
    """Lay an artefact, its evaluation and what ships of it into one folder, sealed by its manifest.

    Equal weights, windows and files give equal bytes. `pi/`, what a device gets of an anomaly detector, goes with it.

    Args:
        layout: Where the pipeline's folders are.
        pipeline: Its name.
        group: Folder name below models/ and exports/.
        config: Its section.

    Returns:
        `.foresense/built/<pipeline>/<group>`; a former one is replaced.

    Raises:
        FileNotFoundError: the group has no model, no artefact or no windows; says which command writes them.
        ValueError: the training is not of the full profile; the artefact is of other weights or windows than there are
            now, was altered after its export, or is not what was measured.
        ConfigError: an artefact of a kind that has no versions.
    """
    paths = layout.of(pipeline)
    artefact, trained = paths.exports / group, paths.models / group / "evaluation.json"
    for path, step in (
        (paths.windows / "manifest.json", "window"),
        (trained, "train"),
        (artefact / "manifest.json", "export"),
    ):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: not there; run `foresense {step} {pipeline}` first")
    manifest, evaluation = read_json(artefact / "manifest.json"), read_json(trained)
    report, windows_sha256 = read_report(paths.reports, TrainReport), tree_sha256(paths.windows)
    _require_same(layout, pipeline, artefact, manifest, evaluation, report, windows_sha256)
    _require_unaltered(pipeline, artefact, manifest)
    kind = manifest["kind"]
    if kind not in SIGNATURES:
        raise ConfigError(
            f"{artefact}: an artefact of the kind {kind!r} has no versions; known: {', '.join(SIGNATURES)}"
        )
    shipped = Shipped(
        kind=kind,
        variant=_variant(layout, pipeline, artefact, manifest),
        headline=headline(config, report),
        windows_sha256=windows_sha256,
        weights=evaluation.get("files", {"model": evaluation["model_sha256"]}),
        signature=SIGNATURES[kind](artefact, manifest),
    )
    built = layout.cache / "built" / pipeline / group
    with replaced_folder(built) as beside:
        for folder, name in ((artefact, ARTEFACT_FOLDER), (paths.exports / PI, PI)):
            if folder.is_dir():
                shutil.copytree(folder, beside / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(trained, beside / "evaluation.json")
        write_json(beside / SHIPPED, asdict(shipped))
        seal_artefact(
            beside,
            pipeline=pipeline,
            asset=group,
            model_sha256=manifest["model_sha256"],
            data_sha256=manifest["data_sha256"],
        )
    return built


def _variant(layout: Layout, pipeline: str, artefact: Path, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        name, facts, _ = measured_facts(layout, pipeline, artefact.name, manifest["model_sha256"])
    except NotMeasuredError:
        return None  # the version is registered all the same; the criterion `measured on the edge` refuses it
    file = manifest["variants"][name]["file"]
    if file_sha256(artefact / file) != facts["sha256"]:
        raise ValueError(
            f"{artefact / file}: not the file that was measured; run `foresense benchmark {pipeline}` again"
        )
    return {"name": name, "file": file, **_of(facts, "sha256", "size_mib", "quality")}


def _require_same(
    layout: Layout,
    pipeline: str,
    artefact: Path,
    manifest: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    report: TrainReport,
    windows_sha256: str,
) -> None:
    """Refuse a training in another profile; an artefact, an evaluation, a report and windows that are not of one."""
    if report.profile != "full":
        raise ValueError(
            f"{layout.of(pipeline).reports / 'train.json'}: trained in the profile {report.profile!r}, only 'full' is "
            f"judged; run `foresense run {pipeline}`"
        )
    recordings_sha256 = recordings_digest(layout.of(pipeline).windows)
    for what, found, expected in (
        ("weights", manifest["model_sha256"], evaluation["model_sha256"]),
        ("weights", report.model["model_sha256"], evaluation["model_sha256"]),
        ("recordings", manifest["data_sha256"], recordings_sha256),
        ("windows", evaluation.get("windows_sha256", windows_sha256), windows_sha256),
    ):
        if found != expected:
            raise ValueError(
                f"{artefact}: of other {what} ({found[:12]}) than there are now ({expected[:12]}); run `foresense run "
                f"{pipeline}`, and judge it then"
            )


def _require_unaltered(pipeline: str, artefact: Path, manifest: Mapping[str, Any]) -> None:
    for name, expected in manifest["files"].items():
        found = file_sha256(artefact / name) if (artefact / name).is_file() else "no file"
        if found != expected:
            raise ValueError(
                f"{artefact / name}: SHA-256 is {found[:12]}, manifest.json says {expected[:12]}: it changed after its "
                f"export; run `foresense export {pipeline}` again"
            )


def _of(said: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: said[name] for name in names}


def _channels(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Names and units of what a model of mixed recordings reads; a category has no unit."""
    groups = ("numeric", "categorical", "static_numeric", "static_categorical")
    return {group: [[channel["name"], channel.get("unit")] for channel in schema[group]] for group in groups}
