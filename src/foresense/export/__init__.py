"""Catalog of export formats: what a trained model can leave as. A format is imported when it is asked for."""

from difflib import get_close_matches

#: variant -> "module:function"; the function takes (source: ExportSource, file: Path), writes `file`, and returns the
#: converter's name and version. The name says what the file truly is: `dynamic` keeps float32 activations, `onnx-int8`
#: quantizes them at run time (MatMulInteger), only `tflite-int8` has no float32 tensor in it.
FORMATS: dict[str, str] = {
    "onnx-float32": "foresense.export.onnx_format:float32",
    "onnx-int8": "foresense.export.onnx_format:int8",
    "tflite-float32": "foresense.export.tflite_format:float32",
    "tflite-dynamic": "foresense.export.tflite_format:dynamic",
    "tflite-int8": "foresense.export.tflite_format:int8",
}


def format_of(variant: str) -> str:
    """Entry of FORMATS for a variant.

    Raises:
        ValueError: no such variant; names the nearest and all known ones.
    """
    if variant not in FORMATS:
        near = get_close_matches(variant, list(FORMATS), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no export variant {variant!r}{advice} (known: {', '.join(FORMATS)})")
    return FORMATS[variant]


def file_name(variant: str) -> str:
    """Name of the variant's file in an artefact: `onnx-int8.onnx`, `tflite-int8.tflite`."""
    format_of(variant)
    return f"{variant}.{variant.partition('-')[0]}"
