"""A tracker gets each report once, whatever died; what it does itself, or leaves undone, is never the sweep's."""

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import SweepBuilder, make_ended_sweep, make_spec, make_sweep

from tlsweep.observer import Silence
from tlsweep.store import Record, Status, SweepFolder, read_journal
from tlsweep.tracking import Tracking, delivery, tracking
from tlsweep.tracking.delivery import Log
from tlsweep.tracking.tracker import Outcome, TrackedSweep, TrackedTrial, Update


class Store:
    """What a tracker keeps from one launch to the next."""

    def __init__(self) -> None:
        self.reports: dict[str, list[tuple[float, int, float]]] = {}
        self.ends: dict[str, tuple[Status, str | None]] = {}
        self.tested: dict[str, float] = {}
        self.outcome: Outcome | None = None


class Bookkeeper:
    """The tracker of a store; it dies after so many reports, before it can tell anybody."""

    def __init__(self, store: Store, lives: int = 1000) -> None:
        self.store, self.lives = store, lives

    def begin(self, trial: TrackedTrial) -> int:
        return len(self.store.reports.setdefault(trial.name, []))

    def update(self, trial: TrackedTrial, update: Update) -> None:
        assert not update.rows or update.first == len(self.store.reports[trial.name])
        for row in update.rows:
            if not self.lives:
                raise KeyboardInterrupt
            self.lives -= 1
            self.store.reports[trial.name].append((row.time, row.epoch, row.figures["val/loss"]))
        self.store.ends[trial.name] = (update.status, update.reason)
        if update.test:
            self.store.tested[trial.name] = update.test.figures["test/accuracy"]

    def close(self, outcome: Outcome) -> None:
        self.store.outcome = outcome


class Witness(Silence):
    """An observer that remembers warnings, and who gave them."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.threads: set[threading.Thread] = set()

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.threads.add(threading.current_thread())


def reports_of(records: list[Record]) -> dict[str, list[tuple[float, int, float]]]:
    found: dict[str, list[tuple[float, int, float]]] = {
        record["trial"]: [] for record in records if record.get("kind") == "created"
    }
    for record in records:
        if record["type"] == "report":
            found[record["trial"]].append((record["time"], record["epoch"], record["val_loss"]))
    return found


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    return list(read_journal(make_sweep(tmp_path / "results").folder.journal))


@pytest.mark.parametrize("together", [1, 3, 1000])
def test_each_report_is_sent_once_wherever_a_launch_before_was_killed(records: list[Record], together: int) -> None:
    expected = reports_of(records)
    for lives in range(sum(map(len, expected.values())) + 1):
        store = Store()
        for tracker in (Bookkeeper(store, lives), Bookkeeper(store)):
            log = Log(make_spec())
            try:
                for first in range(0, len(records), together):
                    for record in records[first : first + together]:
                        log.add(record)
                    log.hand_on(tracker)
            except KeyboardInterrupt:
                continue
        assert repr(store.reports) == repr(expected), lives  # NaN is one of them
        assert store.ends["t0001"] == (Status.FINISHED, "trained to the last epoch")
        assert store.ends["t0003-scratch"] == (Status.FAILED, "ValueError: [boom]")
        assert store.tested == {"t0001": 0.93, "t0001-scratch": 0.71}


def test_a_sweep_has_one_identity_and_other_sweeps_have_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a later launch, renamed, and as its journal has it instead of as it was written."""
    opened: list[TrackedSweep] = []

    def note(sweep: TrackedSweep) -> Bookkeeper:
        opened.append(sweep)
        return Bookkeeper(Store())

    monkeypatch.setattr(tracking, "make_tracker", lambda name: note)
    path = make_ended_sweep(tmp_path)
    records = list(read_journal(SweepFolder(path).journal))
    other = [dict(record, time=record["time"] + 1e-6) for record in records]
    for name, past in (("demo", records), ("renamed", records), ("other", other)):
        with Tracking(make_spec(track="mlflow"), SweepFolder(tmp_path / name), past, Silence()):
            pass
    assert opened[0].id == opened[1].id != opened[2].id
    assert [sweep.name for sweep in opened] == ["demo", "renamed", "other"]


def failing(step: str) -> Callable[[TrackedSweep], Bookkeeper]:
    class Failing(Bookkeeper):
        def begin(self, trial: TrackedTrial) -> int:
            return self._perhaps("begin") or super().begin(trial)

        def update(self, trial: TrackedTrial, update: Update) -> None:
            self._perhaps("update")
            super().update(trial, update)

        def close(self, outcome: Outcome) -> None:
            self._perhaps("close")

        def _perhaps(self, here: str) -> None:
            if step == here:
                raise SystemExit("\x1b]0;no\nserver") if step == "update" else OSError("\x1b]0;no\nserver")

    def opened(sweep: TrackedSweep) -> Bookkeeper:
        if step == "open":
            raise OSError("\x1b]0;no\nserver")
        return Failing(Store())

    return opened


@pytest.mark.parametrize("step", ["open", "begin", "update", "close"])
def test_a_tracker_that_fails_is_told_of_once_and_harms_nobody(
    step: str, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store, witness = Store(), Witness()
    makers = {"mlflow": failing(step), "wandb": lambda sweep: Bookkeeper(store)}
    monkeypatch.setattr(tracking, "make_tracker", makers.__getitem__)
    monkeypatch.setattr(delivery, "INTERVAL", 0.001)
    with Tracking(make_spec(track=["mlflow", "wandb"]), SweepFolder(tmp_path / "results/demo"), [], witness) as told:
        for record in records:
            told.record(record)
    assert witness.warnings == [
        "tracking by mlflow has stopped, and the sweep goes on without it: \\x1b]0;no server; 'tlsweep resume demo' "
        "sends what is missing"
    ]
    assert witness.threads == {threading.current_thread()}
    assert repr(store.reports) == repr(reports_of(records))  # the other one has all
    assert store.outcome is not None
    assert store.outcome.status is Status.FINISHED


def test_a_tracker_that_never_answers_holds_nobody_up(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, witness = threading.Event(), Witness()

    class Silent(Bookkeeper):
        def begin(self, trial: TrackedTrial) -> int:
            answer.wait()
            return 0

    monkeypatch.setattr(tracking, "make_tracker", lambda name: lambda sweep: Silent(Store()))
    monkeypatch.setattr(tracking, "LAST_WAIT", 0.05)
    monkeypatch.setattr(delivery, "INTERVAL", 0.001)
    with Tracking(make_spec(track="wandb"), SweepFolder(tmp_path / "results" / "demo"), records, witness) as told:
        told.record(records[-1])
        assert not answer.is_set()
    answer.set()
    (warning,) = witness.warnings
    assert re.search(r"it takes too long, and \d\d reports or events wait", warning)


def test_nothing_is_opened_before_the_journal_has_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch that is refused leaves nothing behind."""
    monkeypatch.setattr(tracking, "make_tracker", lambda name: pytest.fail("opened"))
    with (
        pytest.raises(OSError, match="no"),
        Tracking(make_spec(track="mlflow"), SweepFolder(tmp_path / "demo"), [], Silence()),
    ):
        raise OSError("no")
    builder = SweepBuilder(tmp_path)
    with Tracking(builder.spec, builder.folder, [], Silence()) as untracked:
        untracked.record(builder.create("t0000", 0))


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        ([], Status.FAILED),
        (["interrupted"], Status.INTERRUPTED),
        (["interrupted", "resumed", "evaluated"], Status.FINISHED),
        (["evaluated", "resumed"], Status.FAILED),
    ],
)
def test_how_a_launch_ended_follows_from_its_records(tmp_path: Path, kinds: list[str], status: Status) -> None:
    builder, log = SweepBuilder(tmp_path), Log(make_spec())
    builder.create("t0000", 0)
    for kind in kinds:
        builder.event(kind, "t0000" if kind == "evaluated" else None, trial="t0000", accuracy=0.5, reopened=[])
    for record in builder.records:
        log.add(record)
    assert log.outcome().status is status


def test_who_presses_ctrl_c_waits_no_longer(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, waits, witness = threading.Event(), [], Witness()

    class Silent(Bookkeeper):
        def begin(self, trial: TrackedTrial) -> int:
            answer.wait()
            return 0

    def join(self: delivery.Delivery, seconds: float) -> None:
        waits.append(round(seconds))
        if seconds:
            raise KeyboardInterrupt
        plain(self, seconds)

    plain = delivery.Delivery.join
    monkeypatch.setattr(delivery.Delivery, "join", join)
    monkeypatch.setattr(tracking, "make_tracker", lambda name: lambda sweep: Silent(Store()))
    for more, seconds in (({}, tracking.LAST_WAIT), ({"kind": "interrupted"}, tracking.INTERRUPTED_WAIT)):
        with Tracking(make_spec(track="wandb"), SweepFolder(tmp_path / "demo"), records, witness) as told:
            told.record({**records[-1], "trial": None, **more})
        assert waits == [seconds, 0]
        waits.clear()
    answer.set()
    assert len(witness.warnings) == 2
