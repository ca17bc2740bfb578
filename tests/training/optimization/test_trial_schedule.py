"""Strategies: equal to torch's or to a table worked out by hand; lr over batch size is that of the plain schedule."""

import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler
from training_trials import SMALL_CNN, Train, same

from tlsweep.data import Task
from tlsweep.spec import Hyperparameters, TrainSettings
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.devices import Compute
from tlsweep.training.optimization.schedules import lr_factor
from tlsweep.training.optimization.trial_schedule import TrialSchedule
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer

SCHEDULES = get_args(Hyperparameters.model_fields["lr_schedule"].annotation)
BY_PERFORMANCE = ("plateau", "adjusted", "dynamic")


def chosen(**values: Any) -> Hyperparameters:
    return Hyperparameters.model_validate(values)


def factors(hyperparameters: Hyperparameters, losses: list[float], epochs: int = 10) -> list[float]:
    """The factor on lr in the epoch after each loss."""
    schedule, found = TrialSchedule(hyperparameters, epochs, samples=100), []
    for epoch, loss in enumerate(losses, start=1):
        schedule.observe(epoch, loss)
        found.append(schedule.lr(epoch, 0.1, hyperparameters.batch_size) / hyperparameters.lr)
    return found


@settings(deadline=None)  # torch's first optimizer takes a second
@given(
    losses=st.lists(st.floats(0.01, 10) | st.sampled_from([1.0, 0.9999, math.inf, math.nan]), min_size=1, max_size=40),
    gamma=st.floats(0.1, 0.99),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0, 1e-4, 0.1]),
    lowest=st.sampled_from([1e-6, 0.2, 1]),
)
def test_plateau_is_torchs(losses: list[float], gamma: float, patience: int, threshold: float, lowest: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=gamma, patience=patience, threshold=threshold, min_lr=lowest, eps=0
    )
    expected = []
    for loss in losses:
        theirs.step(loss)
        expected.append(optimizer.param_groups[0]["lr"])
    ours = chosen(
        lr=1.0, lr_schedule="plateau", lr_gamma=gamma, lr_patience=patience, lr_threshold=threshold,
        lr_min_factor=lowest,
    )  # fmt: skip
    assert factors(ours, losses) == pytest.approx(expected, rel=1e-12)


def test_adjusted_is_its_table() -> None:
    """Loss, moving mean before it, verdict: worked out by hand from the definition; threshold 10 %, patience 1."""
    table = [
        # loss, factor after it
        (1.0, 1.0),  # the first is only remembered: mean 1
        (0.9, 0.5),  # good; mean 0.97
        (1.0, 0.25),  # 1.0 <= 1.1 * 0.97, good; mean 0.979
        (1.1, 0.25),  # worse, forgiven; mean 1.0153
        (1.2, 0.75),  # worse again: × 3; mean 1.07071, the count begins again
        (1.3, 0.75),  # worse, forgiven; mean 1.139497
        (math.inf, 2.0),  # worse than any: × 3 = 2.25, but 2 at most; the mean stays
        (0.1, 1.0),  # good; mean 0.8276479
        (0.1, 0.5),
        (0.1, 0.25),
        (0.1, 0.2),  # 0.2 at least
    ]
    hyperparameters = chosen(
        lr=0.3, lr_schedule="adjusted", lr_gamma=0.5, lr_raise=3, lr_patience=1, lr_threshold=0.1, lr_min_factor=0.2,
        lr_max_factor=2,
    )  # fmt: skip
    assert factors(hyperparameters, [loss for loss, _ in table]) == pytest.approx([factor for _, factor in table])


def test_dynamic_is_its_table() -> None:
    """The decay of an epoch goes from 0.9 to 0.5 over 4 epochs, which are those after a warm-up of one."""
    hyperparameters = chosen(
        lr=0.3, lr_schedule="dynamic", lr_gamma=0.9, lr_final_gamma=0.5, lr_raise=4, lr_patience=0, lr_threshold=0,
        warmup_epochs=1,
    )  # fmt: skip
    table = [
        (5.0, 0.9),  # the end of the warm-up is progress 0: × 0.9; the first loss is only remembered
        (4.0, 0.9 * 0.8),  # good; progress 1/4
        (6.0, 0.9 * 0.8 * 0.7 * 4),  # worse than the mean 4.7; progress 1/2
        (1.0, 0.9 * 0.8 * 0.7 * 4 * 0.6),
        (9.0, 0.9 * 0.8 * 0.7 * 4 * 0.6 * 0.5 * 4),
    ]
    found = factors(hyperparameters, [loss for loss, _ in table], epochs=5)
    assert found == pytest.approx([factor for _, factor in table])


@pytest.mark.parametrize("schedule", BY_PERFORMANCE)
def test_the_bounds_hold_whatever_validation_says(schedule: str) -> None:
    hyperparameters = chosen(
        lr=0.3, lr_schedule=schedule, lr_patience=0, lr_gamma=0.3, lr_raise=9, lr_min_factor=0.1, lr_max_factor=3
    )
    for losses in ([math.nan, math.inf] * 20, [1.0, *range(2, 40)], [1 / n for n in range(1, 40)], [1.0] * 40):
        found = factors(hyperparameters, losses, epochs=40)
        assert min(found) >= 0.1 * (1 - 1e-12)
        assert max(found) <= 3 * (1 + 1e-12)


def test_a_warm_up_is_not_judged_and_multiplies_where_the_schedule_starts() -> None:
    schedule = TrialSchedule(chosen(lr=1.0, lr_schedule="plateau", lr_patience=0, lr_gamma=0.5, warmup_epochs=2), 9, 10)
    for epoch, loss in ((1, 1.0), (2, 3.0), (3, 2.0), (4, 2.5)):
        assert schedule.lr(0.5, 0.5, 32) == 0.5  # half of the warm-up
        schedule.observe(epoch, loss)
    assert schedule.lr(4, 0.5, 32) == 0.5  # only the last was worse than what came since epoch 2
    cycle = chosen(lr_schedule="one_cycle", lr_div_factor=10, warmup_epochs=2)
    assert lr_factor(cycle, 0.5, 9, step=0.5) == pytest.approx(0.05)
    assert lr_factor(cycle, 2, 9, step=0.5) == pytest.approx(0.1)


def test_an_epoch_is_judged_once() -> None:
    schedule = TrialSchedule(chosen(lr=1.0, lr_schedule="plateau", lr_patience=0, lr_gamma=0.5), 9, 10)
    for epoch, loss in ((1, 1.0), (1, 2.0), (2, 2.0), (2, 3.0)):
        schedule.observe(epoch, loss)
    assert schedule.lr(2, 0.1, 32) == 0.5


@pytest.mark.parametrize("taker", SCHEDULES)
@pytest.mark.parametrize("donor", BY_PERFORMANCE)
def test_the_state_goes_on_in_the_same_schedule_only_on_the_takers_own_base(donor: str, taker: str) -> None:
    first = TrialSchedule(chosen(lr=1.0, lr_schedule=donor, lr_patience=0), 9, 10)
    for epoch, loss in ((1, 1.0), (2, 0.5), (3, 2.0), (4, 1.5)):
        first.observe(epoch, loss)
    factor = first.lr(4, 0.1, 32)
    assert factor != 1
    hyperparameters = chosen(lr=0.25, batch_size=8, lr_schedule=taker)
    second, fresh = TrialSchedule(hyperparameters, 9, 10), TrialSchedule(hyperparameters, 9, 10)
    second.restore(first.state())
    assert second.lr(4, 0.1, 8) == (0.25 * factor if taker == donor else fresh.lr(4, 0.1, 8))
    assert (second.state() == first.state()) is (taker == donor)


@given(
    name=st.sampled_from(SCHEDULES),
    base=st.integers(1, 300),
    limit=st.integers(1, 2000),
    samples=st.integers(1, 3000),
    gamma=st.floats(0.01, 1),
    warmup=st.floats(0, 5),
    losses=st.lists(st.floats(0.1, 2), max_size=11),
)
def test_a_growing_batch_keeps_lr_over_batch_size_that_of_the_plain_schedule(
    name: str, base: int, limit: int, samples: int, gamma: float, warmup: float, losses: list[float]
) -> None:
    values = {
        "lr": 0.1, "batch_size": base, "lr_schedule": name, "lr_gamma": gamma, "warmup_epochs": warmup,
        "lr_step_epochs": 2, "lr_patience": 0, "batch_size_limit": limit,
    }  # fmt: skip
    plain = TrialSchedule(chosen(**values), 12, samples)
    growing = TrialSchedule(chosen(**values, decay_by="batch_size"), 12, samples)
    for epoch, loss in enumerate([1.0, *losses]):
        batch, factor = growing.batch_size(epoch), plain.lr(epoch, 0.0, base) / 0.1
        assert plain.batch_size(epoch) == base
        assert batch % base == 0
        growth = batch // base
        assert growth & (growth - 1) == 0
        assert growth == 1 or batch <= min(limit, samples, growing.largest_batch)
        assert growth == 1 or growth * factor <= 1 + 1e-6
        room = 2 * batch > min(limit, samples) or epoch < warmup or name == "one_cycle"
        assert room or 2 * growth * factor > 1 - 1e-6  # it grows as far as it may
        for at in (0, 0.3, 0.9):
            ours, theirs = growing.lr(epoch + at, 0.1, batch), plain.lr(epoch + at, 0.1, base)
            assert ours / batch == pytest.approx(theirs / base, rel=1e-12)
        for schedule in (plain, growing):
            schedule.observe(epoch + 1, loss)


def test_the_batch_does_not_grow_while_the_rate_has_yet_to_rise() -> None:
    values = {"batch_size": 4, "decay_by": "batch_size"}
    cycle = TrialSchedule(chosen(**values, lr_schedule="one_cycle", lr_pct_start=0.5), 10, 1000)
    assert [cycle.batch_size(epoch) for epoch in (0, 1, 4, 5, 7, 9)] == [4, 4, 4, 4, 4, 32]
    stable = TrialSchedule(chosen(**values, lr_schedule="wsd", lr_cooldown=0.5, lr_cooldown_shape="linear"), 8, 1000)
    assert [stable.batch_size(epoch) for epoch in range(8)] == [4, 4, 4, 4, 4, 4, 8, 16]
    warm = TrialSchedule(chosen(**values, lr_schedule="exponential", lr_gamma=0.5, warmup_epochs=2), 10, 1000)
    assert [warm.batch_size(epoch) for epoch in (0, 1, 2, 3, 4)] == [4, 4, 4, 8, 16]


def test_reports_tell_of_the_batch_that_grew(digits: Task, train: Train) -> None:
    hyperparameters = chosen(
        lr=0.05, batch_size=12, lr_schedule="exponential", lr_gamma=0.4, decay_by="batch_size", batch_size_limit=50
    )
    rows = train(hyperparameters, epochs=4).rows
    assert digits.size("train") == 100
    assert [row.scheduled_batch_size for row in rows] == [12, 24, 48, 48]
    assert [row.step for row in rows] == [9, 9 + 5, 9 + 5 + 3, 9 + 5 + 3 + 3]
    assert [row.scheduled_lr for row in rows] == pytest.approx([0.05 * f for f in (1, 0.4 * 2, 0.16 * 4, 0.064 * 4)])
    assert [row.micro_batch for row in rows] == [12, 24, 48, 48]
    limited = train(hyperparameters, epochs=4, micro_batch=20).rows
    assert [row.micro_batch for row in limited] == [12, 20, 20, 20]


@pytest.mark.parametrize("schedule", BY_PERFORMANCE)
def test_a_trial_follows_the_validation_losses_that_it_reports(train: Train, schedule: str) -> None:
    hyperparameters = chosen(lr=0.3, batch_size=20, lr_schedule=schedule, lr_patience=0, lr_gamma=0.7)
    rows = train(hyperparameters, epochs=6).rows
    expected = [1.0, *factors(hyperparameters, [row.val_loss for row in rows], epochs=6)][:6]
    assert [row.scheduled_lr for row in rows] == pytest.approx([0.3 * factor for factor in expected])
    assert len({row.scheduled_lr for row in rows}) > 2


def trainer(hyperparameters: Hyperparameters, task: Task, seed: int) -> Trainer:
    settings = TrainSettings(epochs=6)
    return Trainer(hyperparameters, settings, Transfer(task, SMALL_CNN, weights=None, seed=seed), Compute("cpu"))


@pytest.mark.parametrize("optimizer", get_args(Hyperparameters.model_fields["optimizer"].annotation))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_exploit_takes_the_donors_weights_and_state_bit_for_bit_and_its_own_lr(
    digits: Task, train: Train, schedule: str, optimizer: str
) -> None:
    """What the event of an exploit says is what the optimizer holds in the next step, times the schedule's factor."""
    values = {"optimizer": optimizer, "lr_schedule": schedule, "lr_patience": 0, "lr_threshold": 0.01}
    donor = train(chosen(**values, lr=0.02, batch_size=25), epochs=6, seed=1).checkpoints[3]
    mutated = chosen(**values, lr=0.013, batch_size=50)
    taker = trainer(mutated, digits, seed=2)
    taker.restore(donor)
    there, here = load_checkpoint(donor), load_checkpoint(taker.snapshot())
    for name in ("epoch", "samples", "step", "tensors", "optimizer_state", "strategy"):
        assert same(getattr(there, name), getattr(here, name)), name
    assert list(map(dict, here.optimizer_groups)) == list(map(dict, there.optimizer_groups))
    images, labels = next(iter(taker.batches.train(taker.epoch, 50, 2)))
    lr, _ = taker.train_step(images, labels, 0)
    factor = lr_factor(mutated, 4, 6, step=0.5, performance=there.strategy["factor"])
    assert lr == 0.013 * factor
    assert {group["lr"] for group in taker.optimizer.param_groups} == {lr}
    if schedule in ("adjusted", "dynamic"):
        assert there.strategy["factor"] != 1
