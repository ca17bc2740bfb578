"""Which checkpoints stay on disk: what a trial may go on from, what may be copied, and the best."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tlsweep.schedulers import Rules
from tlsweep.spec import MAIN_ARM, SweepSpec
from tlsweep.store import Status, SweepFolder, TrialState
from tlsweep.store.boundary import real_file, refuse_to_write
from tlsweep.store.locations import Location, files_below
from tlsweep.store.records import is_checkpoint, is_left_over
from tlsweep.sweep.ledger import Ledger

KEPT_TRIALS = 3
"""Trials whose best checkpoint stays in each arm after they ended, and its last one beside it."""


def kept_trials(spec: SweepSpec, arm: str) -> int:
    """The number of trials whose best checkpoint stays in an arm after they ended: of some a soup may be made."""
    return max(KEPT_TRIALS, spec.soup_trials) if arm == MAIN_ARM else KEPT_TRIALS


class Retention:
    """Removes checkpoints that nothing needs any more, so that disk use does not grow with epochs or trials.

    Each trial claims some files, of its own or of a donor; a file that nobody claims any more is removed. What this
    does for a report does not grow with the number of trials.
    """

    def __init__(self, folder: SweepFolder, ledger: Ledger) -> None:
        self._folder, self._ledger = folder, ledger
        self._state = ledger.state
        self.hands_off = False
        """Whether the folder is no longer the sweep's, so that nothing may be removed there."""
        self._rules: Mapping[str, Rules] = ledger.rules
        self._claims: dict[str, frozenset[str]] = {}
        self._count: Counter[str] = Counter()
        self._unclaimed: list[str] = []
        self._best: dict[str, set[str]] = defaultdict(set)
        """The ended trials of each arm that are among the best."""

    def update(self, trial: TrialState, *written: str) -> None:
        """Something happened to a trial. `written`: files that it just wrote, wanted or not.

        Nothing is removed before `remove_unclaimed`.
        """
        if written:
            self._claim(trial.trial, self._claims.get(trial.trial, frozenset()).union(written))
        if trial.status.final and not trial.resumable:
            self._ended(trial)
        else:
            self._claim(trial.trial, self._goes_on(trial) | self._best_checkpoint(trial))

    def remove_unclaimed(self) -> None:
        """Remove the files that nobody claims any more."""
        unclaimed, self._unclaimed = self._unclaimed, []
        for path in unclaimed:
            if not self._count[path]:
                self._remove(path)

    def tidy(self) -> None:
        """Remove whatever no trial claims: nobody may be writing. A worker that was killed leaves such files.

        What tlsweep did not make stays.
        """
        refuse_to_write(self._folder.path)
        for trial in self._state.trials.values():
            self.update(trial)
        self.remove_unclaimed()
        self._ledger.flush()
        if self.hands_off:
            return
        for name in files_below(self._folder.checkpoints):
            path = f"checkpoints/{name}"
            if not self._count[path] and (is_checkpoint(path) or is_left_over(path)):
                self._remove(path)
        self._ledger.flush()
        if isinstance(self._folder.checkpoints, Path):
            for folder in self._folder.checkpoints.glob("*"):
                if folder.name in self._state.trials or is_left_over(f"checkpoints/{folder.name}/probe"):
                    with suppress(OSError):  # not empty
                        folder.rmdir()

    def _goes_on(self, trial: TrialState) -> frozenset[str]:
        """Its way back, and what others may copy from it."""
        # Tune's `num_to_keep` knows one trial at a time: what it removed was about to be copied by another in 4 of 6
        # trials with one kept, and in 3 of 6 with three (measured, ray 2.60).
        return frozenset(saved.path for saved in trial.trail) | self._rules[trial.arm].needed(trial.trial)

    def _ended(self, trial: TrialState) -> None:
        """Keep the best checkpoint of the few ended trials that are the best of the arm.

        The first of them, and every member of a population, keep the last one too: with more epochs they can go on.
        """
        best = self._best[trial.arm] = self._best[trial.arm] | {trial.trial}
        count = kept_trials(self._ledger.spec, trial.arm)
        ranked = [trial.trial for trial in self._state.best_of((self._state.trials[name] for name in best), count)]
        kept, leaders = set(ranked), set(ranked[:KEPT_TRIALS])
        for name in best:
            one = self._state.trials[name]
            finished = one.status is Status.FINISHED and (self._rules[trial.arm].takes_turns or name in leaders)
            last = frozenset(checkpoint.path for checkpoint in one.trail[-1:] if finished)
            self._claim(name, last | (self._best_checkpoint(one) if name in kept else frozenset()))
        self._best[trial.arm] = kept

    def _best_checkpoint(self, trial: TrialState) -> frozenset[str]:
        if trial.best and trial.best["checkpoint"]:
            return frozenset({trial.best["checkpoint"]})
        return frozenset()

    def _claim(self, trial: str, files: frozenset[str]) -> None:
        before = self._claims.get(trial, frozenset())
        self._claims[trial] = files
        self._count.update(files - before)
        for path in before - files:
            self._count[path] -= 1
            if not self._count[path]:
                del self._count[path]
                self._unclaimed.append(path)

    def _remove(self, path: str) -> None:
        """Remove a file once the record is safe after which nobody needs it: else a resume elsewhere would miss it."""
        if self.hands_off or not real_file(self._folder.path, path):
            return
        file = self._folder.path / path
        self._ledger.when_durable(lambda: _unlink(file))
        trial = self._state.trials.get(file.parent.name)
        # While it trains, its worker may be about to write there.
        if isinstance(file, Path) and (trial is None or trial.status.final):
            with suppress(OSError):  # not empty
                file.parent.rmdir()


def _unlink(file: Location) -> None:
    """A file that a disk does not give up is removed by the next launch; that it refuses, the next write will say."""
    if isinstance(file, Path):
        with suppress(OSError):
            file.unlink()
    else:
        file.unlink(missing_ok=True)
