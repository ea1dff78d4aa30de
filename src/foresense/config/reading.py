"""Read params.yaml: one parser (YAML 1.2, the one DVC writes with), one place where defaults live."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from foresense.config.actigraphy_pipeline import ActigraphyConfig
from foresense.config.activity import ActivityConfig
from foresense.config.anomaly_pipeline import AnomalyConfig
from foresense.config.mixed_pipeline import MixedConfig
from foresense.config.pipeline import STEPS, PipelineConfig
from foresense.config.section import ConfigError, Section, problems_of

__all__ = [
    "AnyPipeline",
    "ConfigError",
    "Section",
    "read_any",
    "read_pipeline",
    "read_pipelines",
    "read_stages",
    "read_yaml",
    "steps_with_section",
]

AnyPipeline = PipelineConfig | ActivityConfig | MixedConfig | ActigraphyConfig | AnomalyConfig
#: Value of the key `kind` to the shape of a pipeline; `forecast` where the key is absent.
KINDS: dict[str, type[AnyPipeline]] = {
    "forecast": PipelineConfig,
    "activity": ActivityConfig,
    "mixed": MixedConfig,
    "actigraphy": ActigraphyConfig,
    "anomaly": AnomalyConfig,
}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file (YAML 1.2: `3e-4` is a number, `on` is a word).

    Raises:
        ConfigError: the file is absent, is not YAML in UTF-8, or is not a mapping.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; run from the project root, or pass --project")
    try:
        content = YAML(typ="safe").load(path.read_text())
    except YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML in UTF-8 that can be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping at the top, found {type(content).__name__}")
    return content


def read_pipelines(params: Path) -> dict[str, AnyPipeline]:
    """Read every pipeline of `params`, and report the problems of all of them together.

    Raises:
        ConfigError: with one line for each problem, naming file, pipeline and key.
    """
    sections = _pipeline_sections(params)
    read: dict[str, AnyPipeline] = {}
    problems: list[str] = []
    for name, section in sections.items():
        found = _validated(name, section)
        if isinstance(found, list):
            problems += found
        else:
            read[name] = found
    if problems:
        raise ConfigError("\n  ".join([f"{params}: {len(problems)} problem(s)", *problems]))
    return read


def read_pipeline(params: Path, pipeline: str) -> PipelineConfig:
    """Read the section of one pipeline that forecasts; the caller never sees the rest of the file.

    Raises:
        ConfigError: unknown pipeline (with the nearest known name), one of another kind, or one line for each problem
            of its section.
    """
    found = read_any(params, pipeline)
    if not isinstance(found, PipelineConfig):
        raise ConfigError(f"{params}: {pipeline!r} is of the kind {found.kind!r}; this is for pipelines that forecast")
    return found


def read_any(params: Path, pipeline: str) -> AnyPipeline:
    """Read the section of one pipeline of any kind; the caller never sees the rest of the file.

    Raises:
        ConfigError: unknown pipeline (with the nearest known name), or one line for each problem of its section.
    """
    sections = _pipeline_sections(params)
    if pipeline not in sections:
        near = get_close_matches(pipeline, list(sections), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{params}: no pipeline {pipeline!r}{advice} (known: {', '.join(sections)})")
    found = _validated(pipeline, sections[pipeline])
    if isinstance(found, list):
        raise ConfigError("\n  ".join([f"{params}: {len(found)} problem(s)", *found]))
    return found


def read_stages(params: Path) -> dict[str, tuple[str, ...]]:
    """Read which pipelines use which step: `stages.<step>`, a list of names or a mapping whose keys are names.

    Raises:
        ConfigError: a step or a pipeline there is unknown; every problem on a line of its own.
    """
    content = read_yaml(params)
    stages = content.get("stages") or {}
    known = list(_pipeline_sections(params))
    named = stages.values() if isinstance(stages, dict) else [None]
    if not all(isinstance(names, list | dict) for names in named):
        raise ConfigError(
            f"{params}: stages: expected a list or a mapping of pipelines for each step, found {stages!r}"
        )
    problems = [f"stages.{step}: no such step (known: {', '.join(STEPS)})" for step in stages if step not in STEPS]
    problems += [
        f"stages.{step}: no pipeline {name!r} (known: {', '.join(known)})"
        for step, names in stages.items()
        for name in names
        if name not in known
    ]
    if problems:
        raise ConfigError("\n  ".join([f"{params}: {len(problems)} problem(s)", *problems]))
    return {step: tuple(names) for step, names in stages.items()}


def steps_with_section(config: AnyPipeline) -> tuple[str, ...]:
    """Steps that the kind of this pipeline has, in order; one that it has no use for has no section."""
    return tuple(step for step in STEPS if step in type(config).model_fields)


def _validated(name: str, section: Any) -> AnyPipeline | list[str]:
    """The section as its kind asks for it, or a line for each of its problems."""
    kind = section.get("kind", "forecast") if isinstance(section, dict) else "forecast"
    if kind not in KINDS:
        return [f"pipelines.{name}.kind: no kind {kind!r} (known: {', '.join(KINDS)})"]
    try:
        return KINDS[kind].model_validate(section)
    except ValidationError as error:
        return [f"pipelines.{name}.{line}" for line in problems_of(error, KINDS[kind])]


def _pipeline_sections(params: Path) -> dict[str, Any]:
    content = read_yaml(params)
    unknown = sorted(set(content) - {"pipelines", "stages"})
    if unknown:
        raise ConfigError(f"{params}: unknown section(s) {unknown}; the file has 'stages' and 'pipelines'")
    if not isinstance(content.get("pipelines"), dict) or not content["pipelines"]:
        raise ConfigError(f"{params}: no section 'pipelines' with at least one pipeline in it")
    return dict(content["pipelines"])
