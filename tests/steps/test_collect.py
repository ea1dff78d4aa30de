"""`foresense gc` on a tiny repository: what goes, what never goes, and that it is told before."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from mlflow.entities import ViewType

from foresense.registry import RegistryError, open_registry, seal_version
from foresense.registry.collect import bytes_of, collectables, delete, find_needed
from foresense.registry.folder import PARTS
from foresense.registry.store import Registry, fetched_versions
from foresense.signals import Layout
from foresense.steps.collect import GIB, Budget, collect, measure, night_experiments

WEIGHT = 100_000  # bytes of a version's weights
NIGHTS = (1, 3, 5)  # of the repository's experiments


def make_version(layout: Layout, number: int, *, asset: str = "lathe-1") -> Path:
    folder = layout.root / "made" / f"{asset}-{number}"
    for name in (*PARTS, "reference.json"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}" * WEIGHT if name.endswith("safetensors") else "{}")
    seal_version(folder, pipeline="plant", asset=asset, data_sha256="ab" * 32, trained_until_s=number)
    return folder


@pytest.fixture
def registry(layout: Layout, mlflow_store: Path) -> Registry:
    """Six versions: 1 to 4 were champions in turn, 5 was refused against 4 and 6 is the challenger."""
    registry = open_registry(layout, "plant")
    for number in range(1, 7):
        registry.register(make_version(layout, number), night=f"2026-03-0{number}")
        if number <= 4:
            registry.promote("lathe-1", number, who="night", reason="better", night=f"2026-03-0{number}")
        elif number == 5:
            registry.refuse("lathe-1", number, who="night", reason="worse", night=f"2026-03-0{number}")
    return registry


def numbers(registry: Registry) -> list[int]:
    return [version.number for version in registry.versions("lathe-1")]


def gib(n_bytes: int) -> float:
    return n_bytes / GIB


@pytest.mark.slow
def test_within_the_budget_nothing_is_touched(registry: Registry, layout: Layout) -> None:
    told: list[str] = []
    assert collect(layout, Budget(keep_gib=1.0), dry_run=False, tell=told.append)
    assert told[-1] == "nothing to free"
    assert numbers(registry) == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_only_what_no_kept_version_names_goes_oldest_first_and_only_as_much_as_needed(
    registry: Registry, layout: Layout
) -> None:
    before = measure(layout).total
    told: list[str] = []
    held = collect(layout, Budget(gib(before - WEIGHT // 2), depth=1), dry_run=False, tell=told.append)
    # champion 4, one before it: 3; what their evidence names: 2; the challenger: 6. Of 1 and 5 the older one is enough.
    assert held
    assert numbers(registry) == [2, 3, 4, 5, 6]
    assert "version 1 of plant/lathe-1" in "\n".join(told)
    assert registry.history("lathe-1")[0].to_version == 1  # the history stays

    told.clear()
    assert not collect(layout, Budget(0.0, depth=1), dry_run=False, tell=told.append)
    assert numbers(registry) == [2, 3, 4, 6]
    assert "OVER THE BUDGET: all that is left is needed" in told[-1]
    for number in (2, 3, 4, 6):
        assert registry.fetch("lathe-1", number).is_dir()
    assert registry.rollback("lathe-1", who="ada", reason="alarms").to_version == 3
    with pytest.raises(RegistryError, match=r"no version 5 \(versions: 2, 3, 4, 6\)"):
        registry.fetch("lathe-1", 5)
    assert registry.register(make_version(layout, 5)).number == 7  # a number never names another version


@pytest.mark.slow
def test_a_dry_run_tells_the_same_and_deletes_nothing(registry: Registry, layout: Layout) -> None:
    before, told = measure(layout), []
    collect(layout, Budget(0.0, depth=1), dry_run=True, tell=told.append)
    assert measure(layout) == before
    assert [line for line in told if "version 1 of" in line or "version 5 of" in line]
    assert told[-1] == "dry run: nothing was deleted"
    really: list[str] = []
    collect(layout, Budget(0.0, depth=1), dry_run=False, tell=really.append)
    assert [line for line in really if " MiB  " in line] == [line for line in told if " MiB  " in line]


@pytest.mark.slow
def test_a_needed_version_cannot_be_deleted_and_fetched_copies_go_first(registry: Registry, layout: Layout) -> None:
    registry.fetch("lathe-1", 1)
    registry.fetch("lathe-1", 4)
    needed, free = find_needed(layout, depth=1)
    found = collectables(layout, registry.client, needed, free, keep_nights=14)
    assert found[0].label.startswith("fetched copy")
    assert [one.version.number for one in found if one.version] == [1, 5]
    (four,) = [version for version in registry.versions("lathe-1") if version.number == 4]
    forged = type(found[1])("version 4", 0, (), 0, four)
    with pytest.raises(ValueError, match="version 4 is needed and was not deleted"):
        delete(registry.client, needed, forged)
    delete(registry.client, needed, found[0])
    assert [path.name for path in fetched_versions(layout).iterdir()] == [four.sha256]


@pytest.mark.slow
def test_files_of_old_runs_go_and_their_numbers_stay(registry: Registry, layout: Layout) -> None:
    client, day_ms = registry.client, 24 * 3600 * 1000
    ids = []
    for age in (30, 20, 1):
        start = registry.client.get_run(registry.version("lathe-1", 6).run_id).info.start_time - age * day_ms
        run = client.create_run(registry.experiment_id, start_time=start, run_name=f"{age} days ago")
        client.log_metric(run.info.run_id, "mse", 0.5)
        client.log_text(run.info.run_id, "x" * WEIGHT, "plots/loss.txt")
        if age != 20:
            client.set_terminated(run.info.run_id)  # the one of 20 days ago still runs
        ids.append(run.info.run_id)
    collect(layout, Budget(0.0), dry_run=False, tell=lambda line: None)
    assert [len(client.list_artifacts(run)) for run in ids] == [0, 1, 1]
    assert client.get_run(ids[0]).data.metrics == {"mse": 0.5}
    assert len(client.search_runs([registry.experiment_id], run_view_type=ViewType.ACTIVE_ONLY)) == 9


def ran(project: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def repository(registry: Registry, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git and DVC repository with data of a branch, a tag, three nights, an experiment of a person, and the work."""
    root = layout.root
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.com")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    dvc = (sys.executable, "-m", "dvc")
    ran(root, "git", "init", "-q", "-b", "main")
    (root / ".gitignore").write_text("/mlflow\n/made\n/.foresense\n")
    ran(root, *dvc, "init", "-q")
    (root / "dvc.yaml").write_text("stages:\n  make:\n    cmd: cp text data\n    deps: [text]\n    outs: [data]\n")

    def made(text: str) -> None:
        (root / "text").write_text(text * 1000)
        ran(root, *dvc, "repro", "-q")

    made("main")
    ran(root, "git", "add", "-A")
    ran(root, "git", "commit", "-qm", "main")
    ran(root, "git", "checkout", "-qb", "other")
    made("branch")
    ran(root, "git", "commit", "-qam", "branch")
    made("tag")
    ran(root, "git", "commit", "-qam", "tag")
    ran(root, "git", "tag", "v1")
    ran(root, "git", "reset", "-q", "--hard", "HEAD~1")
    ran(root, "git", "checkout", "-q", "main")
    for night in NIGHTS:
        made(f"night{night}")
        ran(root, *dvc, "exp", "save", "-q", "-f", "-n", f"night-2026-03-0{night}")
    made("mine")
    ran(root, *dvc, "exp", "save", "-q", "-f", "-n", "my-own")
    made("nobody")
    made("work")
    return root


def cached(root: Path) -> set[str]:
    """Texts that the cache holds as outputs (a repeated word: the word)."""
    files = [path for path in (root / ".dvc" / "cache" / "files").rglob("*") if path.is_file()]
    words = ("main", "branch", "tag", *(f"night{n}" for n in NIGHTS), "mine", "nobody", "work")
    return {word for path in files for word in words if path.read_text() == word * 1000}


@pytest.mark.slow
def test_dvc_keeps_branches_tags_the_work_kept_nights_and_nights_of_champions(
    repository: Path, layout: Layout, registry: Registry
) -> None:
    everything = {"main", "branch", "tag", "mine", "work", "nobody", *(f"night{n}" for n in NIGHTS)}
    assert cached(repository) == everything
    assert list(night_experiments(layout).values()) == [f"2026-03-0{n}" for n in NIGHTS]

    told: list[str] = []
    collect(layout, Budget(0.0, keep_nights=1, depth=1), dry_run=True, tell=told.append)
    assert cached(repository) == everything
    assert "dvc gc --workspace --all-branches --all-tags --all-experiments" in told
    assert any(line.endswith("while that is not enough: night-2026-03-01") for line in told), told

    # Night 5 is the newest; night 3 made the champion before the champion.
    collect(layout, Budget(0.0, keep_nights=1, depth=1), dry_run=False, tell=told.append)
    assert cached(repository) == everything - {"nobody", "night1"}
    assert ran(repository, "git", "status", "--porcelain", "--", "dvc.lock").strip() == "M dvc.lock"
    assert (repository / "data").read_text() == "work" * 1000
    assert "my-own" in ran(repository, "git", "for-each-ref", "refs/exps")


@pytest.mark.slow
def test_an_error_of_dvc_is_told_with_its_last_lines(layout: Layout) -> None:
    (layout.root / ".dvc").mkdir()
    (layout.root / ".dvc" / "config").write_text("[core\n")
    with pytest.raises(RuntimeError, match=r"`.*dvc cache dir` failed \(exit code \d+\)"):
        collect(layout, Budget(0.0), dry_run=True, tell=lambda line: None)


def test_bytes_of_a_folder_a_file_and_nothing(tmp_path: Path, nights: ModuleType) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"123")
    os.symlink(tmp_path / "a", tmp_path / "link")
    assert (bytes_of(tmp_path), bytes_of(tmp_path / "a"), bytes_of(tmp_path / "no")) == (8, 5, 0)
