from pathlib import Path

import pytest

from tools import arm


def row(name: str, verdict: str) -> dict:
    return {"name": name, "verdict": verdict, "detail": "why"}


@pytest.fixture
def emulated() -> dict:
    """What a smoke test on an emulated processor says when all that it can measure is well."""
    tests = ["runtime", "load thermal", "thermal inference", "memory", "numerical stability"]
    gates = ["int8 works", "latency", "memory", "smoke tests", "quality drop", "duration"]
    unmeasured = {"thermal inference", "memory", *gates[1:]}
    return {
        "machine": {"architecture": "aarch64"},
        "models": {"thermal": {}},
        "tests": [row(name, "NOT MEASURED" if name in unmeasured else "PASS") for name in tests],
        "gates": [row(name, "NOT MEASURED" if name in unmeasured else "PASS") for name in gates],
    }


def test_time_memory_and_quality_are_not_asked_of_an_emulated_processor(emulated: dict) -> None:
    assert arm.problems(emulated) == []


@pytest.mark.parametrize(
    ("kind", "number", "text"),
    [
        ("tests", 0, "test runtime: FAIL: why"),
        ("tests", 1, "test load thermal: FAIL: why"),
        ("tests", 4, "test numerical stability: FAIL: why"),
        ("gates", 0, "gate int8 works: FAIL: why"),
    ],
)
def test_everything_else_is(emulated: dict, kind: str, number: int, text: str) -> None:
    emulated[kind][number]["verdict"] = "FAIL"
    assert arm.problems(emulated) == [text]


def test_another_processor_proves_nothing_about_arm(emulated: dict) -> None:
    emulated["machine"]["architecture"] = "x86_64"
    assert arm.problems(emulated) == ["ran on x86_64, expected aarch64"]


def test_a_machine_that_cannot_says_everything_that_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(arm, "ROOT", tmp_path)
    monkeypatch.setattr(arm, "HANDLER", tmp_path / "absent")
    monkeypatch.setattr(arm, "BINFMT", tmp_path)
    monkeypatch.setattr(arm.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(arm.shutil, "which", lambda name, path: None)
    monkeypatch.setattr(arm.platform, "machine", lambda: "x86_64")
    assert arm.main([]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "cannot run on emulated ARM; missing here:",
        "  root, for chroot: run it in a container or virtual machine of your own",
        "  the Debian package debootstrap",
        "  the Debian package qemu-user-static",
        "  a Pi folder in exports/*/pi: run `foresense export thermal` first",
    ]


def test_a_command_that_fails_is_said_with_its_last_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def no_root(root: Path) -> None:
        arm._run("sh", "-c", "echo no such mirror >&2; exit 3")

    monkeypatch.setattr(arm, "missing", list)
    monkeypatch.setattr(arm, "register", lambda: None)
    monkeypatch.setattr(arm, "build_root", no_root)
    assert arm.main([str(tmp_path)]) == 1
    assert "failed with exit code 3:\nno such mirror" in capsys.readouterr().out


def test_a_half_built_root_is_no_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*words: str) -> None:
        Path(words[-1], "bin").mkdir(parents=True)
        raise arm.ArmError("interrupted")

    monkeypatch.setattr(arm, "_run", interrupted)
    for _ in range(2):
        with pytest.raises(arm.ArmError, match="interrupted"):
            arm.build_root(tmp_path / "arm64")
        assert not (tmp_path / "arm64").exists()
