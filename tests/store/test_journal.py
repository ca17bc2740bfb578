"""The journal keeps whole records, in order, and nothing else."""

import errno
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlsweep.errors import ResultsError
from tlsweep.store import Journal, read_journal

RECORDS = [
    {"type": "report", "epoch": at, "val_loss": float("nan") if at == 2 else at / 7, "é": "\n"} for at in range(5)
]


def write(path: Path, *records: dict[str, object]) -> None:
    journal = Journal(path)
    journal.append(*records)
    journal.close()


def test_what_was_appended_is_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, *RECORDS[:2])
    write(path, *RECORDS[2:])
    assert repr(list(read_journal(path))) == repr(RECORDS)


def test_numpy_numbers_are_written_as_numbers(tmp_path: Path) -> None:
    write(tmp_path / "j", {"x": np.float32(0.5), "n": np.int64(3)})
    assert list(read_journal(tmp_path / "j")) == [{"x": 0.5, "n": 3}]
    with pytest.raises(TypeError, match="cannot be written"):
        write(tmp_path / "j", {"x": object()})


def test_no_journal_has_no_records(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path / "none")) == []


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 400), extra=st.binary(max_size=20))
def test_a_torn_end_costs_only_the_last_record_and_writing_goes_on(
    tmp_path_factory: pytest.TempPathFactory, cut: int, extra: bytes
) -> None:
    path = tmp_path_factory.mktemp("torn") / "journal.jsonl"
    write(path, *RECORDS)
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - cut)] + extra.replace(b"\n", b""))
    kept = list(read_journal(path))
    assert repr(kept) == repr(RECORDS[: len(kept)])
    assert sum(len(line) for line in data.splitlines(keepends=True)[: len(kept)]) <= max(0, len(data) - cut)
    write(path, {"type": "event"})
    assert repr(list(read_journal(path))) == repr([*kept, {"type": "event"}])


def test_a_full_disk_is_one_message_and_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write_some = tmp_path / "j", os.write
    journal = Journal(path)
    journal.append(*RECORDS[:2])

    def fill_up(file: int, data: bytes) -> int:
        if len(data) <= 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_some(file, data[:-5])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill_up)
        with pytest.raises(ResultsError, match=r"cannot write '.*/j': No space left on device; .*tlsweep resume"):
            journal.append(*RECORDS[2:4])
    journal.append(RECORDS[4])
    journal.close()
    assert repr(list(read_journal(path))) == repr([*RECORDS[:2], RECORDS[4]])


def test_after_a_kill_a_transaction_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, RECORDS[0])
    write(path, *RECORDS[1:4])
    write(path, RECORDS[4])
    data = path.read_bytes()
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        assert len(list(read_journal(path))) in (0, 1, 4, 5)


def test_a_flipped_bit_in_the_last_line_costs_that_line(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *RECORDS[:2])
    write(path, RECORDS[2])
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert repr(list(read_journal(path))) == repr(RECORDS[:2])


def test_a_line_that_is_damaged_before_the_end_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    """Cutting there would lose what was written after it."""
    path = tmp_path / "j"
    for record in RECORDS:
        write(path, record)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"report", b"rep0rt")
    path.write_bytes(b"".join(lines))
    message = r"is damaged in line 3, and whole lines follow; .*head -n 2 j > sound.jsonl"
    with pytest.raises(ResultsError, match=message):
        list(read_journal(path))
    with pytest.raises(ResultsError, match=message):
        Journal(path)
    assert path.read_bytes() == b"".join(lines)
    path.write_bytes(b"".join(lines[:2]))  # as the message says
    assert repr(list(read_journal(path))) == repr(RECORDS[:2])


def lines_of(tmp_path: Path, *, old: int = 0) -> list[bytes]:
    """A journal of five lines, the first `old` of them as an earlier version wrote them."""
    path = tmp_path / "j"
    for record in RECORDS[:old]:
        body = json.dumps(record, separators=(",", ":")).encode()
        with path.open("ab") as file:
            file.write(b"%08x %b\n" % (zlib.crc32(body), body))
    for record in RECORDS[old:]:
        write(path, record)
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("old", "order", "line"),
    [
        (0, [0, 1, 3, 4], 3),  # lost
        (0, [1, 2, 3, 4], 1),
        (0, [0, 1, 2, 2, 3, 4], 4),  # doubled
        (0, [0, 1, 2, 3, 4, 4], 6),
        (0, [0, 2, 1, 3, 4], 2),  # moved
        (0, [0, 1, 2, 3, 0, 4], 5),
        (2, [0, 1, 3, 4], 3),  # after lines of an earlier version
        (2, [0, 2, 3, 4], 2),
        (2, [0, 1, 2, 1, 3, 4], 4),
    ],
)
def test_a_line_that_was_lost_doubled_or_moved_is_noticed(
    tmp_path: Path, old: int, order: list[int], line: int
) -> None:
    lines, path = lines_of(tmp_path, old=old), tmp_path / "j"
    assert repr(list(read_journal(path))) == repr(RECORDS)
    damaged = b"".join(lines[at] for at in order)
    path.write_bytes(damaged)
    message = rf"damaged: line {line} does not follow .*one was lost, doubled or moved; .*head -n {line - 1} j > sound"
    with pytest.raises(ResultsError, match=message):
        list(read_journal(path))
    with pytest.raises(ResultsError, match=message):
        Journal(path)
    assert path.read_bytes() == damaged
    path.write_bytes(b"".join(damaged.splitlines(keepends=True)[: line - 1]))  # as the message says
    write(path, {"type": "event"})
    assert list(read_journal(path))[-1] == {"type": "event"}


def test_a_line_of_another_sweep_is_noticed(tmp_path: Path) -> None:
    lines, other = lines_of(tmp_path), tmp_path / "other"
    write(other, {"type": "event"})
    write(other, *RECORDS[2:4])
    (tmp_path / "j").write_bytes(b"".join([lines[0], other.read_bytes().splitlines(keepends=True)[1], *lines[2:]]))
    with pytest.raises(ResultsError, match="line 2 does not follow"):
        list(read_journal(tmp_path / "j"))
