import hashlib
import io
from dataclasses import replace

import pytest

from foresense.signals import write_bytes
from foresense.sources import SourceError
from foresense.sources.sets import SETS, RawFile, RawSet
from foresense.steps import fetch as steps_fetch
from foresense.steps.fetch import FetchError, fetch, fetch_set

_CONTENT = b"date,OT\n2016-07-01 00:00:00,30.5\n"
_SET = RawSet(
    name="oil",
    files=(
        RawFile(
            name="oil.csv",
            sha256=hashlib.sha256(_CONTENT).hexdigest(),
            n_bytes=len(_CONTENT),
            address="https://127.0.0.1:1/oil.csv",  # nothing listens on port 1
        ),
    ),
    source="a transformer",
    licence="CC BY-ND 4.0",
    citation="nobody",
)


@pytest.fixture
def local(tmp_path):
    folder = tmp_path / "sets"
    (folder / "oil").mkdir(parents=True)
    (folder / "oil" / "oil.csv").write_bytes(_CONTENT)
    return folder


def test_a_folder_on_this_machine_comes_first_and_a_second_call_has_nothing_to_do(local, tmp_path):
    raw = tmp_path / "raw"
    first = fetch_set(_SET, raw, local=str(local))
    assert (raw / "oil" / "oil.csv").read_bytes() == _CONTENT
    assert first.origin == str(local)
    assert "licence CC BY-ND 4.0" in str(first)
    assert fetch_set(_SET, raw, local=None).origin == "already there"


def test_a_wrong_digest_is_told_and_nothing_is_left(local, tmp_path):
    (local / "oil" / "oil.csv").write_bytes(_CONTENT + b"\n")
    wrong = hashlib.sha256(_CONTENT + b"\n").hexdigest()
    with pytest.raises(FetchError, match=f"expected SHA-256 {_SET.files[0].sha256} .* found {wrong}"):
        fetch_set(_SET, tmp_path / "raw", local=str(local))
    assert not (tmp_path / "raw").exists()


def test_a_set_is_complete_or_absent(local, tmp_path):
    second = replace(_SET.files[0], name="second.csv")
    with pytest.raises(FetchError, match=r"second.csv: not there \(FORESENSE_DATA is .*or unset FORESENSE_DATA"):
        fetch_set(replace(_SET, files=(_SET.files[0], second)), tmp_path / "raw", local=str(local))
    assert not (tmp_path / "raw").exists()


def test_an_altered_file_is_not_overwritten(local, tmp_path):
    path = tmp_path / "raw" / "oil" / "oil.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(SourceError, match=f"expected SHA-256 {_SET.files[0].sha256}, found .* remove it and fetch"):
        fetch_set(_SET, tmp_path / "raw", local=str(local))
    assert path.read_bytes() == b"mine"


def test_without_a_network_it_says_what_to_set(tmp_path):
    with pytest.raises(FetchError, match=r"could not be fetched .* set FORESENSE_DATA to a folder that holds oil/oil"):
        fetch_set(_SET, tmp_path / "raw", local=None)
    assert not (tmp_path / "raw").exists()


def test_the_public_address_is_asked_with_a_time_out(tmp_path, monkeypatch):
    asked = []

    def answer(address, *, timeout):
        asked.append((address, timeout))
        return io.BytesIO(_CONTENT)

    monkeypatch.setattr(steps_fetch, "urlopen", answer)
    assert fetch_set(_SET, tmp_path / "raw", local=None).origin == "public address"
    assert (tmp_path / "raw" / "oil" / "oil.csv").read_bytes() == _CONTENT
    assert asked == [("https://127.0.0.1:1/oil.csv", 30.0)]


def test_only_https_is_fetched(tmp_path):
    plain = replace(_SET, files=(replace(_SET.files[0], address="http://127.0.0.1:1/oil.csv"),))
    with pytest.raises(FetchError, match="only https"):
        fetch_set(plain, tmp_path / "raw", local=None)


def test_an_unknown_set_is_named_with_the_nearest(tmp_path):
    with pytest.raises(SourceError, match=r"no public data set 'et'; did you mean 'ett'\?.*data/raw/et/"):
        fetch("et", tmp_path)


def test_every_known_set_is_stated_completely():
    for name, known in SETS.items():
        assert known.name == name
        assert known.licence
        assert known.source
        assert known.files
        for file in known.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.address.startswith("https://")
            assert file.address.endswith(f"/{file.name}")


def test_the_real_set_is_the_declared_one(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("FORESENSE_DATA", str(real_data))
    result = fetch("ett", tmp_path)
    assert result.files == ("ETTh1.csv",)
    assert (tmp_path / "ett" / "ETTh1.csv").stat().st_size == SETS["ett"].files[0].n_bytes


def test_a_set_that_was_being_written_when_its_process_died_is_not_there(local, tmp_path, monkeypatch):
    """Half a set would be read as a whole one: `foresense run` fetches where there is no folder."""

    def dies(path, content):
        if any((tmp_path / "raw").rglob("a.csv")):
            raise KeyboardInterrupt
        write_bytes(path, content)

    contents = {"a.csv": b"1\n", "b.csv": b"2\n"}
    folder = tmp_path / "local" / "two"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = tuple(RawFile(name, hashlib.sha256(c).hexdigest(), len(c), "https://x/") for name, c in contents.items())
    wanted = replace(next(iter(SETS.values())), name="two", files=files)
    with monkeypatch.context() as patch:
        patch.setattr(steps_fetch, "write_bytes", dies)
        with pytest.raises(KeyboardInterrupt):
            fetch_set(wanted, tmp_path / "raw", local=str(tmp_path / "local"))
    assert not (tmp_path / "raw" / "two").exists()
    fetch_set(wanted, tmp_path / "raw", local=str(tmp_path / "local"))
    assert sorted(path.name for path in (tmp_path / "raw" / "two").iterdir()) == ["a.csv", "b.csv"]
