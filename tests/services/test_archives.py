"""Tar files that somebody else has made."""

import io
import tarfile
from pathlib import Path

import pytest

from foresense.services import archives, backups
from foresense.signals import file_sha256


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for each in members:
            tar.addfile(each, io.BytesIO())
    return path


@pytest.mark.parametrize(
    ("found", "of_place", "of_volume"),
    [
        (member("data/a"), None, None),
        (member("data/a", tarfile.DIRTYPE), None, None),
        (member("/etc/passwd"), "leads out of its folder", "leads out of its folder"),
        (member("data/../../x"), "leads out of its folder", "leads out of its folder"),
        (member("elsewhere"), "is not below data/", None),
        (member("data/a", tarfile.SYMTYPE, "b"), "is a link", None),
        (member("data/a", tarfile.SYMTYPE, "../b"), "is a link", None),
        (member("data/a", tarfile.SYMTYPE, "../../b"), "is a link", "is a link to '../../b', out of its folder"),
        (member("data/a", tarfile.SYMTYPE, "/etc"), "is a link", "is a link to '/etc', out of its folder"),
        (member("data/a", tarfile.LNKTYPE, "data/b"), "is a link", None),
        (member("data/a", tarfile.LNKTYPE, "../b"), "is a link", "is a link to '../b', out of its folder"),
        (member("data/a", tarfile.FIFOTYPE), "is neither a file nor a folder", "is neither a file nor a folder"),
        (member("data/a", tarfile.CHRTYPE), "is neither a file nor a folder", "is neither a file nor a folder"),
    ],
)
def test_what_leads_out_is_refused(
    tmp_path: Path, found: tarfile.TarInfo, of_place: str | None, of_volume: str | None
) -> None:
    path = archive(tmp_path / "x.tar", found)
    for is_place, expected in ((True, of_place), (False, of_volume)):
        said = archives.fault_of_tar(path, is_place=is_place)
        assert said == (expected and f"{found.name!r} in it {expected}")


def test_what_is_no_tar_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"x" * 2000)
    assert "not a tar file" in (archives.fault_of_tar(path, is_place=True) or "")


def test_a_forged_backup_is_refused_before_anything_is_touched(foresense, tmp_path: Path, capsys) -> None:
    """Its digests are right: whoever can write the archive can write them, too."""
    folder = tmp_path / "forged"
    folder.mkdir()
    link, through = member("data/out", tarfile.SYMTYPE, str(tmp_path)), member("data/out/written")
    path = archive(folder / "store.tar", member("data", tarfile.DIRTYPE), link, through)
    part = backups.Part("store", "place", path.name, path.stat().st_size, file_sha256(path))
    backups.write_manifest(folder, tmp_path, [part])
    project = tmp_path / "project"
    project.mkdir()
    assert foresense(["restore", str(folder)], project) == 1
    assert "damaged, nothing was restored: store.tar: 'data/out' in it is a link" in capsys.readouterr().err
    assert list(project.iterdir()) == []
    assert not (tmp_path / "written").exists()


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("here")
    with pytest.raises(FileExistsError), archives.written(tmp_path / "a"):
        pass
    assert (tmp_path / "a").read_text() == "here"
