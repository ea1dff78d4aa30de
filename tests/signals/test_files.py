import os
import subprocess

import pytest

from foresense.signals import file_sha256, read_json, replaced_folder, tree_sha256, write_bytes, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_comes_back_and_ends_in_a_line(tmp_path):
    content = {"unit": "°C", "values": [1, 2.5, None], "deep": {"is_good": True}}
    write_json(tmp_path / "a" / "b.json", content)
    assert read_json(tmp_path / "a" / "b.json") == content
    assert (tmp_path / "a" / "b.json").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_json_does_not_have(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "report.json", {"mse": value})
    assert not (tmp_path / "report.json").exists()


def test_a_file_that_was_cut_off_is_named(tmp_path):
    (tmp_path / "report.json").write_text('{"mse": ')
    with pytest.raises(ValueError, match=r"report\.json: not valid JSON .* cut off or edited by hand"):
        read_json(tmp_path / "report.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"unit": "\xb0C"}', "not UTF-8 text .* the file was damaged"),
        (b"[" * 100_000, "nested too deeply to be ours"),
    ],
)
def test_a_file_that_cannot_be_text_or_ours_is_named(tmp_path, content, said):
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"report\.json: {said}"):
        read_json(tmp_path / "report.json")


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "windows"
    with replaced_folder(folder) as beside:
        (beside / "old.npy").write_bytes(b"1")
    with replaced_folder(folder) as beside:
        (beside / "new.npy").write_bytes(b"2")
        assert (folder / "old.npy").exists()
    assert [path.name for path in folder.iterdir()] == ["new.npy"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_fails_half_way_leaves_the_old_one(tmp_path):
    folder = tmp_path / "windows"
    with replaced_folder(folder) as beside:
        (beside / "old.npy").write_bytes(b"1")
    with pytest.raises(RuntimeError, match="half way"):
        _fail_half_way(folder)
    assert [path.name for path in folder.iterdir()] == ["old.npy"]
    assert list(tmp_path.iterdir()) == [folder]


def _fail_half_way(folder):
    with replaced_folder(folder) as beside:
        (beside / "new.npy").write_bytes(b"2")
        raise RuntimeError("half way")


def test_digests_are_those_of_sha256sum(tmp_path):
    for name, content in (("b.txt", b"two"), ("a/c.txt", b"one"), ("a/a.txt", b"")):
        write_bytes(tmp_path / "tree" / name, content)
    sums = subprocess.run(
        ["sha256sum", "a/a.txt", "a/c.txt", "b.txt"], cwd=tmp_path / "tree", capture_output=True, check=True
    ).stdout
    write_bytes(tmp_path / "sums", sums)
    assert tree_sha256(tmp_path / "tree") == file_sha256(tmp_path / "sums")
    assert file_sha256(tmp_path / "tree" / "b.txt") == sums.decode().splitlines()[2].split()[0]


@pytest.mark.parametrize("change", ["content", "name", "more"])
def test_the_digest_of_a_tree_sees_every_change(tmp_path, change):
    write_bytes(tmp_path / "tree" / "a.txt", b"one")
    before = tree_sha256(tmp_path / "tree")
    if change == "content":
        write_bytes(tmp_path / "tree" / "a.txt", b"onf")
    elif change == "name":
        (tmp_path / "tree" / "a.txt").rename(tmp_path / "tree" / "b.txt")
    else:
        write_bytes(tmp_path / "tree" / "b.txt", b"")
    assert tree_sha256(tmp_path / "tree") != before


def test_an_empty_tree_has_no_digest(tmp_path):
    with pytest.raises(FileNotFoundError, match="no files there; run the step that writes it first"):
        tree_sha256(tmp_path)
