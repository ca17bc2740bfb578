"""What a resume finds, and whether it may go on with it."""

from dataclasses import dataclass
from typing import Any

import yaml

from tlsweep.data import Task
from tlsweep.errors import DataError, ModelError, ResultsError
from tlsweep.spec import MAIN_ARM, SweepSpec, load_spec
from tlsweep.spec.extension import extensions
from tlsweep.store import Place, Record, Status, SweepFolder, SweepState, TrialState, read_journal
from tlsweep.store.places import files_below
from tlsweep.sweep.spending import Spending


@dataclass(frozen=True)
class History:
    """What earlier launches of a sweep left."""

    records: list[Record]
    launched: dict[str, Any]
    """What the last of them was launched with; empty where none came so far."""
    extended: dict[str, tuple[Any, Any]]
    """Fields of the spec that were extended since: (before, now)."""

    def check_data(self, task: Task) -> None:
        """Raises:
        DataError: the images are not those that the sweep began with.
        """
        before = self.launched.get("data")
        if before not in (None, task.fingerprint):
            raise DataError(
                f"the images have changed since the sweep began (fingerprint {task.fingerprint}, it was {before}); "
                "put them back as they were, or start a new sweep"
            )

    def check_weights(self, now: str | None) -> None:
        """Raises:
        ModelError: the weights are not those that the sweep began with; its checkpoints hold only what differs.
        """
        if self.launched and self.launched.get("weights") != now:
            raise ModelError(
                f"the weights that trials start from have changed since the sweep began (SHA-256 {now}, it was "
                f"{self.launched.get('weights')}); put the file back, or start a new sweep"
            )


def stored_spec(folder: SweepFolder) -> dict[str, Any]:
    """The spec as the folder has it; to be loaded, perhaps with overrides."""
    tree = yaml.safe_load(folder.spec.read_text(encoding="utf-8"))
    if not isinstance(tree, dict):
        raise ResultsError(f"'{folder.spec}' is no spec; put it back as it was")
    return tree


def read_history(folder: SweepFolder, spec: SweepSpec) -> History:
    """The journal of a sweep that is to go on as `spec` says.

    Raises:
        SpecError: the spec is another one; the message names the field.
        ResultsError: the journal is damaged before its end.
    """
    records = list(read_journal(folder.journal))
    launched = [one for one in records if one["type"] == "event" and one["kind"] in ("launched", "resumed")]
    if not launched:
        return History(records, {}, {})
    details = launched[-1]["details"]
    return History(records, details, extensions(load_spec(details["spec"]), spec))


def reopened(state: SweepState, spec: SweepSpec, folder: Place, exhausted: set[str]) -> list[str]:
    """Trials that had ended and go on: the sweep was interrupted, or there is more to spend now.

    A trial that was trained to what was the last epoch goes on if its last checkpoint is still there.
    """

    files = {f"checkpoints/{name}" for name in files_below(folder / "checkpoints")}

    def has_more_to_do(one: TrialState) -> bool:
        further = one.status is Status.FINISHED and one.epoch < spec.train.epochs
        return one.out_of_budget or (further and bool(one.trail) and one.trail[-1].path in files)

    return [
        one.trial
        for one in state.trials.values()
        # An interrupted one is settled in any case: where there is nothing left to spend, that is its end.
        if one.status is Status.INTERRUPTED or (one.arm not in exhausted and has_more_to_do(one))
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
