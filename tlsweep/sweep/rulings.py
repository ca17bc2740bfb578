"""How what becomes of a trial is written down."""

from collections.abc import Mapping
from typing import Any

from tlsweep.schedulers import Decision, Exploit, Hold, Join, Stop, Yield
from tlsweep.store import TrialState, diverged
from tlsweep.sweep.assignment import Message
from tlsweep.sweep.ending import Ending
from tlsweep.sweep.ledger import Ledger


class Rulings:
    """Writes decisions on trials into the ledger; they take effect when it is committed."""

    def __init__(self, ledger: Ledger, ending: Ending) -> None:
        self._ledger, self._ending = ledger, ending
        self._touched: dict[str, TrialState] = {}

    def carry_out(self, trial: TrialState, decision: Decision | Join) -> None:
        """Write down what the rules have decided."""
        match decision:
            case Stop():
                self.stop(trial, decision)
            case Exploit():
                self._exploit(trial, decision)
            case Join():
                self._ledger.event("joined", trial.trial, {"members": decision.members, **decision.details})
            case Yield():
                self._ledger.event("paused", trial.trial, {"reason": "others are behind"})
            case Hold():
                self._ledger.event("paused", trial.trial, {"reason": "waits for others"})

    def stop(self, trial: TrialState, stop: Stop, *, spent: bool = False) -> None:
        """End a trial, unless it has ended. `spent`: only because the budget, or the user's patience, is used up."""
        spec, details = self._ledger.spec, {"reason": stop.reason, **stop.details}
        sound = trial.last is not None and not diverged(trial.last, spec.search.metric)
        if trial.epoch >= spec.epochs and sound:
            self.end(trial, "finished", details)
        elif spent and self._ending.resumable:
            self.end(trial, "interrupted", details)
        else:
            self.end(trial, "stopped", details | ({"out_of_budget": True} if spent else {}))

    def end(self, trial: TrialState, kind: str, details: Mapping[str, Any]) -> None:
        """Write down that a trial ended, and why; the first end counts."""
        if not trial.status.final:
            self._ledger.event(kind, trial.trial, details)
            self._touched[trial.trial] = trial

    def _exploit(self, trial: TrialState, exploit: Exploit) -> None:
        self._touched[trial.trial] = trial
        generation, epoch = trial.generation + 1, trial.epoch
        changes = {name: {"from": old, "to": new} for name, (old, new) in exploit.mutated.items()}
        for kind, details in (("exploited", exploit.to_details()), ("perturbed", changes)):
            self._ledger.event(kind, trial.trial, details, generation=generation, epoch=epoch)

    def restored(self, trial: TrialState, message: Message) -> None:
        """Write down that a worker passed over checkpoints, and from which one it went on."""
        passed = message.passed_over
        gone = {saved["path"] for saved in passed}
        details = {
            "reason": "; ".join(f"{saved['path']} {saved['reason']}" for saved in passed),
            "passed_over": [saved["path"] for saved in passed],
            "checkpoint": next(
                (checkpoint.path for checkpoint in reversed(trial.trail) if checkpoint.path not in gone), None
            ),
            "epoch": message.epoch - 1,
        }
        self._ledger.event("restored", trial.trial, details, epoch=message.epoch - 1)

    def commit(self) -> list[TrialState]:
        """Write all of it down for good, and return the trials that ended or took over a checkpoint with it."""
        self._ledger.commit()
        touched, self._touched = self._touched, {}
        return list(touched.values())
