from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from foresense.config import EngineConfig
from foresense.engine import Job, Outcome, Skipped, SkippedError, run_jobs
from foresense.engine.calling import answers, check_name, find, first_line
from foresense.engine.jobs import outcome_from_json, shown
from foresense.engine.messages import packed, unpacked

OUTCOME = Outcome("press-17", "d", "success", "", None, 1.25, 20.5, 1, "host/1", {"rmse": 0.5})


@pytest.mark.parametrize(
    ("assets", "digests", "message"),
    [
        ((), (), "at least one asset"),
        (("a", "b"), ("1",), "one digest for each asset expected, found 1 for 2"),
        (("a", "a"), ("1", "2"), "an asset is in it twice"),
        (("",), ("1",), "expected a name"),
        (("\ud800",), ("1",), "some text that UTF-8 can hold"),
    ],
)
def test_a_job_that_cannot_be_is_refused(assets, digests, message) -> None:
    with pytest.raises(ValueError, match=message):
        Job(assets, digests, {})


def test_arguments_that_are_not_json_are_refused() -> None:
    with pytest.raises(ValueError, match="job of a: its arguments are not JSON: Object of type object"):
        Job(("a",), ("d",), {"x": object()})


def test_an_outcome_is_the_same_after_json() -> None:
    assert outcome_from_json(OUTCOME.as_json()) == OUTCOME


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "JSON object, found list"),
        ({"asset": "a"}, "has the fields"),
        ({**OUTCOME.as_json(), "seconds": "long"}, "field 'seconds' of an outcome: found 'long'"),
        ({**OUTCOME.as_json(), "status": "done"}, "expected one of .*, found 'done'"),
    ],
)
def test_what_is_no_outcome_is_refused(content, message) -> None:
    with pytest.raises(ValueError, match=message):
        outcome_from_json(content)


def test_many_assets_are_shown_by_a_few() -> None:
    assert shown(("a", "b" * 100, "c", "d", "e")) == f"a, {'b' * 57}..., c and 2 more"


@pytest.mark.parametrize("name", ["train", "a.b", "a:b:c", ":train", "a b:c", "a.:c"])
def test_a_function_without_module_and_name_is_refused_at_once(name: str, tmp_path) -> None:
    with pytest.raises(ValueError, match="expected 'module:name'"):
        run_jobs(name, [], settings=EngineConfig(), records=tmp_path)


def test_an_asset_in_two_jobs_is_refused_before_anything_runs(fleet) -> None:
    with pytest.raises(ValueError, match="'a' is in two jobs"):
        fleet.start("local", fleet.jobs({"a": "good"}) * 2)
    assert not fleet.records.exists()


def test_a_module_that_is_not_there_is_refused_at_once(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.py: no such file or folder"):
        run_jobs("a:b", [], settings=EngineConfig(), records=tmp_path, modules=[tmp_path / "missing.py"])


def test_a_function_that_is_not_there_is_said() -> None:
    check_name("foresense.engine.jobs:missing")
    with pytest.raises(ImportError, match=r"module 'foresense\.engine\.jobs' has no 'missing'"):
        find("foresense.engine.jobs:missing")


def given(found: object) -> Callable[[tuple[str, ...], dict[str, Any]], Any]:
    return lambda assets, arguments: found


def test_every_asset_has_one_answer_whatever_the_function_gives() -> None:
    found = answers(given({"a": {"x": 1}, "b": Skipped("short"), "c": 3, "d": {"x": object()}}), tuple("abcde"), {})
    assert {asset: answer["status"] for asset, answer in found.items()} == {
        "a": "success", "b": "skipped", "c": "failed", "d": "failed", "e": "failed",
    }  # fmt: skip
    assert found["c"]["reason"] == "the function gave int for this asset, expected a dict or Skipped"
    assert found["d"]["reason"].startswith("the result of this asset is not JSON: TypeError: Object of type object")
    assert found["e"]["reason"] == "the function gave no result for this asset"


def test_results_of_strangers_and_no_dictionary_are_errors_of_the_whole_job() -> None:
    with pytest.raises(ValueError, match="not asked for: 'b'"):
        answers(given({"b": {}}), ("a",), {})
    with pytest.raises(TypeError, match="gave NoneType, expected a dict"):
        answers(given(None), ("a",), {})


def test_skipped_error_is_an_answer_for_one_asset_and_an_error_for_several() -> None:
    def skips(assets: tuple[str, ...], arguments: dict[str, Any]) -> Any:
        raise SkippedError("1102 of 1920 hours")

    assert answers(skips, ("a",), {})["a"] == {"status": "skipped", "reason": "1102 of 1920 hours", "result": {}}
    with pytest.raises(SkippedError):
        answers(skips, ("a", "b"), {})


def test_the_reason_is_one_line_that_any_file_can_hold() -> None:
    assert first_line(ValueError("first\nsecond")) == "ValueError: first"
    assert first_line(KeyError()) == "KeyError"
    assert first_line(ValueError("name \udcff")) == "ValueError: name \\udcff"
    assert len(first_line(ValueError("x" * 10_000))) == 500


def test_messages_come_out_as_they_went_in_however_they_are_cut() -> None:
    messages = [{"a": [1, "ü\u0000"]}, {}, {"b": "x" * 1000}]
    received, found = bytearray(), []
    for byte in b"".join(map(packed, messages)):
        received.append(byte)
        while (message := unpacked(received)) is not None:
            found.append(message)
    assert found == messages
    assert not received


def test_settings_refuse_what_no_engine_can_do() -> None:
    for wrong in ({"workers": 0}, {"threads": 0}, {"limit_min": 0}, {"memory_mib": -1}, {"name": "dask"}, {"cores": 2}):
        with pytest.raises(ValidationError):
            EngineConfig(**wrong)
