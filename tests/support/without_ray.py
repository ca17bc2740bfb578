"""Real training without a Ray: this process plays driver and worker."""

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from tlsweep.sweep import trainable
from tlsweep.sweep.assignment import from_result
from tlsweep.sweep.referee import Referee
from tlsweep.sweep.trainable import Shared, make_trainable


class _GivesUpItsSlot(BaseException):
    """Ends a trial as Tune does, past all that its function catches."""


def train_all(referee: Referee, shared: Shared, patch: pytest.MonkeyPatch) -> None:
    """Train whatever the referee hands out, one trial after the other; in `shared` stand things, not references."""

    def hear(result: dict[str, Any]) -> None:
        if not referee.observe(*from_result(result)):
            raise _GivesUpItsSlot

    patch.setattr(trainable, "fetch", lambda reference: reference)
    patch.setattr(trainable, "_with_labels", lambda task, labels, seed: task)
    patch.setattr(trainable.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))
    patch.setattr(trainable.tune, "report", hear)
    while assignment := referee.assign():
        referee.started(assignment.trial)
        with suppress(_GivesUpItsSlot):
            make_trainable(shared)(assignment.to_config())
            referee.returned(assignment.trial)
