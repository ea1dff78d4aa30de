"""Dead letters: each refused message once, with its reason, readable, and none lost by a crash or a full disk."""

import base64
import json
from pathlib import Path

import pytest

from foresense.bridge import letters as module
from foresense.bridge.letters import Letter, Letters, LettersError


def letter(spool_id: int | None, payload: bytes = b"{}") -> Letter:
    return Letter("sensor/data", 1_750_000_000 * 10**9, payload, ["current: expected a number"], 1, spool_id)


def lines(folder: Path) -> list[dict[str, object]]:
    paths = [*sorted(folder.glob("dead-letters-*.jsonl")), folder / "dead-letters.jsonl"]
    return [json.loads(line) for path in paths if path.exists() for line in path.read_text().splitlines()]


def test_a_line_says_what_came_when_and_why(tmp_path: Path) -> None:
    found = Letters(tmp_path, spool_identity=7)
    found.write([letter(1, b'{"a": "\xc3\xa4"}'), letter(2, b"\xff\x00")])
    found.close()
    first, second = lines(tmp_path)
    assert first == {
        "received_utc": "2025-06-15T15:06:40+00:00", "topic": "sensor/data", "reason": "current: expected a number",
        "n_refused": 1, "spool": 7, "spool_id": 1, "payload": '{"a": "ä"}',
    }  # fmt: skip
    assert base64.b64decode(str(second["payload_base64"])) == b"\xff\x00"
    assert (found.n_letters, found.n_refused) == (2, 2)


def test_after_a_crash_a_message_is_not_written_twice_and_another_one_is_not_left_out(tmp_path: Path) -> None:
    found = Letters(tmp_path, spool_identity=7)
    found.write([letter(50)])
    found.close()
    again = Letters(tmp_path, spool_identity=7)
    again.write([letter(30), letter(50), letter(51)])
    again.write([letter(51)])
    again.close()
    assert [found["spool_id"] for found in lines(tmp_path)] == [50, 30, 51]


def test_ids_of_another_queue_mean_other_messages(tmp_path: Path) -> None:
    for identity in (7, 8):
        found = Letters(tmp_path, spool_identity=identity)
        found.write([letter(1)])
        found.close()
    assert [found["spool"] for found in lines(tmp_path)] == [7, 8]


def test_what_left_the_queue_is_forgotten(tmp_path: Path) -> None:
    found = Letters(tmp_path)
    found.write([letter(1), letter(2)])
    found.forget(1)
    assert found._known == {2}
    found.close()


def test_a_line_that_a_crash_cut_off_is_removed_and_written_again(tmp_path: Path) -> None:
    found = Letters(tmp_path)
    found.write([letter(1), letter(2)])
    found.close()
    whole = found.path.read_bytes()
    found.path.write_bytes(whole[:-20])
    again = Letters(tmp_path)
    again.write([letter(1), letter(2)])
    again.close()
    assert again.path.read_bytes() == whole


def test_a_full_file_is_kept_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "dead-letters-mine.jsonl").write_text("")
    found = Letters(tmp_path, max_mib=0.001)
    for number in range(40):
        found.write([letter(number, b"x" * 100)])
    found.close()
    assert len(list(tmp_path.glob("dead-letters-0*.jsonl"))) > 2
    assert sorted(str(found["spool_id"]) for found in lines(tmp_path)) == sorted(map(str, range(40)))


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Letters(tmp_path)
    found.write([letter(1)])
    before = found.path.read_bytes()

    def full(file, content: bytes) -> None:
        file.write(content[:30])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "_write_all", full)
        with pytest.raises(LettersError, match="No space left on device; make room, then it goes on by itself"):
            found.write([letter(2)])
    assert found.path.read_bytes() == before
    found.write([letter(2)])
    found.close()
    assert [found["spool_id"] for found in lines(tmp_path)] == [1, 2]


def test_a_disk_that_takes_a_part_is_asked_again(tmp_path: Path) -> None:
    class Slow:
        content = b""

        def write(self, part: memoryview) -> int:
            self.content += bytes(part[:3])
            return len(part[:3])

    slow = Slow()
    module._write_all(slow, b"0123456789")
    assert slow.content == b"0123456789"


def test_without_a_queue_every_letter_is_written(tmp_path: Path) -> None:
    found = Letters(tmp_path)
    found.write([letter(None), letter(None)])
    found.close()
    assert len(lines(tmp_path)) == 2


def test_lines_of_others_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "dead-letters.jsonl").write_text("not ours\n[1]\n")
    Letters(tmp_path).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(LettersError, match="cannot be written"):
        Letters(tmp_path / "file")
