"""One process at a time writes to a sweep on object storage; a dead one is waited for, one that is cut off stops."""

import json
import threading
from collections.abc import Iterator

import pytest
from command_line import wait_until
from s3_server import S3Server

from tlsweep.errors import ResultsError
from tlsweep.store import Lease, ObjectPath, SweepFolder, lease, lock_folder, objects
from tlsweep.store.object_journal import ObjectJournal


@pytest.fixture
def location(bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> ObjectPath:
    """The location of a lease; terms are short."""
    monkeypatch.setattr(lease, "TERM", 2.0)
    monkeypatch.setattr(lease, "GRACE", 0.3)
    return bucket / "it" / ".lock"


@pytest.fixture
def other(location: ObjectPath) -> Iterator[Lease]:
    """Somebody who has it."""
    with Lease(location) as held:
        yield held


def test_the_second_one_is_refused_and_told_by_whom(location: ObjectPath, other: Lease) -> None:
    phases: list[str] = []
    with (
        pytest.raises(ResultsError, match=r"sweep 'it' is being run by process \d+ on \S+; wait for it, or stop it"),
        lock_folder(SweepFolder(location.parent), phases.append),
    ):
        pass
    assert len(phases) == 1
    assert phases[0].startswith("waiting 2 s for a sign of life of process ")
    assert not other.wait_until_held()


def test_it_is_free_after_the_block_and_who_finds_it_free_does_not_wait(location: ObjectPath) -> None:
    phases: list[str] = []
    for _ in range(2):
        with lock_folder(SweepFolder(location.parent), phases.append):
            assert location.exists()
        assert not location.exists()
    assert phases == []


@pytest.mark.parametrize("content", [b'{"holder": "process 1 on moon", "id": "x", "renewals": 7}', b"", b"junk"])
def test_from_one_that_gives_no_sign_of_life_it_is_taken(location: ObjectPath, content: bytes) -> None:
    location.write_bytes(content)
    with Lease(location) as held:
        assert not held.wait_until_held()
        assert json.loads(location.read_bytes())["renewals"] >= 1


def test_of_two_that_come_at_once_one_has_it(location: ObjectPath) -> None:
    held: list[Lease] = []
    refused: list[str] = []

    def come() -> None:
        try:
            held.append(Lease(location))
        except ResultsError as error:
            refused.append(str(error))

    comers = [threading.Thread(target=come) for _ in range(3)]
    for one in comers:
        one.start()
    for one in comers:
        one.join()
    assert len(held) == 1
    assert len(refused) == 2
    assert not held[0].wait_until_held()
    held[0].__exit__(None, None, None)


def test_who_was_cut_off_writes_nothing_more_and_says_so_once(location: ObjectPath, other: Lease) -> None:
    reasons: list[str] = []
    journal, removed = ObjectJournal(location.parent / "journal", other), threading.Event()
    other.on_lost = reasons.append
    location.write_bytes(b'{"holder": "process 1 on moon", "id": "x", "renewals": 1}')
    wait_until(lambda: reasons)
    before = (location.parent / "journal").files()
    journal.append({"too": "late"})
    journal.when_durable(removed.set)
    for refused in (journal.flush, lambda: journal.append({"much too": "late"})):
        with pytest.raises(ResultsError, match="taken over by process 1 on moon, .*; leave it to that one"):
            refused()
    journal.close()
    assert (location.parent / "journal").files() == before
    assert not removed.is_set()
    assert len(reasons) == 1
    other.__exit__(None, None, None)
    assert json.loads(location.read_bytes())["id"] == "x"  # not his to remove


def test_what_ran_out_while_the_store_was_away_is_regained_unless_another_launch_began(
    store: S3Server, location: ObjectPath, other: Lease
) -> None:
    journal = ObjectJournal(location.parent / "journal", other)

    def expire() -> None:
        store.freeze()
        try:
            wait_until(lambda: not other._held())
        finally:
            store.thaw()

    expire()
    journal.append({"late": "but sound"})
    journal.flush()
    expire()
    ObjectJournal(location.parent / "journal").close()  # somebody else was there meanwhile, and has gone again
    store.freeze()  # not to be renewed before the next upload
    try:
        wait_until(lambda: not other._held())
        journal.append({"too": "late"})
    finally:
        store.thaw()
    with pytest.raises(ResultsError, match="taken over by a later launch"):
        journal.flush()
    journal.close()


def test_who_wrote_nothing_while_it_had_run_out_notices_that_another_launch_began(
    store: S3Server, location: ObjectPath, other: Lease
) -> None:
    journal = ObjectJournal(location.parent / "journal", other)
    store.freeze()
    try:
        wait_until(lambda: not other._held())
    finally:
        store.thaw()
    ObjectJournal(location.parent / "journal").close()
    wait_until(other._held)  # renewed, as nobody holds it now
    journal.append({"would": "be ignored"})
    with pytest.raises(ResultsError, match="taken over by a later launch"):
        journal.flush()
    journal.close()


def test_a_store_that_stays_away_ends_the_right_to_write(
    store: S3Server, location: ObjectPath, other: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PATIENCE", 1.0)
    store.freeze()
    try:
        wait_until(lambda: not other._held())
        with pytest.raises(OSError, match="the store does not answer|takes too long"):
            other.wait_until_held()
    finally:
        store.thaw()
