"""Reports are kept back while nobody can decide on them, and no longer; with them goes what may be gone on from."""

import gc
import itertools
import math
import threading
import weakref
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_sweep import BASE, message, report_row

from tlsweep.schedulers import DecisionPoints
from tlsweep.spec import load_spec
from tlsweep.store.ranking import rank
from tlsweep.sweep.assignment import Assignment
from tlsweep.sweep.outbox import HOLD_SECONDS, Due, Outbox, Parcel, Post
from tlsweep.training import Snapshot

EPOCHS = 12
HOUR = 3600.0
specs = cache(lambda overrides: load_spec(BASE, [f"train.epochs={EPOCHS}", *overrides]))
scores = st.lists(st.sampled_from([0.1, 0.5, 0.9, math.nan]), min_size=EPOCHS, max_size=EPOCHS)


def snapshot_of(epoch: int) -> Snapshot:
    """Stands for the checkpoint of an epoch."""
    return lambda: str(epoch).encode


def sent_by(
    accuracies: list[float], seconds: list[float], points: DecisionPoints, *overrides: str, best: float | None = None
) -> list[list[Parcel]]:
    """What goes together, of a trial whose epochs take `seconds`; a checkpoint is the number of its epoch."""
    at = 0.0
    values = {"lr": 0.1, "batch_size": 8}
    best_so_far = None if best is None else (best, best)
    assignment = Assignment("t0000", "main", 0, None, 0, values, decision_points=points, best=best_so_far)
    outbox, together = Outbox(assignment, specs(overrides), clock=lambda: at), []
    for epoch, (accuracy, took) in enumerate(zip(accuracies, seconds, strict=True), 1):
        at += took
        row = report_row(assignment, epoch, accuracy)
        if outbox.put(message(row), snapshot_of(epoch)) is not Due.LATER:
            together.append(outbox.take())
    assert outbox.take() == []
    return together


@given(
    scores,
    st.lists(st.floats(0.0, 2.0), min_size=EPOCHS, max_size=EPOCHS),
    st.builds(DecisionPoints, st.sets(st.integers(1, EPOCHS)).map(tuple), st.none() | st.integers(1, 5)),
    st.none() | st.sampled_from([0.1, 0.5, 0.9]),
)
def test_every_epoch_is_sent_once_in_order_with_what_may_be_gone_on_from(
    accuracies: list[float], seconds: list[float], points: DecisionPoints, best: float | None
) -> None:
    together = sent_by(accuracies, seconds, points, "search.metric=val_accuracy", best=best)
    parcels = [parcel for parcels in together for parcel in parcels]
    assert [parcel.message.epoch for parcel in parcels] == list(range(1, EPOCHS + 1))
    kept = {parcel.message.epoch for parcel in parcels if parcel.checkpoint is not None}
    assert all(int(parcel.checkpoint()) == parcel.message.epoch for parcel in parcels if parcel.checkpoint is not None)
    last = {parcels[-1].message.epoch for parcels in together}
    asked = {epoch for epoch, score in enumerate(accuracies, 1) if points.includes(epoch) or math.isnan(score)}
    assert last <= kept
    assert asked <= last
    # With its loss as its accuracy, the best of all is the first that no other one beats.
    ranks = {epoch: rank(score, score, 0, sign=1) for epoch, score in enumerate(accuracies, 1) if score == score}
    winner = max(ranks, key=ranks.__getitem__, default=None)
    if winner is not None and (best is None or ranks[winner] > rank(best, best, 0, sign=1)):
        assert winner in kept
    assert len(kept) <= 2 * len(together)


@pytest.mark.parametrize(
    ("seconds", "overrides", "last"),
    [
        (0.05, (), [EPOCHS]),
        (HOLD_SECONDS / 5.5, (), [5, 10, EPOCHS]),
        (HOLD_SECONDS, (), range(1, EPOCHS + 1)),
        (HOUR, (), range(1, EPOCHS + 1)),
        # A worker of which nothing is heard for so long is ended.
        (0.5, ("faults.report_timeout=6",), range(1, EPOCHS + 1)),
    ],
)
def test_no_report_is_kept_back_for_longer_than_a_second(
    seconds: float, overrides: tuple[str, ...], last: list[int]
) -> None:
    together = sent_by([0.5] * EPOCHS, [seconds] * EPOCHS, DecisionPoints(), *overrides)
    assert [parcels[-1].message.epoch for parcels in together] == list(last)


@pytest.mark.parametrize("epoch_seconds", [0.0, HOUR])
@pytest.mark.parametrize("ends", [None, SystemExit(0), OSError("the disk is full")])
def test_what_waits_is_sent_while_a_long_epoch_is_trained_and_an_answer_that_ends_the_trial_ends_it_after_that_epoch(
    ends: BaseException | None, epoch_seconds: float
) -> None:
    sent, done, trains = list[int](), threading.Event(), threading.Event()

    def send(parcels: list[Parcel]) -> None:
        trains.wait()
        sent.extend(parcel.message.epoch for parcel in parcels)
        done.set()
        if ends is not None:
            raise ends

    assignment = Assignment("t0000", "main", 0, None, 0, {"lr": 0.1, "batch_size": 8}, decision_points=DecisionPoints())
    ticks = itertools.count()
    outbox = Outbox(assignment, specs(()), clock=lambda: epoch_seconds * next(ticks))
    outbox.hold = 0.01
    post = Post(send)
    post.put((outbox, message(report_row(assignment, 1, 0.5)), snapshot_of(1)))
    trains.set()  # which it could not if the report that was put had to be sent before
    assert done.wait(60)
    if ends is None:
        post.put((outbox, message(report_row(assignment, EPOCHS, 0.5)), snapshot_of(EPOCHS)))
        assert sent == [1, EPOCHS]
        return

    def put_until_it_is_answered() -> None:
        while True:
            post.put((outbox, message(report_row(assignment, 2, 0.5)), snapshot_of(2)))

    with pytest.raises(type(ends)):
        put_until_it_is_answered()
    before = sent.copy()
    post.flush()  # as where its function fails of that
    assert sent == before


def test_reports_of_others_that_take_its_own_along_do_not_put_off_a_checkpoint() -> None:
    assignments = [
        Assignment(trial, "main", 0, None, 0, {"lr": 0.1, "batch_size": 8}, decision_points=points)
        for trial, points in (("t0000", DecisionPoints()), ("t0001", DecisionPoints(every=1)))
    ]
    now, kept = 0.0, list[int]()

    def send(parcels: list[Parcel]) -> None:
        kept.extend(one.message.epoch for one in parcels if one.message.trial == "t0000" and one.checkpoint)

    patient, asking = (
        Outbox(assignment, specs(("search.metric=val_accuracy",)), clock=lambda: now) for assignment in assignments
    )
    post = Post(send)
    for epoch in range(1, EPOCHS):
        now += 0.4 * HOLD_SECONDS
        post.put(
            (patient, message(report_row(assignments[0], epoch, 0.9 if epoch == 1 else 0.1)), snapshot_of(epoch)),
            (asking, message(report_row(assignments[1], epoch, 0.1)), snapshot_of(epoch)),
        )
    assert len(kept) >= 4


def test_nothing_is_kept_of_a_trial_that_was_ended_by_a_thread() -> None:
    """The worker goes on with another one, for which the device's memory must be free."""
    answered = threading.Event()

    def send(parcels: list[Parcel]) -> None:
        answered.set()
        raise SystemExit(0)

    class Network:
        pass

    def train(post: Post) -> None:
        network = Network()
        alive.append(weakref.ref(network))
        post.put((outbox, message(report_row(assignment, 1, 0.5)), snapshot_of(1)))
        assert answered.wait(60)
        post.put((outbox, message(report_row(assignment, 2, 0.5)), snapshot_of(2)))

    assignment = Assignment("t0000", "main", 0, None, 0, {"lr": 0.1, "batch_size": 8}, decision_points=DecisionPoints())
    ticks, alive = itertools.count(), list[weakref.ref[Network]]()
    outbox = Outbox(assignment, specs(()), clock=lambda: HOUR * next(ticks))
    gc.collect()
    gc.disable()  # references alone are to do it
    try:
        try:
            train(Post(send))
        except SystemExit:
            ended = True
        assert ended
        assert alive[0]() is None
    finally:
        gc.enable()
