"""Schedules: equal to torch's, step by step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from tlsweep.spec import Hyperparameters
from tlsweep.training import lr_factor

EPOCHS, SAMPLES, BATCH = 6, 40, 8
STEPS = SAMPLES // BATCH  # in an epoch


def ours(hyperparameters: Hyperparameters) -> list[float]:
    return [
        lr_factor(hyperparameters, seen / SAMPLES, EPOCHS, step=BATCH / SAMPLES)
        for seen in range(0, EPOCHS * SAMPLES, BATCH)
    ]


def torchs(make: object, **options: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer, **options)  # type: ignore[operator]
    factors = []
    for _ in range(EPOCHS * STEPS):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def each_epoch(factors: list[float]) -> list[float]:
    """torch's schedulers stepped once an epoch, repeated for each step of it."""
    return [factor for factor in factors[:EPOCHS] for _ in range(STEPS)]


def test_constant_is_one() -> None:
    assert ours(Hyperparameters(lr_schedule="constant")) == [1.0] * EPOCHS * STEPS


def test_exponential_is_torchs_each_epoch() -> None:
    expected = each_epoch(torchs(lr_scheduler.ExponentialLR, gamma=0.7))
    assert ours(Hyperparameters(lr_schedule="exponential", lr_gamma=0.7)) == pytest.approx(expected, rel=1e-12)


def test_step_is_torchs_each_epoch() -> None:
    expected = each_epoch(torchs(lr_scheduler.StepLR, step_size=2, gamma=0.1))
    hyperparameters = Hyperparameters(lr_schedule="step", lr_gamma=0.1, lr_step_epochs=2)
    assert ours(hyperparameters) == pytest.approx(expected, rel=1e-12)


def test_step_takes_fractions_of_an_epoch() -> None:
    expected = torchs(lr_scheduler.StepLR, step_size=2, gamma=0.5)  # every second of five steps
    hyperparameters = Hyperparameters(lr_schedule="step", lr_gamma=0.5, lr_step_epochs=0.4)
    assert ours(hyperparameters) == pytest.approx(expected, rel=1e-12)


def test_cosine_is_torchs_each_step() -> None:
    expected = torchs(lr_scheduler.CosineAnnealingLR, T_max=EPOCHS * STEPS)
    assert ours(Hyperparameters(lr_schedule="cosine")) == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")  # of torch's own sequence, before 2.9
@pytest.mark.parametrize("warmup", [0, 1])
def test_wsd_is_torchs_sequence_and_the_same_before_the_cooldown_however_long_the_training(warmup: int) -> None:
    cooling = (EPOCHS - warmup) * STEPS // 5
    steady = (EPOCHS - warmup) * STEPS - cooling

    def sequence(optimizer: torch.optim.Optimizer) -> lr_scheduler.SequentialLR:
        stable = lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=steady)
        falling = lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=cooling)
        return lr_scheduler.SequentialLR(optimizer, [stable, falling], milestones=[steady])

    values = {"lr_schedule": "wsd", "lr_cooldown": 0.2, "warmup_epochs": warmup}
    straight, root = (
        ours(Hyperparameters.model_validate(values | {"lr_cooldown_shape": shape})) for shape in ("linear", "sqrt")
    )
    expected = torchs(sequence)[: EPOCHS * STEPS - warmup * STEPS]
    assert straight[warmup * STEPS :] == pytest.approx(expected, abs=1e-12)
    assert root[warmup * STEPS :] == pytest.approx([1 - (1 - factor) ** 0.5 for factor in expected], abs=1e-7)
    longer = Hyperparameters.model_validate(values)
    for epoch in range(warmup, EPOCHS - 2):
        assert lr_factor(longer, epoch, EPOCHS) == lr_factor(longer, epoch, 10 * EPOCHS) == 1


@pytest.mark.parametrize("start", [0.2, 0.3, 0.5, 0.9])
def test_one_cycle_is_torchs_each_step(start: float) -> None:
    options = {"pct_start": start, "div_factor": 20.0, "final_div_factor": 300.0}
    expected = torchs(lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=EPOCHS * STEPS, cycle_momentum=False, **options)
    hyperparameters = Hyperparameters(
        lr_schedule="one_cycle", lr_pct_start=start, lr_div_factor=20, lr_final_div_factor=300
    )
    assert ours(hyperparameters) == pytest.approx(expected, rel=1e-9)


def test_one_cycle_reaches_its_peak_and_its_end_with_any_batches() -> None:
    """The last step of an epoch may be shorter than the others, and one step longer than the rise."""
    hyperparameters = Hyperparameters(lr_schedule="one_cycle", lr_pct_start=0.25, lr_div_factor=10)
    uneven = [lr_factor(hyperparameters, e, 4, step=step) for e, step in ((0, 0.7), (0.7, 0.3), (1, 0.7), (3.7, 0.3))]
    assert uneven[0] == pytest.approx(0.1)
    assert uneven[1] == pytest.approx(1.0)
    assert uneven[3] == pytest.approx(0.1 / 1e4)
    assert lr_factor(hyperparameters, 0, 4, step=1) == pytest.approx(1.0)


@pytest.mark.parametrize("warmup", [0.4, 1.0, 2.0])
@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")  # of torch's own sequence, before 2.9
def test_warm_up_then_cosine_is_torchs_sequence(warmup: float) -> None:
    steps = round(warmup * STEPS)

    def sequence(optimizer: torch.optim.Optimizer) -> lr_scheduler.SequentialLR:
        # torch's warm-up of k steps begins at 1/k, as ours, and would reach 1 one step before the cosine begins.
        rising = lr_scheduler.LinearLR(optimizer, start_factor=1 / steps, total_iters=steps - 1)
        falling = lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS * STEPS - steps)
        return lr_scheduler.SequentialLR(optimizer, [rising, falling], milestones=[steps])

    expected = torchs(sequence)
    assert ours(Hyperparameters(lr_schedule="cosine", warmup_epochs=warmup)) == pytest.approx(expected, abs=1e-12)


def test_schedules_begin_when_the_warm_up_ends() -> None:
    hyperparameters = Hyperparameters(lr_schedule="exponential", lr_gamma=0.5, warmup_epochs=1)
    assert [lr_factor(hyperparameters, epoch, EPOCHS) for epoch in (1, 1.9, 2, 3)] == [1, 1, 0.5, 0.25]


def test_drops_come_with_the_very_sample_where_floats_round_down() -> None:
    hyperparameters = Hyperparameters(lr_schedule="step", lr_gamma=0.5, lr_step_epochs=0.1)
    assert 0.3 / 0.1 < 3
    assert lr_factor(hyperparameters, 0.3, EPOCHS) == 0.5**3
    assert lr_factor(hyperparameters, 0.3 - 1e-6, EPOCHS) == 0.5**2


def test_a_warm_up_as_long_as_the_training_never_meets_the_cosine() -> None:
    hyperparameters = Hyperparameters(lr_schedule="cosine", warmup_epochs=EPOCHS)
    factors = ours(hyperparameters)
    assert factors == sorted(factors)
    assert factors[-1] == 1.0
    assert lr_factor(hyperparameters, EPOCHS, EPOCHS) == 1.0


@given(
    name=st.sampled_from(["constant", "exponential", "step", "cosine", "wsd", "one_cycle"]),
    samples=st.integers(1, 5000),
    batch=st.integers(1, 6000),
    epochs=st.integers(1, 30),
    warmup=st.floats(0, 40),
    step_epochs=st.floats(0.01, 40),
    data=st.data(),
)
def test_the_factor_is_between_zero_and_one_and_the_first_step_moves(
    name: str, samples: int, batch: int, epochs: int, warmup: float, step_epochs: float, data: st.DataObject
) -> None:
    hyperparameters = Hyperparameters.model_validate(
        {"lr_schedule": name, "lr_gamma": 0.9, "warmup_epochs": warmup, "lr_step_epochs": step_epochs}
    )
    seen = data.draw(st.integers(0, epochs * samples - 1))
    in_epoch = min(batch, samples - seen % samples)
    factor = lr_factor(hyperparameters, seen / samples, epochs, step=in_epoch / samples)
    assert 0 <= factor <= 1
    assert lr_factor(hyperparameters, 0.0, epochs, step=min(batch, samples) / samples) > 0
