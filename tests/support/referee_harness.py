"""A referee without Ray: a test says who reports what, and when; checkpoint files and digests are real."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from simulated_sweep import BASE, MATERIAL, message, report_row

from tlsweep.observer import Silence
from tlsweep.spec import load_spec
from tlsweep.store import Status, SweepFolder, TrialState, read_journal
from tlsweep.sweep.assignment import Assignment
from tlsweep.sweep.resuming import read_history
from tlsweep.sweep.session import open_session, recall
from tlsweep.sweep.trainable import last_sound, write_checkpoint


class Stage:
    """A referee and its folder; plays the part of Tune and of the workers. There are places for all trials.

    Made again for the same folder, it is the sweep resumed.
    """

    def __init__(self, path: Path, *overrides: str) -> None:
        (path / "checkpoints").mkdir(parents=True, exist_ok=True)
        self.folder = SweepFolder(path)
        spec = load_spec(BASE, overrides)
        history = read_history(self.folder, spec)
        self.ledger = recall(spec, self.folder, history, Silence())
        self.state = self.ledger.state
        self._open = ExitStack()  # closed with the stage
        self.referee = self._open.enter_context(open_session(self.ledger, self.folder, history, MATERIAL))
        self.placed: dict[str, Assignment] = {}

    def start(self, arm: str = "main") -> list[str]:
        """Give a place to everybody who can use one; the names of those of `arm`, as they come."""
        given = []
        while assignment := self.referee.assign():
            self.placed[assignment.trial] = assignment
            self.referee.started(assignment.trial)
            given.append(assignment)
        self.referee.tend()
        return [one.trial for one in given if one.arm == arm]

    def live(self) -> list[TrialState]:
        return [one for one in self.state.trials.values() if not one.status.final]

    def train(
        self, trial: str, accuracy: float, *, row: Mapping[str, Any] | None = None, leaving: bool = False
    ) -> bool:
        """An epoch: the trial starts from where it is told to, writes its checkpoint, reports; whether it goes on.

        Args:
            trial: its id.
            accuracy: all its metrics, which may be NaN.
            row: columns that differ.
            leaving: its node is about to be taken away.
        """
        if trial not in self.placed:
            self.start()
        one, assignment = self.state.trials[trial], self.placed[trial]
        if one.status is Status.RUNNING:
            assert not last_sound(self.folder, assignment.trail)[1]
        epoch = one.epoch + 1
        content = f"{trial} {one.generation} {epoch} {accuracy}".encode()
        sent = report_row(assignment, epoch, accuracy) | write_checkpoint(self.folder, assignment, epoch, content)
        goes_on = not self.referee.observe({trial: [message(sent | dict(row or {}))]}, leaving=leaving)
        self.referee.tend()
        if not goes_on:
            del self.placed[trial]
        return goes_on

    def events(self, *kinds: str) -> list[Mapping[str, Any]]:
        """Events of these kinds that the journal holds."""
        return [one for one in read_journal(self.folder.journal) if one.get("kind") in kinds]

    def files(self) -> set[str]:
        """Checkpoints on disk, and anything else that lies there."""
        found = self.folder.checkpoints.rglob("*")
        return {str(path.relative_to(self.folder.path)) for path in found if path.is_file()}
