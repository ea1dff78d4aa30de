"""Which tasks a night runs, and in which order; each is a stand-in, and no server runs."""

import logging
from typing import Any

import pytest

from flows import nightly as module
from tasks import night

STEPS = ["ingest", "window", "extract_features", "train", "export", "benchmark"]
#: One pipeline of each kind.
FORECASTS, OTHERS = "plant", ("activity", "air", "sleep", "thermal")


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tasks that began; `forecast` fails when its result is asked for."""
    names: list[str] = []

    def stand_in(name: str) -> Any:
        def work(*_arguments: object, return_state: bool = False) -> Any:
            names.append(name)
            return State() if return_state else None

        return work

    class State:
        def result(self, *, raise_on_failure: bool) -> None:
            names.append("result of forecast")

    for name in (*STEPS, "watch", "promote", "forecast", "write_page", "save_night", "collect", "judge"):
        monkeypatch.setattr(module, name, stand_in(name))
    return names


def test_a_night_that_forecasts_watches_drift_and_has_its_page_before_a_failed_forecast_fails_it(
    began: list[str],
) -> None:
    module.run_night.fn(FORECASTS)
    last = ["promote", "forecast", "write_page", "save_night", "collect", "judge", "result of forecast"]
    assert began == ["ingest", "watch", *STEPS[1:], *last]


@pytest.mark.parametrize("pipeline", OTHERS)
def test_a_night_of_another_kind_has_neither_drift_nor_forecasts(began: list[str], pipeline: str) -> None:
    module.run_night.fn(pipeline)
    assert began == [*STEPS, "promote", "write_page", "save_night", "collect", "judge"]


def test_one_kind_or_the_other_is_what_params_yaml_says() -> None:
    assert night.forecasts(FORECASTS)
    assert not any(night.forecasts(pipeline) for pipeline in OTHERS)


def test_every_pipeline_of_the_list_has_its_night(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(module, "missed", lambda: None)
    monkeypatch.setattr(module, "run_night", lambda pipeline, **named: asked.append((pipeline, named)))
    monkeypatch.setattr(module, "forget_trainings", lambda pipeline: asked.append((f"forget {pipeline}", {})))
    module.run_nightly.fn(["plant", "sleep"])
    assert asked == [("plant", {"return_state": True}), ("sleep", {"return_state": True})]  # a failed one stops nothing
    asked.clear()
    module.run_monthly.fn(["plant", "sleep"])
    assert [name for name, _ in asked] == ["forget plant", "forget sleep", "plant", "sleep"]
    assert all(named["afresh"] for name, named in asked if not name.startswith("forget"))


def test_a_missed_night_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "missed", lambda: "missed")
    monkeypatch.setattr(module, "run_night", lambda *_: pytest.fail("ran"))
    assert module.run_nightly.fn(["plant"]) == "missed"


def test_a_night_saves_its_own_stages_for_other_pipelines_may_never_have_run(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(night, "call", lambda *command: commands.append(command))
    monkeypatch.setattr(night, "newest", lambda *_: {"night": "2026-01-02"})
    monkeypatch.setattr(night, "_lines", lambda *_: [])  # no remote
    monkeypatch.setattr(night, "get_run_logger", lambda: logging.getLogger())
    night.save_night.fn("sleep")
    (command,) = commands
    steps = ("ingest", "window", "features", "train", "export", "benchmark")
    assert command[3:] == (
        "exp", "save", "--force", "--name", "night-2026-01-02-sleep", "--message", "night of sleep, 2026-01-02",
        *(f"{step}@sleep" for step in steps),
    )  # fmt: skip
