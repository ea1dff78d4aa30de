import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from foresense.config import STEPS
from foresense.signals import Environment, Gate, read_report, write_json, write_report
from foresense.signals.reports import REPORTS, FeaturesReport, WindowReport

HEADER = {
    "pipeline": "oil",
    "profile": "full",
    "created_utc": "2026-11-21T03:00:00+00:00",
    "git_commit": "0" * 40,
    "git_dirty": False,
    "code_digest": "abc",
    "data_sha256": "0" * 64,
    "seed": 0,
    "duration_s": 1.5,
    "peak_rss_mib": 200.0,
    "environment": Environment(cpu="EPYC", threads=2, load_1min=0.1, versions={"numpy": "2.4"}),
}


@pytest.fixture
def report():
    gate = Gate.judge("size_mib", 4.7, "MiB", at_most=110)
    return WindowReport(step="window", groups={"ETTh1": {"windows": {"train": 3}}}, gates=[gate], **HEADER)


def test_there_is_one_report_for_every_step():
    assert tuple(REPORTS) == STEPS


def test_a_report_comes_back_as_written(tmp_path, report):
    path = write_report(tmp_path / "oil", report)
    assert path == tmp_path / "oil" / "window.json"
    assert read_report(tmp_path / "oil", WindowReport) == report


def test_a_report_that_is_not_there_says_which_command_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"features\.json: not there; run `foresense features oil` first"):
        read_report(tmp_path / "oil", FeaturesReport)


def test_a_report_of_another_version_is_refused(tmp_path, report):
    write_json(tmp_path / "oil" / "window.json", {**report.model_dump(mode="json"), "schema_version": 0})
    with pytest.raises(ValueError, match="report shape version 0, this program reads 1; run the step again"):
        read_report(tmp_path / "oil", WindowReport)


def test_a_report_cannot_be_changed(report):
    with pytest.raises(ValidationError, match="frozen"):
        report.seed = 1


@settings(deadline=None, max_examples=100)
@given(value=st.floats(-1e6, 1e6), target=st.floats(-1e6, 1e6))
def test_a_gate_passes_exactly_on_its_side_and_its_headroom_says_so(value, target):
    below = Gate.judge("mse", value, "1", at_most=target)
    above = Gate.judge("mse", value, "1", at_least=target)
    assert below.passed == (value <= target)
    assert above.passed == (value >= target)
    assert below.passed == (below.headroom >= 0)
    assert above.passed == (above.headroom >= 0)


@pytest.mark.parametrize("target", [110.0, 0.001, -3.0])
def test_a_mutant_a_fifth_over_its_limit_fails_by_a_fifth(target):
    gate = Gate.judge("size_mib", target + 0.2 * abs(target), "MiB", at_most=target)
    assert not gate.passed
    assert gate.headroom == pytest.approx(-0.2)


@pytest.mark.parametrize("bounds", [{}, {"at_most": 1.0, "at_least": 0.0}])
def test_a_gate_has_exactly_one_bound(bounds):
    with pytest.raises(ValueError, match="gate 'mse': give exactly one of at_most and at_least"):
        Gate.judge("mse", 0.5, "1", **bounds)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], r"window\.json: not valid JSON .*; the file was cut off"),
        (lambda _: b"[]", r"window\.json: expected a JSON object, found list"),
        (
            lambda whole: whole.replace(b'"seed"', b'"seat"'),
            r"window\.json: not a report of this step: seed missing or",
        ),
        (lambda whole: b"\xff" + whole, r"window\.json: not UTF-8 text"),
        (lambda _: b"[" * 100_000, r"window\.json: nested too deeply"),
    ],
)
def test_a_report_that_was_damaged_is_named(tmp_path, report, damage, message):
    path = write_report(tmp_path, report)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_report(tmp_path, type(report))
