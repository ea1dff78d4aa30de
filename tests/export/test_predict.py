import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foresense.export import FORMATS
from foresense.signals import read_json, read_scaler


def write_csv(path: Path, channels: list[str], samples: np.ndarray) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *reversed(channels)])  # columns are found by name, in any order
        writer.writerows([number, *map(repr, map(float, row[::-1]))] for number, row in enumerate(samples))
    return path


def predict(artefact: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "predict.py", *words], cwd=artefact, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("variant", ["onnx-float32", "tflite-int8"])
def test_a_forecast_from_a_csv_is_the_golden_one_in_physical_units(
    full_artefact: Path, tmp_path: Path, variant: str
) -> None:
    assert variant in FORMATS
    manifest = read_json(full_artefact / "manifest.json")
    scaler = read_scaler(full_artefact / "scaler.json")
    with np.load(full_artefact / "golden.npz", allow_pickle=False) as golden:
        samples, expected = golden["physical"][0], scaler.inverse(golden[variant][0], scaler.channels)
    older = np.zeros((5, 2))  # samples before the context change nothing
    done = predict(
        full_artefact, str(write_csv(tmp_path / "a.csv", manifest["channels"], np.vstack([older, samples]))), variant
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    found = np.array([[float(row[name]) for name in manifest["channels"]] for row in rows])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert [int(row["step"]) for row in rows] == list(range(1, 13))


def test_a_person_reads_it_on_one_page(artefact: Path) -> None:
    assert len((artefact / "predict.py").read_text().splitlines()) <= 60


def test_it_needs_no_more_than_numpy_and_the_runtime(full_artefact: Path) -> None:
    text = (full_artefact / "predict.py").read_text()
    imported = {
        line.split()[1].partition(".")[0]
        for line in text.splitlines()
        if line.lstrip().startswith(("import ", "from "))
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "ai_edge_litert"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("temp_body", "temperature"), "missing ['temp_body']"),
        (lambda text: "\n".join(text.splitlines()[:40]), "48 rows; missing [], found 39 rows"),
        (lambda text: text[: text.rindex(",")] + ",", "1 values of the newest 48 rows are not numbers"),
    ],
)
def test_a_csv_that_does_not_fit_says_why(artefact: Path, tmp_path: Path, change, message: str) -> None:
    with np.load(artefact / "golden.npz", allow_pickle=False) as golden:
        path = write_csv(tmp_path / "a.csv", ["temp_body", "current"], golden["physical"][0])
    path.write_text(change(path.read_text()))
    done = predict(artefact, str(path))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_variant_shows_the_usage(artefact: Path) -> None:
    assert predict(artefact, "a.csv", "onnx-int4").stderr == "usage: predict.py CSV [onnx-float32]\n"
