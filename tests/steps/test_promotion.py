"""Promotion: never without every criterion, the same whichever way round, and each asset's trouble is its own."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foresense.config import WindowConfig
from foresense.models import load_model
from foresense.registry import open_registry
from foresense.signals import Gate, Layout, Scaler, open_windows, read_json, write_json
from foresense.steps.comparison import Comparison, Difference, OpenVersion, PromotionRule, compare, open_version
from foresense.steps.decision import EdgeVerdict, decide
from foresense.steps.promotion import promote_fleet
from foresense.steps.versions import build_version, trained_until_s, training_rows
from foresense.windows import build_windows, write_windows

RULE = PromotionRule()


@pytest.fixture
def project(layout: Layout, mlflow_store: Path, nights: ModuleType) -> Layout:
    (layout.root / "params.yaml").write_text(nights.PARAMS)
    return layout


def comparison(*, n: int = 400, block: int = 12, champion: Difference | None, naive: Difference | None) -> Comparison:
    return Comparison(
        asset="a", starts=np.arange(n), n_left_out=0, cut_s=0, span_s=(1, 2), block=block, errors={}, forecasts={},
        mae={}, against_champion=champion, against_naive=naive,
    )  # fmt: skip


@st.composite
def differences(draw: st.DrawFn, rival: str) -> Difference | None:
    relative = draw(st.sampled_from([-0.5, -0.01, -0.0099, 0.0, 0.3, float("nan")]))
    interval = draw(st.sampled_from([None, (-2.0, -0.1), (-2.0, 0.0), (-1.0, 1.0), (float("nan"), float("nan"))]))
    return draw(st.sampled_from([None, Difference(rival, relative, relative, interval)]))


@given(
    n=st.sampled_from([0, 143, 144, 400]),
    champion=differences("champion"),
    naive=differences("naive"),
    passed=st.lists(st.booleans(), max_size=3),
    problem=st.sampled_from([None, "not exported"]),
    has_champion=st.booleans(),
    same_signature=st.booleans(),
    was_rolled_back=st.booleans(),
)
def test_promotion_needs_every_criterion(
    n: int, champion: Any, naive: Any, passed: list[bool], problem: str | None, has_champion: bool,
    same_signature: bool, was_rolled_back: bool,
) -> None:  # fmt: skip
    gates = tuple(Gate.judge(f"g{k}", 1.0, "1", at_most=2.0 if ok else 0.5) for k, ok in enumerate(passed))
    decision = decide(
        comparison(n=n, champion=champion, naive=naive),
        EdgeVerdict(gates, problem),
        has_champion=has_champion,
        same_signature=same_signature,
        was_rolled_back=was_rolled_back,
    )

    def is_below(one: Difference | None, margin: float) -> bool:
        return one is not None and one.interval in [(-2.0, -0.1)] and one.relative in [-0.5, -0.01] and margin <= 0.01

    expected = (
        n >= 144
        and (not has_champion or is_below(champion, RULE.margin))
        and (naive is not None and naive.mse < 0)  # of the naive forecast no interval is asked
        and all(passed)
        and problem is None
        and same_signature
        and not was_rolled_back
    )
    assert decision.promotes == expected
    assert decision.promotes == all(one.passed for one in decision.criteria)
    assert len(decision.criteria) == 6 + len(passed)


def test_one_failed_criterion_refuses_and_is_named() -> None:
    good = Difference("champion", -0.1, -0.1, (-0.2, -0.05))
    whole: dict[str, Any] = {"has_champion": True, "same_signature": True}
    edge = EdgeVerdict((Gate.judge("size_mib", 0.5, "MiB", at_most=1.0),))
    assert decide(comparison(champion=good, naive=good), edge, **whole).promotes
    too_big = EdgeVerdict((Gate.judge("size_mib", 1.2, "MiB", at_most=1.0),))
    broken = {
        "enough untouched windows": (comparison(n=143, champion=good, naive=good), edge, whole),
        "better than the champion": (comparison(champion=None, naive=good), edge, whole),
        "better than seasonal naive": (comparison(champion=good, naive=replace(good, mse=0.001)), edge, whole),
        "measured on the edge": (comparison(champion=good, naive=good), EdgeVerdict(problem="no export"), whole),
        "gate size_mib": (comparison(champion=good, naive=good), too_big, whole),
        "signature unchanged": (comparison(champion=good, naive=good), edge, {**whole, "same_signature": False}),
        "not rolled back": (comparison(champion=good, naive=good), edge, {**whole, "was_rolled_back": True}),
    }  # fmt: skip
    for name, (found, verdict, named) in broken.items():
        decision = decide(found, verdict, **named)
        assert [one.name for one in decision.criteria if not one.passed] == [name]
        assert f"1 of {len(decision.criteria)} criteria failed: {name} (" in decision.reason


def test_a_long_reason_is_the_names_alone() -> None:
    edge = EdgeVerdict(problem="x" * 2000)
    decision = decide(comparison(champion=None, naive=None), edge, has_champion=False, same_signature=True)
    assert decision.reason == "2 of 6 criteria failed: better than seasonal naive; measured on the edge"


def versions(project: Layout, nights: ModuleType, *noises: float) -> tuple[Any, list[OpenVersion]]:
    (windows,) = nights.windowed(project)
    opened = []
    for number, noise in enumerate(noises):
        nights.trained(project, windows, noise=noise)
        folder = build_version(project, nights.PIPELINE, nights.ASSET)
        opened.append(open_version(folder.rename(folder.with_name(f"version-{number}"))))
    return windows, opened


def test_a_comparison_is_what_train_measures_and_swapping_flips_the_sign(project: Layout, nights: ModuleType) -> None:
    windows, (good, worse) = versions(project, nights, 0.0, 0.02)
    found = compare(good, worse, windows)
    assert (len(found.starts), found.n_left_out, found.block) == (229, 0, 12)
    for name, version in (("champion", good), ("challenger", worse)):
        expected = read_json(version.folder / "evaluation.json")["test"]["mse"]
        assert found.errors[name].mean() == pytest.approx(expected, rel=1e-4)
    assert found.cut_s == trained_until_s(windows) == good.manifest.trained_until_s
    first, last = windows.row_times_s[windows.starts["test"][0] + windows.context], windows.row_times_s[-1]
    assert found.span_s == (first, last)
    assert first - found.cut_s == windows.interval_s

    back = compare(worse, good, windows)
    assert found.against_champion is not None
    assert back.against_champion is not None
    assert found.against_champion.mse == -back.against_champion.mse > 0
    assert found.against_champion.interval is not None
    assert back.against_champion.interval is not None
    assert found.against_champion.interval[0] == pytest.approx(-back.against_champion.interval[1], rel=1e-9)
    edge = EdgeVerdict()
    assert decide(back, edge, has_champion=True, same_signature=True).promotes
    assert not decide(found, edge, has_champion=True, same_signature=True).promotes

    same = compare(good, good, windows)
    assert same.against_champion == Difference("champion", 0.0, 0.0, (0.0, 0.0))
    refused = decide(same, edge, has_champion=True, same_signature=True)
    assert [one.name for one in refused.criteria if not one.passed] == ["better than the champion"]


def test_each_version_forecasts_in_its_own_scaler(project: Layout, nights: ModuleType) -> None:
    windows, (one, other) = versions(project, nights, 0.0, 0.02)
    shift, scale = np.array([50.0, 10.0]), np.array([7.0, 2.0])
    Scaler("standard", windows.channels, shift, scale, shift).write(other.folder / "scaler.json")
    from foresense.registry import seal_version

    seal_version(other.folder, pipeline="plant", asset="lathe-1", data_sha256="ab", trained_until_s=0)
    found = compare(open_version(other.folder), one, windows)

    batch = windows.gather(windows.starts["test"]).astype(np.float64)
    physical = batch * windows.scaler.scale + windows.scaler.shift
    with torch.no_grad():
        inputs = torch.from_numpy((physical[:, : windows.context] - shift) / scale).float()
        forecast = load_model(other.folder / "model")(inputs).double().numpy() * scale + shift
    missed = (forecast - physical[:, windows.context :]) / windows.scaler.scale
    np.testing.assert_allclose(found.errors["champion"], (missed**2).mean(1), rtol=1e-6)
    assert found.mae["champion"]["current"] == pytest.approx(
        np.abs(forecast - physical[:, windows.context :])[..., 1].mean(), rel=1e-6
    )


def test_windows_that_a_version_was_trained_on_are_left_out(project: Layout, nights: ModuleType) -> None:
    windows, (champion, challenger) = versions(project, nights, 0.02, 0.0)
    starts = windows.starts["test"]
    cut = int(windows.row_times_s[starts[100] + windows.context])
    later = replace(champion, manifest=replace(champion.manifest, trained_until_s=cut))
    found = compare(later, challenger, windows)
    assert (len(found.starts), found.n_left_out) == (len(starts) - 101, 101)
    assert found.span_s is not None
    assert found.span_s[0] > cut

    newest = replace(champion, manifest=replace(champion.manifest, trained_until_s=int(windows.row_times_s[-1])))
    nothing = compare(newest, challenger, windows)
    decision = decide(nothing, EdgeVerdict(), has_champion=True, same_signature=True)
    assert not decision.promotes
    assert "0 windows, 229 of the test part left out as not younger" in decision.reason


def test_a_champion_of_other_channels_is_not_compared_and_nothing_is_promoted(
    project: Layout, nights: ModuleType
) -> None:
    windows, (champion, challenger) = versions(project, nights, 0.02, 0.0)
    other = replace(champion, windowing={**champion.windowing, "units": ["Cel", "mA"]})
    found = compare(other, challenger, windows)
    assert found.against_champion is None
    assert not decide(found, EdgeVerdict(), has_champion=True, same_signature=False).promotes
    with pytest.raises(
        ValueError, match=r"not of the windows of 'lathe-1' \(units: \['Cel', 'A'\] expected, \['Cel', 'mA"
    ):
        compare(None, other, windows)


def test_what_is_not_a_number_and_a_season_too_long_are_errors(project: Layout, nights: ModuleType) -> None:
    windows, (one,) = versions(project, nights, 0.0)
    with pytest.raises(ValueError, match=r"none of \[168\] fits into a context of 48 samples"):
        compare(None, one, windows, seasons=(168,))
    broken = replace(one, forecast=lambda context, starts: np.full((len(context), 12, 2), np.nan))
    with pytest.raises(ValueError, match="the challenger forecasts what is not a number"):
        compare(None, broken, windows)


@pytest.mark.parametrize("tails", ["normal", "t3"])
def test_equally_good_versions_are_rarely_called_different(tails: str) -> None:
    """The size of the test, with the least number of blocks: errors of overlapping windows are moving sums."""
    from foresense.evaluate import block_bootstrap

    rng, block, n_trials, called = np.random.default_rng(11), 12, 600, 0
    n = RULE.min_blocks * block
    for _ in range(n_trials):
        noise = rng.standard_normal(n + block - 1) if tails == "normal" else rng.standard_t(3, n + block - 1)
        paired = np.convolve(noise, np.ones(block) / block, "valid")
        called += block_bootstrap(paired, block=block, rng=rng, level=RULE.level, n_resamples=1000)[1] < 0
    assert called / n_trials < 0.07  # 4 % in 3000 trials, see PromotionRule


def test_a_version_is_a_function_of_what_lies_on_disk(project: Layout, nights: ModuleType) -> None:
    (windows,) = nights.windowed(project)
    nights.trained(project, windows)
    first = {path.name: path.read_bytes() for path in build_version(project, "plant", "lathe-1").rglob("*.json")}
    assert first == {
        path.name: path.read_bytes() for path in build_version(project, "plant", "lathe-1").rglob("*.json")
    }
    samples, times_s = training_rows(windows)
    measured = nights.recording().samples[: len(samples)]
    assert len(samples) == int(0.7 * nights.N_ROWS)
    np.testing.assert_allclose(samples, measured, atol=1e-4)
    assert times_s[0] == nights.START.timestamp()
    with pytest.raises(FileNotFoundError, match="run `foresense window plant` first"):
        build_version(project, "plant", "mill-9")


def test_a_group_of_several_machines_has_a_drift_reference_of_each(project: Layout, nights: ModuleType) -> None:
    made = nights.recording("a", seed=0), nights.recording("b/2", seed=1)
    config = WindowConfig(context=nights.CONTEXT, horizon=nights.HORIZON, group="all")
    windows, _ = build_windows("all", list(made), config)
    folder = project.of("plant").windows
    write_windows(folder / "all", windows)
    write_json(folder / "manifest.json", {"groups": ["all"], "recordings_sha256": "ab" * 32})
    nights.trained(project, windows)
    built = build_version(project, "plant", "all")
    assert sorted(path.name for path in built.glob("reference*")) == ["reference-a.json", "reference-b~2f2.json"]
    samples, times_s = training_rows(windows, 1)
    np.testing.assert_allclose(samples, made[1].samples[: len(samples)], atol=1e-4)
    assert (np.diff(times_s) > 0).all()
    assert compare(None, open_version(built), windows).n_left_out == 0


def statuses(project: Layout, night: str) -> dict[str, str]:
    content = read_json(project.root / "nights" / "plant" / night / "decisions.json")
    return {one["asset"]: one["status"] for one in content["assets"]}


@pytest.mark.slow
def test_nights_promote_refuse_and_leave_evidence(project: Layout, nights: ModuleType) -> None:
    nights.night(project, noise=0.01)
    (first,) = promote_fleet(project, "plant", "2026-03-01")
    assert (first.status, first.challenger, first.champion) == ("promoted", 1, None), first.reason
    (same,) = promote_fleet(project, "plant", "2026-03-02")
    assert (same.status, same.champion) == ("unchanged", 1)

    nights.night(project, nights.N_ROWS + 24, noise=0.0)
    (better,) = promote_fleet(project, "plant", "2026-03-03")
    assert (better.status, better.challenger, better.champion) == ("promoted", 2, 1), better.reason
    assert "against champion, difference -" in better.reason

    nights.night(project, nights.N_ROWS + 48, noise=0.03)
    (worse,) = promote_fleet(project, "plant", "2026-03-04")
    assert (worse.status, worse.challenger, worse.champion) == ("refused", 3, 2), worse.reason

    registry = open_registry(project, "plant")
    champion, challenger = registry.champion("lathe-1"), registry.challenger("lathe-1")
    assert champion is not None
    assert challenger is not None
    assert (champion.number, challenger.number, challenger.night) == (2, 3, "2026-03-04")
    history = [(event.kind, event.who, event.night, event.to_version) for event in registry.history("lathe-1")]
    assert history == [
        ("promotion", "night", "2026-03-01", 1),
        ("promotion", "night", "2026-03-03", 2),
        ("refusal", "night", "2026-03-04", 3),
    ]
    assert worse.evidence == "nights/plant/2026-03-04/evidence/lathe-1"
    content = read_json(project.root / worse.evidence / "evidence.json")
    assert content["promotes"] is False
    assert content["champion"]["sha256"] == champion.sha256
    assert content["mse"]["challenger"] > content["mse"]["champion"]
    page = (project.root / worse.evidence / "evidence.html").read_text()
    assert page.index("NOT PROMOTED") < page.index("Criteria") < page.index("data:image/png;base64,")
    assert "http" not in page.replace("</html>", "")
    kept = registry.client.list_artifacts(challenger.run_id, "evidence/2026-03-04")
    assert sorted(Path(file.path).name for file in kept) == ["evidence.html", "evidence.json"]

    (again,) = promote_fleet(project, "plant", "2026-03-04")
    assert replace(again, seconds=0.0) == replace(worse, seconds=0.0)
    assert len(registry.history("lathe-1")) == 3

    registry.rollback("lathe-1", who="ada", reason="alarms")
    nights.night(project, nights.N_ROWS + 24, noise=0.0)
    (back,) = promote_fleet(project, "plant", "2026-03-05")
    assert (back.status, back.challenger) == ("refused", 2)
    assert "not rolled back (a person took this version back)" in back.reason


@pytest.mark.slow
def test_a_night_that_dies_after_its_evidence_is_finished_by_the_next_start(
    project: Layout, nights: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights.night(project)

    def dies(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("foresense.registry.store.Registry.attach", dies)
        with pytest.raises(KeyboardInterrupt):
            promote_fleet(project, "plant", "2026-03-01")
    evidence = project.root / "nights" / "plant" / "2026-03-01" / "evidence" / "lathe-1" / "evidence.json"
    written = evidence.read_bytes()
    monkeypatch.setattr("foresense.steps.promotion.compare", dies)  # nothing is measured twice
    (found,) = promote_fleet(project, "plant", "2026-03-01")
    assert found.status == "promoted"
    assert evidence.read_bytes() == written
    assert len(open_registry(project, "plant").history("lathe-1")) == 1


@pytest.mark.slow
def test_one_asset_with_trouble_does_not_stop_the_others(project: Layout, nights: ModuleType) -> None:
    made = nights.windowed(project, "lathe-1", "mill-2", "press-3", "robot-4")
    for windows in (made[0], made[1], made[3]):
        nights.trained(project, windows)
    nights.measured(project, "lathe-1", "mill-2", "robot-4")
    weights = project.of("plant").models / "mill-2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    nights.trained(
        project, open_windows(project.of("plant").windows / "robot-4"), noise=1e-6
    )  # other weights than exported
    told = []
    promote_fleet(project, "plant", "2026-03-01", tell=told.append)
    assert statuses(project, "2026-03-01") == {
        "lathe-1": "promoted", "mill-2": "failed", "press-3": "skipped", "robot-4": "refused",
    }  # fmt: skip
    reasons = {one.asset: one.reason for one in told}
    assert reasons["mill-2"].startswith("SafetensorError: ")
    assert reasons["press-3"] == "no model was trained for it"
    assert "measured on the edge (other weights were exported; run `foresense export plant`" in reasons["robot-4"]
    assert json.dumps(reasons)


@pytest.mark.slow
def test_a_night_judged_again_believes_the_benchmark_of_now_and_no_other(project: Layout, nights: ModuleType) -> None:
    nights.night(project)
    reports = project.of("plant").reports
    benchmark = (reports / "benchmark.json").read_text()
    (reports / "benchmark.json").write_text(benchmark.replace('"ab"', '"cd"'))
    (other,) = promote_fleet(project, "plant", "2026-03-01")
    assert other.status == "refused"
    assert "another file was measured; run `foresense benchmark plant`" in other.reason

    (reports / "benchmark.json").write_text(benchmark)
    (mended,) = promote_fleet(project, "plant", "2026-03-01")
    assert (mended.status, mended.challenger) == ("promoted", 1), mended.reason


@pytest.mark.slow
def test_a_night_that_runs_again_after_a_rollback_does_not_say_promoted(project: Layout, nights: ModuleType) -> None:
    nights.night(project, noise=0.01)
    promote_fleet(project, "plant", "2026-03-01")
    nights.night(project, nights.N_ROWS + 24)
    (better,) = promote_fleet(project, "plant", "2026-03-02")
    assert better.status == "promoted", better.reason
    registry = open_registry(project, "plant")
    registry.rollback("lathe-1", who="me", reason="the operators see nonsense")
    (again,) = promote_fleet(project, "plant", "2026-03-02")
    assert (again.status, again.champion) == ("unchanged", 1)
    assert again.reason == "version 2 was promoted this night, and taken back since"


@pytest.mark.slow
def test_too_little_history_for_a_drift_reference_keeps_nobody_from_a_champion(
    project: Layout, nights: ModuleType
) -> None:
    nights.night(project, 1100)  # 770 hours of training rows, a reference takes 816
    assert not list(build_version(project, "plant", "lathe-1").glob("reference*"))
    (first,) = promote_fleet(project, "plant", "2026-03-01")
    assert first.status in ("promoted", "refused")
    assert first.challenger == 1
