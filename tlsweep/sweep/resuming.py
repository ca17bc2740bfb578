"""What a resume finds, and whether it may go on with it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tlsweep.data import Task
from tlsweep.errors import DataError, ModelError
from tlsweep.report.repair import sound_tree
from tlsweep.spec import MAIN_ARM, SweepSpec, load_spec
from tlsweep.spec.extension import extensions
from tlsweep.spec.loading import StoredSpec
from tlsweep.store import Location, Record, Status, SweepFolder, SweepState, TrialState, read_journal
from tlsweep.store.journal import LAUNCHES, read_events
from tlsweep.store.locations import files_below
from tlsweep.store.results import with_sound_name
from tlsweep.store.spending import Spending
from tlsweep.text import one_line


@dataclass(frozen=True)
class History:
    """What earlier launches of a sweep left."""

    records: Iterable[Record]
    """In order; of a journal, which may be larger than memory, they are read anew each time."""
    launched: dict[str, Any]
    """What the last of them was launched with; empty where none came so far."""
    extended: dict[str, tuple[Any, Any]]
    """Fields of the spec that were extended since: (before, now)."""

    @property
    def begun(self) -> bool:
        """Whether they left any record."""
        return any(True for _ in self.records)

    def check_data(self, task: Task) -> None:
        """Refuse images that are not those that the sweep began with.

        Raises:
            DataError: the images are not those that the sweep began with.
        """
        before = self.launched.get("data")
        if before not in (None, task.fingerprint):
            raise DataError(
                f"the images have changed since the sweep began{self._changes(task)} (fingerprint {task.fingerprint}, "
                f"it was {before}); put them back as they were, or start a new sweep"
            )

    def _changes(self, task: Task) -> str:
        """Say what changed, in words; nothing where an earlier version, which wrote less down, launched the sweep."""
        if "classes" not in self.launched:
            return ""
        before, now = set(self.launched["classes"]), set(task.classes)
        said = [f"new classes: {_first(now - before)}"] if now - before else []
        said += [f"classes that are gone: {_first(before - now)}"] if before - now else []
        for split, count in self.launched["images"].items():
            if count != task.size(split):
                said.append(f"{task.size(split):,} images in {split}, there were {count:,}")
        return ": " + (
            "; ".join(said) or "as many of the same classes in each split, but other pictures or another order"
        )

    def check_weights(self, now: str | None) -> None:
        """Refuse weights that are not those that the sweep began with; its checkpoints hold only what differs.

        Raises:
            ModelError: the weights are not those that the sweep began with; its checkpoints hold only what differs.
        """
        if self.launched and self.launched.get("weights") != now:
            raise ModelError(
                f"the weights that trials start from have changed since the sweep began (SHA-256 {now}, it was "
                f"{self.launched.get('weights')}); put the file back, or start a new sweep"
            )


@dataclass(frozen=True)
class _Stored(Iterable[Record]):
    """The records of a journal, as often as they are asked for."""

    journal: Location

    def __iter__(self) -> Iterator[Record]:
        return read_journal(self.journal)


def _first(names: set[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f"'{one_line(name)}'" for name in sorted(names)[:5]) + more


def stored_spec(folder: SweepFolder) -> StoredSpec:
    """The spec as the folder has it, or its journal; to be loaded, perhaps with overrides.

    Raises:
        ResultsError: it is missing or damaged in both.
    """
    launched: Record = {"details": {}}
    for record in read_journal(folder.journal):  # to its end, so that a damaged one is refused before anything starts
        if record.get("kind") in ("launched", "resumed"):
            launched = record
    return sound_tree(folder, launched["details"])


def read_history(folder: SweepFolder, spec: SweepSpec) -> History:
    """The journal of a sweep that is to go on as `spec` says.

    Raises:
        SpecError: the spec is another one; the message names the field.
        ResultsError: the journal cannot be read.
    """
    records, launched = _Stored(folder.journal), read_events(folder.journal, LAUNCHES)
    if not launched:
        return History(records, {}, {})
    details = launched[-1]["details"]
    # Not by Tuner.restore, which brings back trials without their scheduler: ASHA's rungs are empty then, and PBT's
    # clocks at 0 (ray#30838).
    return History(records, details, extensions(load_spec(with_sound_name(details["spec"])), spec))


def reopened(state: SweepState, spec: SweepSpec, folder: Location, exhausted: set[str]) -> list[str]:
    """Trials that had ended and go on: the sweep was interrupted, or there is more to spend now.

    A trial that was trained to what was the last epoch goes on if its last checkpoint is still there.
    """

    files = {f"checkpoints/{name}" for name in files_below(folder / "checkpoints")}

    def has_more_to_do(one: TrialState) -> bool:
        further = one.status is Status.FINISHED and one.epoch < spec.epochs
        return one.out_of_budget or (further and bool(one.trail) and one.trail[-1].path in files)

    return [
        trial.trial
        for trial in state.trials.values()
        # An interrupted one is settled in any case: where there is nothing left to spend, that is its end.
        if trial.status is Status.INTERRUPTED or (trial.arm not in exhausted and has_more_to_do(trial))
    ]


def exhausted_arms(state: SweepState, spec: SweepSpec, spending: Spending) -> set[str]:
    """Arms that may train no more: of a budget there is nothing left, or the target is reached."""
    budget = spec.budget
    if budget.wall_time is not None and state.elapsed >= budget.wall_time:
        return set(spec.arms)
    winner = state.winner(MAIN_ARM)
    reached = winner.score(state.metric, state.sign) if winner else None
    if budget.target is not None and reached is not None and reached >= state.sign * budget.target:
        return set(spec.arms)
    return {arm for arm in spec.arms if spending.used_up(arm)}
