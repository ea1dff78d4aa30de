"""Ask a model of mixed recordings: `python predict.py window.csv [--static NAME=VALUE ...] [--variant NAME]`.

Needs numpy and the variant's runtime. The CSV has a header and one row for each step, oldest first: one column for each
channel of schema.json with its name (`PM2.5`, or with its unit: `PM2.5 [ug/m3]`), categories as text, an empty cell
where nothing was measured, and where the recordings have real time a column `time`, ISO 8601, local where it has no
zone. What never changes comes as `--static NAME=VALUE`, with nothing behind the = where it is not known. Of a longer
file the newest steps count. Out comes a CSV: the value in the unit of the target, or the probability of each class.
"""

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

Arrays = Mapping[str, np.ndarray]
#: Name of the output of every file.
OUTPUT = "outputs"
TIME = "time"
#: Codes of a category: not measured, never seen in the training part, the first value of the vocabulary.
MISSING, UNSEEN, FIRST_VALUE = 0, 1, 2
#: What a cell says, in small letters, where nothing was measured.
NOTHING = ("", "na", "nan", "-nan", "null", "none")
LARGEST = float(np.finfo(np.float32).max)


class InputError(ValueError):
    """A file does not fit the schema of the model; the message says what, expected, found, and what to do."""


@dataclass(frozen=True, eq=False)
class ReadWindow:
    """One window as a file takes it.

    Attributes:
        inputs: Name of each input to its array (1, ...), a batch of one.
        n_unseen: Categorical channel -> cells that the training part never showed; those with some.
        newest: Begin of the newest step, UTC; None where recordings have no time.
        n_older: Rows before the window, which were not used.
    """

    inputs: dict[str, np.ndarray]
    n_unseen: dict[str, int]
    newest: datetime | None
    n_older: int


def open_model(file: Path, n_threads: int = 1) -> Callable[[Arrays], np.ndarray]:
    """Load a variant: a function from the inputs of one window, by name, to (1, n_outputs).

    A file may take fewer inputs than there are: the others change nothing in it.
    """
    if file.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = n_threads, 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        names = [taken.name for taken in session.get_inputs()]
        return lambda inputs: np.asarray(session.run([OUTPUT], {name: inputs[name] for name in names})[0])
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=n_threads)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    kinds = {name: details["dtype"] for name, details in runner.get_input_details().items()}
    # the converter narrows integers to int32
    return lambda inputs: np.asarray(
        runner(**{name: inputs[name].astype(kind, copy=False) for name, kind in kinds.items()})[OUTPUT]
    )


def read_window(
    path: Path, statics: Sequence[str], manifest: Mapping[str, Any], schema: Mapping[str, Any]
) -> ReadWindow:
    """Read the newest window of a CSV file.

    Args:
        path: The file.
        statics: `NAME=VALUE` of everything that never changes.
        manifest: Content of `manifest.json`.
        schema: Content of `schema.json`.

    Raises:
        InputError: a column missing or not expected, another unit, text where a number belongs, an infinite number,
            too few rows, steps another time apart.
    """
    numeric, categorical = schema["numeric"], schema["categorical"]
    channels = [one["name"] for one in (*numeric, *categorical)]
    header, rows = _rows(path)
    units = {one["name"]: one["unit"] for one in numeric}
    names = _names(header, [*channels, *([TIME] if manifest["has_time"] else [])], units, str(path), "column")
    length = manifest["length"]
    if len(rows) < length:
        raise InputError(
            f"{path}: {len(rows)} rows, expected at least {length}, one every {schema['interval_s']:g} s; give a "
            "longer stretch, with empty cells where nothing was measured"
        )
    n_older = len(rows) - length
    table = {name: [row[place] for row in rows[n_older:]] for place, name in enumerate(names)}
    lines = [f"line {n_older + number + 2}" for number in range(length)]
    newest = _newest(table[TIME], lines, manifest, schema, str(path)) if manifest["has_time"] else None
    coded = {one["name"]: _codes(table[one["name"]], one["values"]) for one in categorical}
    inputs, n_unseen = _statics(statics, schema)
    if newest is not None and manifest["calendar"]:
        clock = calendar_of(np.array([newest.timestamp()]), manifest["time_zone"])
        inputs["static_numbers"] = np.concatenate([inputs["static_numbers"], clock], axis=1)
    numbers = [_numbers(table[one["name"]], f"{path}, column {one['name']!r}", lines) for one in numeric]
    inputs["numbers"] = np.array(numbers, np.float32).reshape(1, len(numeric), length)
    inputs["categories"] = np.array(list(coded.values()), np.int64).reshape(1, len(categorical), length)
    n_unseen |= {name: int((codes == UNSEEN).sum()) for name, codes in coded.items()}
    return ReadWindow(
        inputs={name: inputs[name] for name in manifest["inputs"]},
        n_unseen={name: n for name, n in n_unseen.items() if n},
        newest=newest,
        n_older=n_older,
    )


def calendar_of(newest_s: np.ndarray, time_zone: str) -> np.ndarray:
    """(n, 4), float32: sine and cosine of the local hour of the day, one turn in 24, then of the month, one in 12.

    Args:
        newest_s: (n,), begin of the newest step of each window, seconds since 1970 UTC.
        time_zone: IANA name of local time.
    """
    zone = ZoneInfo(time_zone)
    local = [datetime.fromtimestamp(float(second), zone) for second in newest_s]
    hours = [at.hour + at.minute / 60 + at.second / 3600 for at in local]
    turns = 2 * np.pi * np.array([[hour / 24, (at.month - 1) / 12] for hour, at in zip(hours, local, strict=True)])
    turns = turns.reshape(-1, 2)
    waves = np.stack([np.sin(turns), np.cos(turns)], axis=2)  # of the hour, then of the month
    return waves.reshape(-1, 4).astype(np.float32)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """(n, n_classes), rows adding up to 1."""
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    found: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return found


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a CSV file in UTF-8") from error
    if not lines:
        raise InputError(f"{path}: empty; expected a header with the channels of schema.json, then one row a step")
    header = [cell.strip() for cell in lines[0]]
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise InputError(
                f"{path}, line {number}: {len(line)} cells, the header has {len(header)}; give every channel a cell, "
                "empty where nothing was measured"
            )
    return header, lines[1:]


def _names(found: Sequence[str], expected: Sequence[str], units: Mapping[str, str], where: str, what: str) -> list[str]:
    """Names without their units, in the order in which they were found."""
    names = []
    for name in found:
        match = None if name in expected else re.fullmatch(r"(.*\S)\s*\[(.*)\]", name)
        if match is None or match[1] not in expected:
            names.append(name)
            continue
        unit = units.get(match[1])
        if unit != match[2]:
            has = "has no unit" if unit is None else f"is in {unit!r}"
            raise InputError(
                f"{where}: {what} {match[1]!r} comes in {match[2]!r}, in schema.json it {has}; convert the values and "
                "say the expected unit, or none"
            )
        names.append(match[1])
    extra = [name for name in names if name not in expected]
    missing = [name for name in expected if name not in names]
    if missing:
        near = {name: get_close_matches(name, extra, n=1, cutoff=0.5) for name in missing}
        shown = [f"{name!r}" + (f" (is it {close[0]!r}?)" if close else "") for name, close in near.items()]
        raise InputError(
            f"{where}: no {what} {', '.join(shown)}; expected {list(expected)}, found {names}; give every one, with "
            "nothing in it where nothing was measured"
        )
    if extra:
        raise InputError(f"{where}: {what} {extra} not in schema.json; expected {list(expected)}; leave them out")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{where}: {what} {twice} twice; expected each once; leave one out")
    return names


def _newest(
    cells: Sequence[str], lines: Sequence[str], manifest: Mapping[str, Any], schema: Mapping[str, Any], where: str
) -> datetime:
    """Begin of the newest step, UTC, of rows that are the expected time apart."""
    zone, times = ZoneInfo(manifest["time_zone"]), []
    for cell, line in zip(cells, lines, strict=True):
        try:
            at = datetime.fromisoformat(cell.strip())
        except ValueError as error:
            raise InputError(
                f"{where}, column 'time', {line}: {cell!r} is no time; expected ISO 8601, such as "
                "2024-03-04T12:00:00+01:00"
            ) from error
        times.append((at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC))
    step = timedelta(seconds=schema["interval_s"])
    for number in range(1, len(times)):
        apart = times[number] - times[number - 1]
        if apart != step:
            raise InputError(
                f"{where}, {lines[number]}: {apart.total_seconds():g} s after the row before, expected "
                f"{step.total_seconds():g} s; give one row for each step, oldest first, with empty cells where nothing "
                "was measured"
            )
    return times[-1]


def _statics(given: Sequence[str], schema: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """(1, n) of numbers and codes that never change, and which categories the training part never showed."""
    numeric, categorical = schema["static_numeric"], schema["static_categorical"]
    wrong = [one for one in given if "=" not in one]
    if wrong:
        raise InputError(f"--static {wrong[0]}: expected NAME=VALUE, with nothing behind the = where it is not known")
    pairs = [one.partition("=")[::2] for one in given]
    units = {one["name"]: one["unit"] for one in numeric}
    expected = [one["name"] for one in (*numeric, *categorical)]
    names = _names([name.strip() for name, _ in pairs], expected, units, "--static", "value")
    cells = {name: [cell] for name, (_, cell) in zip(names, pairs, strict=True)}
    numbers = [_numbers(cells[one["name"]], f"--static {one['name']}", ["value"])[0] for one in numeric]
    codes = {one["name"]: int(_codes(cells[one["name"]], one["values"])[0]) for one in categorical}
    arrays: dict[str, np.ndarray] = {
        "static_numbers": np.array(numbers, np.float32).reshape(1, -1),
        "static_categories": np.array(list(codes.values()), np.int64).reshape(1, -1),
    }
    return arrays, {name: int(code == UNSEEN) for name, code in codes.items()}


def _numbers(cells: Sequence[str], where: str, lines: Sequence[str]) -> np.ndarray:
    """(n,), float32; NaN where nothing was measured."""
    found = np.full(len(cells), np.nan)
    for place, cell in enumerate(cells):
        if cell.strip().lower() in NOTHING:
            continue
        try:
            found[place] = float(cell)
        except ValueError as error:
            raise InputError(
                f"{where}, {lines[place]}: {cell!r} is no number; expected a number, or nothing where nothing was "
                "measured"
            ) from error
        if not abs(found[place]) <= LARGEST:
            raise InputError(
                f"{where}, {lines[place]}: {cell!r} is infinite in float32; expected a finite number, or nothing where "
                "nothing was measured"
            )
    return found.astype(np.float32)


def _codes(cells: Sequence[str], values: Sequence[str]) -> np.ndarray:
    """(n,), int64 codes of a vocabulary; a whole number counts as its digits: 4.0 is 4."""
    numbers = {value: number for number, value in enumerate(values, start=FIRST_VALUE)}
    return np.array([_code(cell.strip(), numbers) for cell in cells], np.int64)


def _code(text: str, numbers: Mapping[str, int]) -> int:
    if text in numbers:
        return numbers[text]
    if text.lower() in NOTHING:
        return MISSING
    whole = re.fullmatch(r"([+-]?\d+)\.0*", text)
    return numbers.get(str(int(whole[1])), UNSEEN) if whole else UNSEEN


def answer_rows(
    outputs: np.ndarray, newest: datetime | None, manifest: Mapping[str, Any], step_s: float
) -> list[list[str]]:
    """Header and rows of what is printed, of outputs (1, n_outputs)."""
    target, classes = manifest["target"], manifest["classes"]
    if classes:
        shares = probabilities(outputs)[0]
        rows = [
            ["class", "probability"],
            *([name, f"{share:.6f}"] for name, share in zip(classes, shares, strict=True)),
        ]
    else:
        rows = [["target", "unit", "value"], [target["name"], target["unit"], f"{float(outputs[0, 0]):.6g}"]]
    if newest is None or target["ahead"] is None:
        return rows
    at = (newest + timedelta(seconds=step_s * target["ahead"])).astimezone(ZoneInfo(manifest["time_zone"]))
    return [["time", *rows[0]], *([at.isoformat(), *row] for row in rows[1:])]


def main(arguments: Sequence[str], folder: Path) -> None:
    """Ask the model of an artefact about one CSV file."""
    manifest = json.loads((folder / "manifest.json").read_text())
    schema = json.loads((folder / "schema.json").read_text())
    variants = manifest["variants"]
    parser = argparse.ArgumentParser(prog="predict.py", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("csv", type=Path, help="one window, or a longer stretch whose newest steps count")
    parser.add_argument("--static", action="append", default=[], metavar="NAME=VALUE", help="what never changes")
    parser.add_argument("--variant", choices=list(variants), default=next(iter(variants)))
    asked = parser.parse_args(arguments)
    try:
        window = read_window(asked.csv, asked.static, manifest, schema)
    except InputError as error:
        sys.exit(str(error))
    for name, n in window.n_unseen.items():
        sys.stderr.write(f"{name}: {n} value(s) that the training part never showed; taken as unseen\n")
    if window.n_older:
        sys.stderr.write(f"{asked.csv}: the newest {manifest['length']} rows count, {window.n_older} before not\n")
    outputs = open_model(folder / variants[asked.variant]["file"])(window.inputs)
    csv.writer(sys.stdout).writerows(answer_rows(outputs, window.newest, manifest, schema["interval_s"]))


if __name__ == "__main__":
    main(sys.argv[1:], Path(__file__).parent)
