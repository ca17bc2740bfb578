"""The lr range test: its rule on a curve that is known, and its bounds around the best lr of a sweep."""

import math

import numpy as np
import pytest
from training_trials import ONE_THREAD, SMALL_CNN, Recorder

from tlsweep.data import Task
from tlsweep.errors import ModelError
from tlsweep.planning.lr_range import HIGHEST, LOWEST, STEPS, RangeTest, bounds, range_test, smooth, solved_bounds
from tlsweep.spec import Hyperparameters, ModelSpec, TrainSettings, generator
from tlsweep.training import finetune
from tlsweep.training.transfer import Transfer

LRS = np.geomspace(LOWEST, HIGHEST, STEPS[0])


def curve(lr: float) -> float:
    """2.3 up to 1e-4, down by one each decade to 0.3 at 1e-2, then up."""
    return 2.3 - max(0, min(2, math.log10(lr) + 4)) + max(0, 3 * (math.log10(lr) + 2))


def test_the_bounds_of_a_known_curve() -> None:
    """A tenth of the fall is behind it at 10 ** -3.8, and it is lowest at 1e-2; smoothing rounds both corners."""
    lower, upper = bounds(LRS, [curve(lr) for lr in LRS])
    assert 7e-5 <= lower <= 2e-4
    assert 5e-3 <= upper <= 2e-2


@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_them_by_little(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lower, upper = bounds(LRS, [curve(lr) * rng.lognormal(0, 0.15) for lr in LRS])
    assert 2e-5 <= lower <= 4e-4
    assert 3e-3 <= upper <= 3e-2


def test_they_are_rounded_outwards_to_one_digit() -> None:
    for number in bounds(LRS, [curve(lr) for lr in LRS]):
        assert float(f"{number:.0e}") == number


def test_where_all_is_learned_the_loss_is_lowest_at_once() -> None:
    """It creeps down for three more decades, by 0.01 in all."""
    losses = [2.3 - max(0, min(2.2, 1.1 * (math.log10(lr) + 4))) - max(0, 0.003 * (math.log10(lr) + 2)) for lr in LRS]
    assert bounds(LRS, losses)[1] <= 3e-2


def test_a_loss_that_is_not_finite_is_left_out() -> None:
    losses = [curve(lr) for lr in LRS[:80]]
    assert bounds(LRS[:82], [*losses, math.nan, math.inf]) == pytest.approx(bounds(LRS[:80], losses), rel=0.5)
    assert np.isfinite(smooth(LRS[:81], [*losses, math.nan])).all()


def test_a_loss_that_does_not_fall_is_one_message() -> None:
    with pytest.raises(ModelError, match=r"the loss, 2\.3 at first, falls at no learning rate from 1e-06 to 10"):
        bounds(LRS, [2.3 + max(0, math.log10(lr)) for lr in LRS])


def test_a_head_that_was_solved_for_is_searched_below_the_lr_at_which_it_is_lost() -> None:
    """Whether the loss falls on the way or not; only noise is no fall."""
    fallen = [curve(lr) for lr in LRS]
    lower, upper = solved_bounds(LRS, fallen)
    assert upper == bounds(LRS, fallen)[1]
    assert lower == pytest.approx(min(bounds(LRS, fallen)[0], upper / 100), rel=0.01)
    noise = np.random.default_rng(0).lognormal(0, 0.02, len(LRS))
    lower, upper = solved_bounds(
        LRS, [at * (0.1 + max(0, math.log10(lr) + 3)) for lr, at in zip(LRS, noise, strict=True)]
    )
    assert 5e-4 <= upper <= 2e-3
    assert lower == pytest.approx(upper / 100, rel=0.5)
    assert float(f"{lower:.0e}") == lower
    assert solved_bounds(LRS, [0.1] * len(LRS)) == (HIGHEST / 100, HIGHEST)  # never lost


def outcome(task: Task, hyperparameters: Hyperparameters, model: ModelSpec) -> RangeTest:
    return range_test(
        hyperparameters,
        TrainSettings(),
        Transfer(task, model, weights=None, seed=0),
        compute=ONE_THREAD,
    )


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_it_follows_from_its_arguments(digits: Task, optimizer: str) -> None:
    """Whatever lr, schedule and warm-up the hyperparameters have."""
    hyperparameters = Hyperparameters(optimizer=optimizer, batch_size=16)  # type: ignore[arg-type]
    other = hyperparameters.model_copy(update={"lr": 0.5, "lr_schedule": "step", "warmup_epochs": 3.0})
    found = outcome(digits, hyperparameters, SMALL_CNN)
    assert found == outcome(digits, other, SMALL_CNN)
    assert LOWEST < found.lower < found.upper < HIGHEST
    assert found.losses[-1] > 4 * found.losses[0] or len(found.losses) in STEPS


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_bounds_contain_the_best_lr_of_a_sweep(digits: Task, optimizer: str) -> None:
    """40 random trials with lr from 1e-5 to 3 and batches of 8 to 64; the bounds are those of the two."""
    best: tuple[float, float] = (0.0, 0.0)
    for number in range(40):
        draw = generator(0, "range test", number)
        lr, batch_size = 10 ** draw.uniform(-5, math.log10(3)), draw.choice([8, 16, 32, 64])
        hyperparameters = Hyperparameters(lr=lr, batch_size=batch_size, optimizer=optimizer)  # type: ignore[arg-type]
        rows = Recorder(checkpoints=False)
        finetune(
            hyperparameters,
            TrainSettings(epochs=12),
            Transfer(digits, ModelSpec(), weights=None, seed=number),
            report=rows,
            compute=ONE_THREAD,
        )
        accuracies = [row.val_accuracy for row in rows.rows if math.isfinite(row.val_accuracy)]
        best = max(best, (max(accuracies, default=0.0), lr))
    tests = [
        outcome(digits, Hyperparameters(batch_size=size, optimizer=optimizer), ModelSpec())  # type: ignore[arg-type]
        for size in (8, 64)
    ]
    assert best[0] > 0.7
    assert min(one.lower for one in tests) <= best[1] <= max(one.upper for one in tests)
