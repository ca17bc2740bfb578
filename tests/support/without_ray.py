"""Real training without a Ray: this process plays driver and worker."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tlsweep.cluster.nodes import Cluster
from tlsweep.data import Task, load_task
from tlsweep.data.views import with_few_labels
from tlsweep.observer import Silence
from tlsweep.report import write_recipe
from tlsweep.spec import FunctionSpec, ImageSpec, SweepSpec, dump_spec, load_spec
from tlsweep.store import Results, SweepFolder
from tlsweep.store.files import write_json, write_text
from tlsweep.sweep import trainable
from tlsweep.sweep.assignment import from_result, to_config
from tlsweep.sweep.referee import Referee
from tlsweep.sweep.resuming import read_history
from tlsweep.sweep.session import Material, open_session, recall
from tlsweep.sweep.subjects.own_function import OwnFunction, SharedFunction
from tlsweep.sweep.trainable import Shared, Trains, make_trainable
from tlsweep.sweep.winner import evaluating

THIS_PROCESS = cast(Cluster, SimpleNamespace(local=True, trial_gpus=lambda resources: 0.0))


class _GivesUpItsSlot(BaseException):
    """Ends a trial as Tune does, past all that its function catches."""


class Killed(BaseException):
    """Ends a whole sweep, as SIGKILL does."""


def train_all(
    referee: Referee, shared: Trains, patch: pytest.MonkeyPatch, kill: Callable[[], bool] = lambda: False
) -> None:
    """Train whatever the referee hands out, one trial after the other; in `shared` stand things, not references.

    `kill` is asked before and after each message whether the sweep ends there.
    """

    def hear(result: dict[str, Any]) -> None:
        if kill():
            raise Killed
        messages = from_result(result)
        goes_on = not (messages and referee.observe({messages[0].trial: messages}))
        if kill():
            raise Killed
        if not goes_on:
            raise _GivesUpItsSlot
        referee.tend()

    patch.setattr(trainable, "fetch", lambda reference: reference)
    patch.setattr(trainable, "_with_labels", lambda task, labels, seed: task)
    patch.setattr(trainable.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))
    patch.setattr(trainable.tune, "report", hear)
    while assignment := referee.assign():
        referee.started(assignment.trial)
        with suppress(_GivesUpItsSlot):
            make_trainable(shared)(to_config([assignment]))
            referee.returned(assignment.trial)


def run_sweep(
    path: Path,
    spec: ImageSpec,
    task: Task,
    patch: pytest.MonkeyPatch,
    weights: Mapping[str, Any] | None = None,
    heads: Mapping[tuple[str, int | None], Any] | None = None,
) -> Results:
    """A whole sweep, from its beginning or from where it was left: its trials, its winner, its recipe."""
    facts = {"data": {"images": {}, "classes": list(task.classes)}}
    shared = Shared(spec, path, task, weights or {}, 0.0, heads or {})
    return _run(path, spec, Material(task.fingerprint, None, facts), shared, evaluating.evaluate, patch)


def run_digits(path: Path, file: Path, patch: pytest.MonkeyPatch) -> Results:
    """The sweep of a spec in a file, with few labels of the digits and a network without weights."""
    spec = load_spec(file)
    assert isinstance(spec, ImageSpec)
    labels = spec.data.labels_per_class
    assert labels is not None
    return run_sweep(path, spec, with_few_labels(load_task(spec.data, spec.seed), labels, spec.seed), patch)


def run_function_sweep(
    path: Path, spec: FunctionSpec, patch: pytest.MonkeyPatch, kill: Callable[[], bool] = lambda: False
) -> Results:
    """The same over a function of the user's own."""
    subject = OwnFunction(spec)
    facts = {"data": {"fingerprint": subject.fingerprint, "images": {}, "classes": []}}
    shared = SharedFunction(spec, path, 0.0, "tests")
    return _run(path, spec, Material(subject.fingerprint, None, facts), shared, subject.hand_over, patch, kill)


def _run(
    path: Path,
    spec: SweepSpec,
    material: Material,
    shared: Trains,
    hand_over: Callable[..., None],
    patch: pytest.MonkeyPatch,
    kill: Callable[[], bool] = lambda: False,
) -> Results:
    folder = SweepFolder(path)
    (path / "checkpoints").mkdir(parents=True, exist_ok=True)
    write_text(folder.spec, dump_spec(spec))
    write_json(folder.environment, dict(material.environment or {}))
    history = read_history(folder, spec)
    ledger = recall(spec, folder, history, Silence())
    with open_session(ledger, folder, history, material) as referee:
        train_all(referee, shared, patch, kill)
        referee.close()
        hand_over(ledger, shared, THIS_PROCESS, Silence())
        write_recipe(path, ledger.state)
    return Results(folder)
