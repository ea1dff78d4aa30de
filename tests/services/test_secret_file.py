import re
import stat
from pathlib import Path

import pytest

from foresense.services.secret_file import NAMES, ensure


def test_values_are_random_hexadecimal_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    one, two = tmp_path / "one" / ".env", tmp_path / "two" / ".env"
    assert ensure(one) == ensure(two) == NAMES
    assert stat.S_IMODE(one.stat().st_mode) == 0o600
    assert len(re.findall(r"^FORESENSE_\w+=[0-9a-f]{64}$", one.read_text(), re.MULTILINE)) == len(NAMES)
    assert not set(one.read_text().splitlines()[1:]) & set(two.read_text().splitlines()[1:])


def test_what_stands_there_stays_and_only_missing_names_are_added(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nFORESENSE_INFLUX_TOKEN=chosen by me\nFORESENSE_INFLUX_PASSWORD=\nOTHER=1")
    path.chmod(0o600)
    added = ensure(path)
    text = path.read_text()
    assert text.startswith("# mine\nFORESENSE_INFLUX_TOKEN=chosen by me\nFORESENSE_INFLUX_PASSWORD=\nOTHER=1\n")
    assert "FORESENSE_INFLUX_PASSWORD" in added
    assert "FORESENSE_INFLUX_TOKEN" not in added
    assert ensure(path) == ()
    assert path.read_text() == text


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("")
    path.chmod(0o644)
    with pytest.raises(
        PermissionError, match=r"\.env: holds passwords, and its mode 0644 lets others at it; run: chmod 600"
    ):
        ensure(path)
