"""One launch at work on a journal: everything that follows from it is opened here, in the one order that is right.

The driver runs Ray in a session, tests run workers of their own in one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tlsweep.observer import Observer
from tlsweep.spec import SweepSpec
from tlsweep.store import Lease, SweepFolder
from tlsweep.sweep.ground import Ground
from tlsweep.sweep.ledger import Ledger
from tlsweep.sweep.referee import Referee
from tlsweep.sweep.resuming import History, exhausted_arms, reopened
from tlsweep.sweep.retention import Retention


@dataclass(frozen=True)
class Material:
    """What the results of a sweep depend on beside its spec; a resume refuses other ones."""

    data: str
    """Fingerprint of the images."""
    weights: str | None
    """SHA-256 of what trials start from; None for random weights."""
    environment: Mapping[str, Any] | None = None
    """The content of environment.json."""


def recall(
    spec: SweepSpec, folder: SweepFolder, history: History, observer: Observer, lease: Lease | None = None
) -> Ledger:
    """What is known of a sweep before this launch adds to it.

    Raises:
        ResultsError: a record of the journal does not fit those before it.
    """
    ledger = Ledger(spec, spec.search.strategy, folder, observer, lease)
    ledger.replay(history.records)
    return ledger


@contextmanager
def open_session(
    ledger: Ledger, folder: SweepFolder, history: History, material: Material, ground: Ground | None = None
) -> Iterator[Referee]:
    """Write to the journal while the block runs: the first record of the launch, then what the referee decides.

    The referee comes last: what it does at once (ends for want of budget, promotions that were due) removes files, and
    is told in an order that begins with the launch.

    Args:
        ledger: What `recall` gives.
        folder: The folder that its journal is in.
        history: What the ledger recalls.
        material: What the sweep depends on.
        ground: Is looked at while trials run; None where nothing can be taken away.
    """
    with ledger.open(folder.journal):
        if ground is not None:
            ground.journal_is(folder.journal)
        _write_launch(ledger, folder, history, material)
        retention = Retention(folder, ledger)
        retention.tidy()
        referee = Referee(ledger, retention, ground=ground.loss) if ground else Referee(ledger, retention)
        ledger.write_tables()
        yield referee


def _write_launch(ledger: Ledger, folder: SweepFolder, history: History, material: Material) -> None:
    """The first record of a launch: what it depends on, and what of the launches before it goes on."""
    details: dict[str, Any] = {
        "spec": ledger.spec.model_dump(mode="json"),
        "data": material.data,
        "weights": material.weights,
    }
    if (facts := material.environment) is not None:
        details |= {"environment": facts, "images": facts["data"]["images"], "classes": facts["data"]["classes"]}
    if history.launched:
        exhausted = exhausted_arms(ledger.state, ledger.spec, ledger.spending)
        details["reopened"] = reopened(ledger.state, ledger.spec, folder.path, exhausted)
        details["extended"] = {field: {"from": old, "to": new} for field, (old, new) in history.extended.items()}
        ledger.event("resumed", details=details)
    else:
        ledger.event("launched", details=details)
    ledger.commit()
