"""The artefact of each kind of pipeline through the registry: registered, judged, promoted, refused, taken back."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from foresense.__main__ import main
from foresense.export.verify import VerifyResult
from foresense.registry import VersionError, open_registry, verify_version
from foresense.signals import (
    BenchmarkReport,
    Environment,
    ExportReport,
    Gate,
    Layout,
    TrainReport,
    file_sha256,
    read_json,
    tree_sha256,
    write_json,
    write_report,
)
from foresense.steps.artefact_versions import build_artefact_version, read_shipped
from foresense.steps.night_page import write_page
from foresense.steps.promotion import AssetDecision, promote_fleet
from foresense.steps.verify import verify

ROOT = Path(__file__).parents[2]
NIGHT = "2026-03-01"
CHANNEL = {"name": "x", "unit": "g"}
#: Pipeline of each kind -> its group, its metric, what the manifest of its artefact says, what its report says.
KINDS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "activity": (
        "people",
        "macro_f1",
        {"kind": "activity", "channels": ["x"], "units": ["g"], "length": 8, "rate_hz": 20.0, "classes": ["a", "b"]},
        {"difference_to_best_rival": {"rival": "forest", "macro_f1": [0.1, 0.05, 0.2]}},
    ),
    "icu": (
        "recordings",
        "auroc",
        {
            "kind": "mixed", "predicts": "class", "target": {"name": "death"}, "classes": ["no", "yes"], "length": 8,
            "interval_s": 60.0, "has_time": False,
        },
        {"chosen_by": "auroc", "best_network_minus_best_rival": {"rival": "forest", "auroc": [0.1, 0.05, 0.2]}},
    ),
    "sleep": (
        "weeks",
        "auroc",
        {"kind": "weeks", "label": "condition", "output": "features", "known_answer": {"unit": "counts"}},
        {"chosen_by": "auroc", "best_network_minus_best_rival": {"rival": "forest", "auroc": [0.1, 0.05, 0.2]}},
    ),
    "thermal": (
        "clips",
        "auc",
        {
            "kind": "clips", "classes": ["normal", "hot"], "output": "p",
            "preparation": {"clip_shape": [40, 24], "rate_hz": None},
        },
        {"minus_best_rival": {"modules": {"rival": "forest", "auc": [0.1, 0.05, 0.2]}}},
    ),
}  # fmt: skip
HEADER: dict[str, Any] = {
    "profile": "full", "created_utc": "2026-03-01T00:00:00+00:00", "git_commit": "abc", "git_dirty": False,
    "code_digest": "0", "data_sha256": "ab" * 32, "seed": 0, "duration_s": 1.0, "peak_rss_mib": 1.0,
    "environment": Environment(cpu="x", threads=1, load_1min=0.0, versions={}),
}  # fmt: skip


def left(layout: Layout, pipeline: str, value: float, *, size_mib: float = 0.5, data: str = "d1") -> None:
    """What a pipeline leaves for promotion: windows, evaluation, artefact, reports; `value` stands for weights."""
    group, metric, manifest, compared = KINDS[pipeline]
    paths, weights, file = layout.of(pipeline), f"{value:064.8f}", f"file of {value}"
    write_json(paths.recordings / "manifest.json", {"kind": "conditions"})
    write_json(paths.windows / "manifest.json", {"groups": [group], "recordings_sha256": data})
    evaluation = {"model_sha256": weights, "test": {metric: value}, "windows_sha256": tree_sha256(paths.windows)}
    write_json(paths.models / group / "evaluation.json", evaluation)
    artefact = paths.exports / group
    shutil.rmtree(artefact, ignore_errors=True)
    artefact.mkdir(parents=True)
    (artefact / "net.onnx").write_text(file)
    write_json(artefact / "evaluation.json", evaluation)
    write_json(
        artefact / "schema.json",
        {"numeric": [CHANNEL], "categorical": [], "static_numeric": [], "static_categorical": [{"name": "sex"}]},
    )
    variant = {"file": "net.onnx", "sha256": file_sha256(artefact / "net.onnx"), "size_mib": size_mib}
    files = {path.name: file_sha256(path) for path in sorted(artefact.iterdir())}
    write_json(
        artefact / "manifest.json",
        {
            **manifest,
            "files": files,
            "model_sha256": weights,
            "data_sha256": data,
            "variants": {"onnx-float32": variant},
        },
    )
    (artefact / "manifest.json.sha256").write_text(f"{file_sha256(artefact / 'manifest.json')}  manifest.json\n")
    header = {"pipeline": pipeline, **HEADER}
    train = TrainReport(
        **header,
        step="train",
        model={"candidate": "network", "is_rival": False, "model_sha256": weights},
        windows={},
        test={metric: value},
        interval={metric: [value - 0.1, value + 0.1]},
        baselines={"forest": {metric: 0.6}},
        per_channel={},
        timing={},
        candidates={},
        groups={group: compared},
        beats_baselines=True,
        conclusion=f"{pipeline} went well",
    )
    write_report(paths.reports, train)
    groups = {group: {"onnx-float32": variant}}
    write_report(
        paths.reports,
        ExportReport(**header, step="export", variants={}, groups=groups, refused={}, models={group: weights}),
    )
    facts = {**variant, "quality": {metric: value}, "latency_ms": {"p50": 1.0, "p95": 2.0}, "peak_rss_mib": 50.0}
    write_report(
        paths.reports,
        BenchmarkReport(
            **header,
            step="benchmark",
            device="host",
            plan={},
            variants={"onnx-float32": facts},
            groups={group: {"onnx-float32": facts}},
            ships="onnx-float32",
            gates=[Gate.judge("size_mib", size_mib, "MiB", at_most=1.0)],
        ),
    )


@pytest.fixture
def project(layout: Layout, mlflow_store: Path) -> Layout:
    shutil.copy(ROOT / "params.yaml", layout.root / "params.yaml")
    return layout


def promoted(project: Layout, pipeline: str, night: str = NIGHT) -> AssetDecision:
    (decision,) = promote_fleet(project, pipeline, night)
    return decision


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", sorted(KINDS))
def test_each_kind_is_registered_promoted_fetched_and_shown(project: Layout, pipeline: str) -> None:
    group, metric, manifest, _ = KINDS[pipeline]
    left(project, pipeline, 0.8)
    if pipeline == "thermal":
        (project.of(pipeline).exports / "pi").mkdir()
        (project.of(pipeline).exports / "pi" / "device.tflite").write_text("for a device")
    decision = promoted(project, pipeline)
    assert (decision.asset, decision.status, decision.challenger, decision.champion) == (group, "promoted", 1, None)
    registry = open_registry(project, pipeline)
    folder = registry.fetch(group)
    found = verify_version(folder)
    assert (found.kind, found.trained_until_s, found.data_sha256) == ("artefact", None, "d1")
    assert (folder / "artefact" / "net.onnx").read_text() == "file of 0.8"
    assert (folder / "pi").is_dir() == (pipeline == "thermal")
    shipped = read_shipped(folder)
    assert (shipped.kind, shipped.headline.metric, shipped.headline.value) == (manifest["kind"], metric, 0.8)
    assert shipped.variant is not None
    assert shipped.variant["quality"] == {metric: 0.8}
    assert "file" not in shipped.signature
    page = write_page(project, pipeline).read_text()
    assert "Not watched: only pipelines that forecast" in page
    assert f"{pipeline} went well" in page
    evidence = (project.root / str(decision.evidence) / "evidence.html").read_text()
    assert evidence.index("PROMOTED") < evidence.index("gate size_mib") < evidence.index("1 / 2")


@pytest.mark.slow
def test_nights_promote_refuse_leave_and_a_person_goes_back(project: Layout) -> None:
    left(project, "sleep", 0.80)
    assert promoted(project, "sleep").status == "promoted"
    same = promoted(project, "sleep", "2026-03-02")
    assert (same.status, same.reason) == ("unchanged", "version 1 is the champion already; nothing new was trained")

    left(project, "sleep", 0.85)
    better = promoted(project, "sleep", "2026-03-03")
    assert (better.status, better.challenger, better.champion) == ("promoted", 2, 1), better.reason
    assert better.reason.startswith("AUROC 0.850 [0.750, 0.950] against AUROC 0.800 [0.700, 0.900]")

    left(project, "sleep", 0.83)
    worse = promoted(project, "sleep", "2026-03-04")
    assert (worse.status, worse.challenger, worse.champion) == ("refused", 3, 2), worse.reason
    content = read_json(project.root / str(worse.evidence) / "evidence.json")
    assert content["shipped"]["headline"]["value"] == 0.83
    assert content["shipped_by_champion"]["headline"]["value"] == 0.85
    assert [one["name"] for one in content["criteria"] if not one["passed"]] == ["better than the champion"]
    assert promoted(project, "sleep", "2026-03-04").reason == worse.reason  # a night that runs again

    left(project, "sleep", 0.85, size_mib=0.6)  # the champion's weights, exported anew
    again = promoted(project, "sleep", "2026-03-05")
    assert (again.status, again.challenger) == ("unchanged", 4)
    assert again.reason == "version 4 has the weights of version 2, the champion"

    registry = open_registry(project, "sleep")
    registry.rollback("weeks", who="ada", reason="nonsense on the wards")
    back = promoted(project, "sleep", "2026-03-06")  # other numbers of a version, but the weights that ada took back
    assert (back.status, back.challenger, back.champion) == ("refused", 4, 1)
    assert "not rolled back (a person took this version back)" in back.reason
    champion = registry.champion("weeks")
    assert champion is not None
    assert champion.number == 1


@pytest.mark.slow
def test_what_was_judged_on_other_data_is_refused_and_promoted_by_hand(
    project: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left(project, "sleep", 0.80)
    promoted(project, "sleep")
    left(project, "sleep", 0.95, data="d2")
    decision = promoted(project, "sleep", "2026-03-02")
    assert decision.status == "refused"
    assert "not comparable: the champion was judged on other data; promote by hand" in decision.reason

    def call(*words: str) -> str:
        monkeypatch.setenv("FORESENSE_PROJECT", str(project.root))
        monkeypatch.setattr(sys, "argv", ["foresense", *words])
        with pytest.raises(SystemExit) as left_with:
            main()
        shown = capsys.readouterr()
        assert not left_with.value.code, shown.err
        return shown.out

    assert "sleep/weeks: version 2 is the champion (before: 1)" in call("promote", "weeks", "--reason", "new people")
    assert "new people; OVERRULES: 1 of 6 criteria failed" in " ".join(call("versions", "weeks").split())
    fetched = Path(call("versions", "weeks", "--fetch", "champion").strip())
    assert (fetched / "artefact" / "net.onnx").read_text() == "file of 0.95"
    assert call("versions", "weeks", "--fetch", "1").strip() != str(fetched)
    assert "sleep/weeks: version 1 is the champion again (before: 2)" in call("rollback", "weeks", "--reason", "x")


@pytest.mark.slow
def test_a_failed_gate_and_a_missing_benchmark_refuse(project: Layout) -> None:
    left(project, "thermal", 0.8, size_mib=1.5)
    refused = promoted(project, "thermal")
    assert refused.status == "refused"
    assert refused.reason == "1 of 6 criteria failed: gate size_mib (1.5 MiB)"
    (project.of("thermal").reports / "benchmark.json").unlink()
    unmeasured = promoted(project, "thermal", "2026-03-02")
    assert unmeasured.status == "refused"
    assert "measured on the edge" in unmeasured.reason
    assert "run `foresense benchmark thermal` first" in unmeasured.reason
    assert open_registry(project, "thermal").champion("clips") is None


@pytest.mark.slow
def test_parts_of_two_trainings_are_not_judged(project: Layout) -> None:
    left(project, "activity", 0.8)
    evaluation = project.of("activity").models / "people" / "evaluation.json"
    write_json(evaluation, {**read_json(evaluation), "model_sha256": "ef" * 32})
    failed = promoted(project, "activity")
    assert failed.status == "failed"
    assert "exports/activity/people: of other weights (" in failed.reason
    assert "run `foresense run activity`, and judge it then" in failed.reason


def config_of(layout: Layout, pipeline: str) -> Any:
    from foresense.config import read_any

    shutil.copy(ROOT / "params.yaml", layout.root / "params.yaml")
    return read_any(layout.root / "params.yaml", pipeline)


def test_a_version_is_a_function_of_what_lies_on_disk_and_not_of_a_latency(layout: Layout) -> None:
    left(layout, "icu", 0.8)
    config = config_of(layout, "icu")
    first = tree_sha256(build_artefact_version(layout, "icu", "recordings", config))
    report = layout.of("icu").reports / "benchmark.json"
    report.write_text(report.read_text().replace('"p95": 2.0', '"p95": 3.0'))
    built = build_artefact_version(layout, "icu", "recordings", config)
    assert tree_sha256(built) == first
    assert read_shipped(built).signature["numeric"] == [["x", "g"]]
    assert read_shipped(built).signature["static_categorical"] == [["sex", None]]


def test_what_is_missing_is_said(layout: Layout) -> None:
    config = config_of(layout, "sleep")
    with pytest.raises(FileNotFoundError, match="run `foresense window sleep` first"):
        build_artefact_version(layout, "sleep", "weeks", config)
    left(layout, "sleep", 0.8)
    shutil.rmtree(layout.of("sleep").exports)
    with pytest.raises(FileNotFoundError, match="run `foresense export sleep` first"):
        build_artefact_version(layout, "sleep", "weeks", config)


def test_a_smoke_training_is_no_version(layout: Layout) -> None:
    left(layout, "sleep", 0.8)
    report = layout.of("sleep").reports / "train.json"
    report.write_text(report.read_text().replace('"profile": "full"', '"profile": "smoke"'))
    with pytest.raises(
        ValueError, match="trained in the profile 'smoke', only 'full' is judged; run `foresense run sl"
    ):
        build_artefact_version(layout, "sleep", "weeks", config_of(layout, "sleep"))


def test_an_artefact_that_changed_since_it_was_exported_or_measured_is_no_version(layout: Layout) -> None:
    left(layout, "sleep", 0.8)
    config, artefact = config_of(layout, "sleep"), layout.of("sleep").exports / "weeks"
    (artefact / "net.onnx").write_text("other")
    with pytest.raises(
        ValueError, match=r"net\.onnx: SHA-256 is .* it changed after its export; run `foresense export"
    ):
        build_artefact_version(layout, "sleep", "weeks", config)
    manifest = read_json(artefact / "manifest.json")
    manifest["files"]["net.onnx"] = file_sha256(artefact / "net.onnx")
    write_json(artefact / "manifest.json", manifest)
    with pytest.raises(ValueError, match="not the file that was measured; run `foresense benchmark sleep` again"):
        build_artefact_version(layout, "sleep", "weeks", config)


def test_a_version_that_was_altered_is_not_verified(layout: Layout) -> None:
    left(layout, "sleep", 0.8)
    built = build_artefact_version(layout, "sleep", "weeks", config_of(layout, "sleep"))
    found = verify(built)  # its files are right; this artefact is a stand-in, and that is seen one folder below
    assert found.n_files == len(verify_version(built).files)
    assert found.problems
    assert all(problem.startswith("artefact/") for problem in found.problems)
    (built / "artefact" / "net.onnx").write_text("other")
    (problem,) = verify(built).problems
    assert "artefact/net.onnx is altered" in problem
    (built / "artefact" / "manifest.json.sha256").unlink()
    with pytest.raises(VersionError, match=r"artefact/manifest\.json\.sha256 is missing; artefact/net\.onnx is alt"):
        verify_version(built)


def test_what_an_artefact_writes_while_it_runs_stays_out_of_its_version(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runs(folder: Path) -> VerifyResult:
        (folder / "__pycache__").mkdir()
        return VerifyResult(folder, 1, ("onnx-float32",), ("golden vectors differ",))

    left(layout, "activity", 0.8)
    built = build_artefact_version(layout, "activity", "people", config_of(layout, "activity"))
    before = tree_sha256(built)
    monkeypatch.setattr("foresense.steps.verify._verify_one", runs)
    found = verify(built)
    assert (found.artefact, found.variants) == (built, ("artefact/onnx-float32",))
    assert found.problems == ("artefact/golden vectors differ",)
    assert (tree_sha256(built), len(list(built.rglob("__pycache__")))) == (before, 0)


def test_a_version_of_an_unknown_kind_or_without_its_parts_is_refused(layout: Layout) -> None:
    left(layout, "sleep", 0.8)
    built = build_artefact_version(layout, "sleep", "weeks", config_of(layout, "sleep"))
    manifest = read_json(built / "manifest.json")
    write_json(built / "manifest.json", {**manifest, "kind": "painting"})
    with pytest.raises(VersionError, match="a version of the kind 'painting', this program knows forecast, artefact"):
        verify_version(built)
    write_json(built / "manifest.json", {**manifest, "kind": "forecast"})
    with pytest.raises(VersionError, match=r"missing: model/model\.safetensors, model/candidate\.json"):
        verify_version(built)
    (built / "shipped.json").unlink()
    with pytest.raises(VersionError, match=r"not a version of an artefact: it has no shipped\.json"):
        read_shipped(built)
