"""The README.md of an artefact: what it is, how to use it, how good it is, for a person who has only this folder."""

from typing import Any


def readme_text(manifest: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """Write the text from the manifest and the model's evaluation; deterministic."""
    channels = "\n".join(
        f"| {name} | {unit} |" for name, unit in zip(manifest["channels"], manifest["units"], strict=True)
    )
    hours, context, horizon = manifest["interval_s"] / 3600, manifest["context"], manifest["horizon"]
    variants = "\n".join(
        f"| `{facts['file']}` | {facts['size_mib']:.2f} | {facts['max_abs_error']:.2g} | {_numbers(facts)} |"
        for facts in manifest["variants"].values()
    )
    refused = "".join(f"\n`{name}` could not be made: {reason}\n" for name, reason in manifest["refused"].items())
    return f"""# {manifest["pipeline"]} / {manifest["group"]}

Forecasts the next {horizon} samples ({horizon * hours:g} h) of {len(manifest["channels"])} channels from the newest
{context} ({context * hours:g} h), one sample every {manifest["interval_s"]:g} s.

| channel | unit |
| --- | --- |
{channels}

## Use

    python predict.py recording.csv                # needs numpy and onnxruntime, or ai-edge-litert for .tflite
    python predict.py recording.csv {next(reversed(manifest["variants"]))}
    foresense verify .                             # every file, every format

The CSV has one column per channel, in the units above, oldest sample first. `predict.py` scales with `scaler.json`,
scaled = (value - shift) / scale, and never clips; a missing value in the newest {context} rows is an error.

## Files

| variant | MiB | largest difference from the model (scaled units) | computes in |
| --- | --- | --- | --- |
{variants}
{refused}
`golden.npz` holds inputs with the expected output of every variant, `manifest.json` the SHA-256 of every file.

## How good it is

Test part, {evaluation.get("metrics_scale", "scaled")} units, trained model {manifest["model_sha256"][:12]}; the
benchmark report of the pipeline says how good each exported file still is.

| | MSE | MAE |
| --- | --- | --- |
{_scores(evaluation)}
"""


def _numbers(facts: dict[str, Any]) -> str:
    if facts["input_type"] == "int8":
        return "integers throughout"
    if facts["n_hybrid_kernels"]:
        return f"int8 weights in {facts['n_hybrid_kernels']} operators, float32 between them"
    if facts["n_integer_kernels"]:
        return f"integers in {facts['n_integer_kernels']} matrix products, float32 elsewhere"
    return "float32"


def _scores(evaluation: dict[str, Any]) -> str:
    rows = {"this model": evaluation.get("test", {}), **evaluation.get("baselines", {})}
    return "\n".join(
        f"| {name} | {row['mse']:.4g} | {row['mae']:.4g} |" for name, row in rows.items() if {"mse", "mae"} <= set(row)
    )
