"""What a worker has to say, kept until there is something to decide on it, or a second has passed.

Between two decisions a worker needs nobody. A message to the driver, its transaction and the answer took 8 to 15 ms
(measured, `tests/bench/exploit.py`, when each epoch was sent by itself), and a checkpoint some more; so several epochs
go as one, with what may be gone on from: the last state, and the best. Where nobody decides on them they go while the
next epoch is trained: of the state there is a copy, which is made into a checkpoint, written and sent by a thread.
"""

import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from tlsweep.spec import SweepSpec
from tlsweep.store import diverged
from tlsweep.store.ranking import Rank, rank
from tlsweep.sweep.assignment import Assignment, Message

if TYPE_CHECKING:
    from tlsweep.training.reports import Copy, Snapshot

HOLD_SECONDS = 1.0
"""How long a report may be kept back: so long interrupts, targets and wall time may take to act."""


class Parcel(NamedTuple):
    """A message, and the checkpoint that goes with it; None where nobody will go on from that epoch."""

    message: Message
    checkpoint: "Copy | None"
    assignment: Assignment
    """Whose it is."""


class Due(Enum):
    """When what waits in an outbox is to be sent."""

    LATER = auto()
    """Once its second has passed."""
    SOON = auto()
    """While the next epoch is trained."""
    NOW = auto()
    """Before that: somebody may want to decide on the epoch."""


class Outbox:
    """Keeps the reports of one stay of a trial on a worker."""

    def __init__(self, assignment: Assignment, spec: SweepSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._points, self._last_epoch = assignment.decision_points, spec.epochs
        self._metric, self._sign = spec.search.metric, spec.search.sign
        self._assignment, self._reported = assignment, assignment.reported
        self._best = None if assignment.best is None else self._rank(*assignment.best)
        timeout = spec.faults.report_timeout
        # A trial must not count as one that hangs because its reports wait here.
        self.hold = HOLD_SECONDS if timeout is None else min(HOLD_SECONDS, timeout / 10)
        """Seconds that a report may wait."""
        self._now = clock
        self._sent = self._put = clock()
        self._waiting: list[Parcel] = []
        self._closed = False
        self._best_waiting: tuple[int, Rank] | None = None
        """Where the best of those that wait stands, if it is as good as any epoch before."""

    def close(self) -> None:
        """Take nothing more: the trial has left the worker, which may not have noticed yet."""
        self._closed = True
        self._waiting.clear()

    def put(self, message: Message, snapshot: "Snapshot") -> Due:
        """Take the report of an epoch.

        Args:
            message: It, without its checkpoint.
            snapshot: Copies the state; called where a checkpoint of it will be wanted.
        """
        if self._closed:
            return Due.LATER
        due, best = self._due(message), self._is_best(message)
        if best is not None:
            self._drop_best()
            self._best_waiting = (len(self._waiting), best)
        wanted = due is not Due.LATER or best is not None
        self._waiting.append(Parcel(message, snapshot() if wanted else None, self._assignment))
        return due

    def take(self) -> list[Parcel]:
        """Hand out what waits, the oldest first."""
        waiting, self._waiting = self._waiting, []
        if self._best_waiting is not None:
            self._best, self._best_waiting = self._best_waiting[1], None
        # Where another trial's report took these along, a checkpoint is still due when it was.
        if waiting and waiting[-1].checkpoint is not None:
            self._sent = self._now()
        return waiting

    def decides(self, message: Message) -> bool:
        """Whether somebody may want to decide on an epoch."""
        at_point = self._points.includes(message.epoch) or message.epoch >= self._last_epoch
        return at_point or diverged(message.metrics, self._metric)

    def _due(self, message: Message) -> Due:
        before, self._put = self._put, self._now()
        too_late = self._put - self._sent + (self._put - before) > self.hold
        if self.decides(message):
            return Due.NOW
        return Due.SOON if too_late else Due.LATER

    def _is_best(self, message: Message) -> Rank | None:
        """The rank of an epoch that may turn out to be the trial's best."""
        if diverged(message.metrics, self._metric):
            return None
        reached = self._rank(message.metrics[self._metric], message.metrics.get("val_loss"))
        if message.epoch <= self._reported:
            # Trained again, maybe because its checkpoint was damaged. Its first report stays, whatever comes out now.
            return reached if reached == self._best else None
        if self._best_waiting is not None:
            return reached if reached > self._best_waiting[1] else None
        return reached if self._best is None or reached > self._best else None

    def _drop_best(self) -> None:
        """Forget the checkpoint of what was the best of those that wait."""
        if self._best_waiting is not None:
            place = self._best_waiting[0]
            self._waiting[place] = self._waiting[place]._replace(checkpoint=None)

    def _rank(self, value: float, val_loss: float | None) -> Rank:
        return rank(value, val_loss, 0, sign=self._sign)


class Post:
    """Sends what outboxes have: where somebody may decide on it at once, else by a thread.

    What sending raises, in whatever thread, it raises where the next report is put: by SystemExit Tune ends a trial.
    That report is put once the one before has been sent, so that no more than that wait, however slow a storage is.
    Then it has ended, and keeps nothing of what it raised: its traceback holds the network, and the worker trains on.
    """

    def __init__(self, send: Callable[[list[Parcel]], None]) -> None:
        self._send = send
        self._outboxes: list[Outbox] = []
        """Those that may have something to send."""
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._raised: BaseException | None = None
        self._ended = False

    def put(self, *reports: tuple[Outbox, Message, "Snapshot"], waits: bool = True) -> None:
        """Take reports of an epoch, of one trial or of several; see `Outbox.put`.

        `waits`: for the answer, where somebody may decide on one; else those that go on do not.
        """
        with self._lock:
            self._raise()
            dues = [outbox.put(message, snapshot) for outbox, message, snapshot in reports]
            self._outboxes += [outbox for outbox, _, _ in reports if outbox not in self._outboxes]
            match max(dues, key=lambda due: due.value):
                case Due.NOW if waits:
                    self._send_waiting()
                case Due.NOW | Due.SOON:
                    self._forget_timer()
                    self._send_after(0)
                case Due.LATER if self._timer is None:
                    self._send_after(min(outbox.hold for outbox, _, _ in reports))

    def at_once(self, send: Callable[[], None]) -> None:
        """Send something else, before the next report and while no other is under way."""
        with self._lock:
            self._raise()
            send()

    def flush(self) -> None:
        """Send what waits. The last state is not among it: training has gone on since."""
        with self._lock:
            self._raise()
            if not self._ended:
                self._send_waiting()

    def _send_after(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._send_by_thread)
        self._timer.daemon = True
        self._timer.start()

    def _send_by_thread(self) -> None:
        with self._lock:
            try:
                self._send_waiting()
            except BaseException as error:
                self._raised = error

    def _send_waiting(self) -> None:
        self._forget_timer()
        parcels = [parcel for outbox in self._outboxes for parcel in outbox.take()]
        self._outboxes.clear()
        if parcels:
            self._send(parcels)

    def _raise(self) -> None:
        if self._raised is None:
            return
        raised, self._raised = self._raised, None
        self._ended = True
        try:
            raise raised
        finally:
            del raised  # a frame that its traceback holds

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def messages(parcels: Sequence[Parcel], write: Callable[[Assignment, int, bytes], dict[str, str]]) -> list[Message]:
    """Write the checkpoints, and name them in the messages.

    Args:
        parcels: What is to be sent.
        write: Writes the checkpoint of a trial's epoch, and says where it lies.
    """
    return [
        parcel.message
        if parcel.checkpoint is None
        else parcel.message.at(**write(parcel.assignment, parcel.message.epoch, parcel.checkpoint()))
        for parcel in parcels
    ]
