"""The journal on object storage: what was confirmed is there, in order, and nothing of processes cut off."""

import threading
from pathlib import Path

import pytest
from command_line import wait_until
from s3_server import S3Server

from tlsweep.errors import ResultsError
from tlsweep.store import Location, ObjectPath, Record, object_journal, objects, open_journal, read_journal, stores
from tlsweep.store.object_journal import ObjectJournal

RECORDS: list[Record] = [{"type": "report", "epoch": at, "loss": float("nan") if at == 3 else at / 7, "é": "\n"}
                         for at in range(12)]  # fmt: skip


@pytest.fixture(params=["folder", "bucket"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """The location of a journal of either kind."""
    if request.param == "folder":
        return tmp_path / "journal.jsonl"
    found: ObjectPath = request.getfixturevalue("bucket")
    return found / "it" / "journal"


def write(location: Location, *records: Record, known: int = 0) -> None:
    """A launch that knows some records, and adds more."""
    writer = open_journal(location, None, known)
    for record in records:
        writer.append(record)
    writer.close()


def read(location: Location) -> list[str]:
    return [repr(one) for one in read_journal(location)]


def expected(*records: Record) -> list[str]:
    return [repr(one) for one in records]


def names(location: ObjectPath) -> list[str]:
    return sorted(location.files())


def test_each_launch_goes_on_behind_the_last_one(journal: Location) -> None:
    assert read(journal) == []
    write(journal, *RECORDS[:3])
    write(journal, known=3)
    writer = open_journal(journal, None, 3)
    writer.append(*RECORDS[3:6])  # one transaction
    writer.append(RECORDS[6])
    writer.flush()
    assert read(journal) == expected(*RECORDS[:7])  # while it is being written
    writer.close()
    write(journal, *RECORDS[7:], known=7)
    assert read(journal) == expected(*RECORDS)


def test_what_must_wait_is_done_when_everything_before_it_is_safe(journal: Location) -> None:
    writer, seen, done = open_journal(journal, None, 0), [], threading.Event()
    for at, record in enumerate(RECORDS[:5]):
        writer.append(record)
        writer.when_durable(lambda at=at: seen.append((at, len(read(journal)) > at)))  # type: ignore[misc]
    writer.when_durable(done.set)
    writer.flush()
    assert sorted(seen) == [(at, True) for at in range(5)]
    assert done.is_set()
    writer.when_durable(lambda: seen.append((5, True)))  # nothing to wait for
    writer.flush()
    writer.close()
    assert (5, True) in seen


def test_under_load_many_records_are_one_upload(bucket: ObjectPath) -> None:
    writer = ObjectJournal(bucket)
    for number in range(2000):
        writer.append({"number": number})
    writer.flush()
    uploads = len(names(bucket)) - 1
    writer.close()
    assert uploads < 200
    assert [one["number"] for one in read_journal(bucket)] == list(range(2000))


@pytest.fixture
def merged_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_journal, "MERGED", 4)


@pytest.mark.usefixtures("merged_early")
def test_uploads_are_merged_and_readers_never_miss_a_line(bucket: ObjectPath) -> None:
    writer, lengths, over = ObjectJournal(bucket), [0], threading.Event()

    def look() -> None:
        while not over.is_set():
            lengths.append(len(read(bucket)))

    reader = threading.Thread(target=look)
    reader.start()
    for record in RECORDS * 3:
        writer.append(record)
        writer.flush()
    over.set()
    reader.join()
    writer.append(RECORDS[0])
    writer.close()
    assert lengths == sorted(lengths)
    assert lengths[-1] > 0
    assert read(bucket) == expected(*RECORDS * 3, RECORDS[0])
    assert len(names(bucket)) <= 1 + 36 // 4 + 1
    assert not any("tail" in name for name in names(bucket)[:-1])


@pytest.mark.parametrize(("gone", "missing"), [((5, 9), 5), ((1,), 1), ((11,), 11)])
def test_a_part_that_is_gone_is_noticed_and_what_follows_can_be_given_up(
    bucket: ObjectPath, gone: tuple[int, ...], missing: int
) -> None:
    writer = ObjectJournal(bucket)
    for record in RECORDS:
        writer.append(record)
        writer.flush()
    for number in gone:
        (bucket / f"000001/tail-000000/{number:09d}-{number:09d}.jsonl").unlink()
    with pytest.raises(ResultsError, match=f"line {missing} is missing, and others follow; .* remove ") as refused:
        read(bucket)
    for name in str(refused.value).partition("remove ")[2].split(", "):
        (bucket / name).unlink()
    kept = RECORDS[: missing - 1]
    assert read(bucket) == expected(*kept)
    write(bucket, RECORDS[11], known=len(kept))
    assert read(bucket) == expected(*kept, RECORDS[11])
    assert {name.split("/")[0] for name in names(bucket)} == {"000002"}


def test_what_a_driver_still_writes_that_was_cut_off_counts_for_nothing(bucket: ObjectPath) -> None:
    cut_off = ObjectJournal(bucket)
    cut_off.append(RECORDS[0])
    cut_off.flush()
    known = len(read(bucket))
    cut_off.append(RECORDS[1])
    cut_off.flush()  # after the next launch has read, before it begins to write
    going_on = ObjectJournal(bucket, records=known)
    cut_off.append(RECORDS[2])
    going_on.append(RECORDS[3])
    for one in (cut_off, going_on):
        one.flush()
    assert read(bucket) == expected(RECORDS[0], RECORDS[3])
    for one in (cut_off, going_on):
        one.close()
    write(bucket, RECORDS[4], known=2)
    assert read(bucket) == expected(RECORDS[0], RECORDS[3], RECORDS[4])


def test_a_launch_that_died_before_its_base_was_whole_has_not_begun(bucket: ObjectPath) -> None:
    write(bucket, *RECORDS[:2])
    (bucket / "000002/tail-000000/000000003-000000003.jsonl").write_bytes(b"never")
    assert read(bucket) == expected(*RECORDS[:2])
    write(bucket, RECORDS[2], known=2)
    assert read(bucket) == expected(*RECORDS[:3])


def test_a_damaged_line_is_refused(bucket: ObjectPath) -> None:
    writer = ObjectJournal(bucket)
    for record in RECORDS[:3]:
        writer.append(record)
        writer.flush()
    (bucket / "000001/tail-000000/000000002-000000002.jsonl").write_bytes(b"00000000 {}\n")
    with pytest.raises(ResultsError, match=r"journal' is damaged in line 2|is damaged in line 2, and whole lines"):
        read(bucket)
    with pytest.raises(ResultsError, match="is damaged in line 2"):
        ObjectJournal(bucket)


@pytest.mark.slow
def test_a_store_that_comes_back_costs_nothing_one_that_stays_away_ends_it(
    store: S3Server, bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_ANSWER", 0.5)
    stores.connect.cache_clear()
    writer, done = ObjectJournal(bucket / "it" / "journal"), threading.Event()
    store.freeze()
    writer.append(RECORDS[0])  # returns at once
    writer.when_durable(done.set)
    assert not done.wait(3)  # longer than one request waits for an answer
    store.thaw()
    writer.flush()
    assert done.is_set()
    monkeypatch.setattr(objects, "PATIENCE", 0.5)
    never = threading.Event()
    store.freeze()
    try:
        writer.append(RECORDS[1])
        writer.when_durable(never.set)
        with pytest.raises(ResultsError, match="cannot write 's3://.*/it/journal': the store does not answer") as told:
            writer.flush()
        assert f"tlsweep resume it --results {bucket}'" in str(told.value)
        with pytest.raises(ResultsError, match="the store does not answer"):
            writer.append(RECORDS[2])
        writer.close()
    finally:
        store.thaw()
    assert not never.is_set()
    wait_until(lambda: read(bucket / "it" / "journal")[:1] == expected(RECORDS[0]))
