"""A learning rate that the sweep changes, under every schedule of torch: the curve goes on, as many times as high."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import Optimizer
from torch.optim import lr_scheduler as of_torch
from torch.optim.lr_scheduler import LRScheduler

from tlsweep.errors import FunctionError
from tlsweep.functions.rates import apply_lr

STEPS, BREAK, LR, OTHER = 12, 5, 0.1, 0.02

SCHEDULES: dict[str, Callable[[Optimizer, float], Any]] = {
    "StepLR": lambda optimizer, lr: of_torch.StepLR(optimizer, 3),
    "MultiStepLR": lambda optimizer, lr: of_torch.MultiStepLR(optimizer, [4, 8]),
    "ConstantLR": lambda optimizer, lr: of_torch.ConstantLR(optimizer, 0.5, 7),
    "LinearLR": lambda optimizer, lr: of_torch.LinearLR(optimizer, 0.1, total_iters=8),
    "ExponentialLR": lambda optimizer, lr: of_torch.ExponentialLR(optimizer, 0.9),
    "PolynomialLR": lambda optimizer, lr: of_torch.PolynomialLR(optimizer, 20, 2.0),
    "CosineAnnealingLR": lambda optimizer, lr: of_torch.CosineAnnealingLR(optimizer, 20),
    "CosineAnnealingWarmRestarts": lambda optimizer, lr: of_torch.CosineAnnealingWarmRestarts(optimizer, 4),
    "LambdaLR": lambda optimizer, lr: of_torch.LambdaLR(optimizer, lambda step: 0.95**step),
    "MultiplicativeLR": lambda optimizer, lr: of_torch.MultiplicativeLR(optimizer, lambda step: 0.95),
    "OneCycleLR": lambda optimizer, lr: of_torch.OneCycleLR(optimizer, lr, 20),
    "CyclicLR": lambda optimizer, lr: of_torch.CyclicLR(optimizer, lr / 10, lr, step_size_up=4),
    "ReduceLROnPlateau": lambda optimizer, lr: of_torch.ReduceLROnPlateau(optimizer, patience=1),
    "SequentialLR": lambda optimizer, lr: of_torch.SequentialLR(
        optimizer,
        [of_torch.LinearLR(optimizer, 0.1, total_iters=3), of_torch.CosineAnnealingLR(optimizer, 17)],
        milestones=[3],
    ),
    "ChainedScheduler": lambda optimizer, lr: of_torch.ChainedScheduler(
        [of_torch.ConstantLR(optimizer, 0.5, 4), of_torch.ExponentialLR(optimizer, 0.9)], optimizer=optimizer
    ),
}


def made(kind: str, lr: float) -> tuple[Optimizer, Any]:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [weights[0]]}, {"params": [weights[1]], "lr_scale": 0.5, "lr": lr / 2}]
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9)
    # A curve between rates of its own has one for each group.
    return optimizer, SCHEDULES[kind](optimizer, lr)


def steps(optimizer: Optimizer, schedule: Any, count: int) -> list[list[float]]:
    """The rates of each step."""
    rates = []
    for _ in range(count):
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        if isinstance(schedule, of_torch.ReduceLROnPlateau):
            schedule.step(1.0)
        else:
            schedule.step()
    return rates


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("times", [1, 2])
def test_after_a_restore_the_curve_goes_on_at_the_new_rate(kind: str, times: int) -> None:
    optimizer, schedule = made(kind, LR)
    apply_lr(LR, optimizer, schedule, "f")
    curve = steps(optimizer, schedule, STEPS)

    optimizer, schedule = made(kind, LR)
    apply_lr(LR, optimizer, schedule, "f")
    found = steps(optimizer, schedule, BREAK)
    lr = LR
    for lr in (OTHER, 0.3)[:times]:
        kept = optimizer.state_dict(), schedule.state_dict()
        optimizer, schedule = made(kind, lr)
        optimizer.load_state_dict(kept[0])
        schedule.load_state_dict(kept[1])
        apply_lr(lr, optimizer, schedule, "f")
        if not isinstance(schedule, of_torch.ReduceLROnPlateau):
            assert schedule.get_last_lr() == [float(group["lr"]) for group in optimizer.param_groups]
    found += steps(optimizer, schedule, STEPS - BREAK)

    expected = curve[:BREAK] + [[rate * (lr / LR) for rate in rates] for rates in curve[BREAK:]]
    assert found == [pytest.approx(rates, rel=1e-9) for rates in expected]


@pytest.mark.parametrize("kind", ["OneCycleLR", "CyclicLR", "SequentialLR", "ReduceLROnPlateau"])
def test_at_the_beginning_a_curve_is_as_it_was_made(kind: str) -> None:
    plain, schedule = made(kind, LR)
    expected = steps(plain, schedule, STEPS)
    optimizer, schedule = made(kind, LR)
    apply_lr(LR, optimizer, schedule, "f")
    assert steps(optimizer, schedule, STEPS) == [pytest.approx(rates) for rates in expected]


@pytest.mark.parametrize("kind", ["StepLR", "OneCycleLR", "ReduceLROnPlateau"])
def test_a_group_whose_rate_is_nought_keeps_it(kind: str) -> None:
    optimizer, schedule = made(kind, LR)
    optimizer.param_groups[1]["lr_scale"] = 0.0
    for lr in (LR, OTHER):
        apply_lr(lr, optimizer, schedule, "f")
    assert [group["lr"] > 0 for group in optimizer.param_groups] == [True, False]


def test_a_schedule_that_keeps_its_rates_elsewhere_is_refused() -> None:
    class Own(LRScheduler):
        def __init__(self) -> None:
            pass

    optimizer, _ = made("StepLR", LR)
    with pytest.raises(FunctionError, match=r"^f: trial.apply_lr\(…\) does not know where Own keeps its rates"):
        apply_lr(OTHER, optimizer, Own(), "f")
