"""Fine-tuning functions as users write them: the digits as a plain loop, and ones that do not keep to what is asked."""

import os
import sys
import time
from contextlib import suppress
from functools import cache, partial
from random import SystemRandom
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import tlsweep
from tlsweep.data import Task, load_task
from tlsweep.data.batches import Batches
from tlsweep.models import build_network
from tlsweep.spec import DigitsData, ModelSpec

DIGITS = {"source": "digits", "val_fraction": 0.2, "test_fraction": 0.2, "labels_per_class": 5}
NETWORK = {"name": "mlp", "args": {"hidden": [16]}}


@cache
def digits_task() -> Task:
    return load_task(DigitsData.model_validate(DIGITS), 0)


def digits(trial: tlsweep.Trial) -> None:
    """What a built-in trial with `sgd` and a constant lr does, as a plain loop; it draws images in that order."""
    task = digits_task()
    model = build_network(
        ModelSpec.model_validate(NETWORK),
        num_classes=task.num_classes,
        channels=task.channels,
        image_size=task.image_size,
        seed=trial.seed,
    ).module
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.values.lr, momentum=0.9, foreach=False)
    if state := trial.restore():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    trial.apply_lr(optimizer)
    batches = Batches(task)
    for epoch in trial.epochs():
        model.train()
        train_loss = torch.zeros((), dtype=torch.float64)
        for images, labels in batches.train(epoch - 1, trial.values.batch_size, trial.seed):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            train_loss += loss.detach().double() * len(labels)
        model.eval()
        with torch.inference_mode():
            images, labels = next(batches.evaluate("val", 4096))
            logits = model(images)
            val_loss = F.cross_entropy(logits, labels, reduction="sum").double() / len(labels)
            hits = (logits.argmax(1) == labels).double().mean()
        trial.report(
            train_loss=train_loss / task.size("train"),
            val_loss=val_loss,
            val_accuracy=hits,
            state=lambda: {"model": model.state_dict(), "optimizer": optimizer.state_dict()},
        )


def quadratic(trial: tlsweep.Trial) -> None:
    """Nothing but tensors: a parameter goes down a parabola by SGD, with noise, and a metric of its own."""
    weight = torch.nn.Parameter(torch.full((4,), 2.0))
    optimizer = torch.optim.SGD([weight], lr=trial.values.lr, momentum=trial.values.momentum)
    if state := trial.restore():
        weight.data.copy_(state["weight"])
        optimizer.load_state_dict(state["optimizer"])
    trial.apply_lr(optimizer)
    for _ in trial.epochs():
        order = trial.generator("noise")
        for _ in range(max(1, 64 // trial.values.batch_size)):
            optimizer.zero_grad()
            noise = torch.randn(4, generator=order) + 0.1 * torch.rand(4) + float(np.random.rand())
            ((weight - 0.1 * noise) ** 2 * trial.values.scale).sum().backward()
            optimizer.step()
        trial.report(
            distance=weight.detach().norm(),
            state=lambda: {"weight": weight.detach(), "optimizer": optimizer.state_dict()},
        )


QUADRATIC: dict[str, Any] = {
    "trial": "own_functions:quadratic",
    "space": {
        "lr": {"loguniform": [1e-3, 0.3]},
        "batch_size": {"powers_of_two": [8, 64]},
        "momentum": 0.5,
        "scale": {"uniform": [0.5, 1.5]},
        "form": {"choice": ["a", "b"]},
    },
    "epochs": 9,
    "search": {"strategy": "asha", "trials": 9, "metric": "distance", "mode": "min"},
}
"""A sweep over `quadratic`."""


def in_parallel(trial: tlsweep.Trial) -> None:
    """A parameter goes down a parabola in as many processes as there are, each with its share of a batch."""
    import torch.distributed
    from torch.nn.parallel import DistributedDataParallel

    trial.log(f"process {trial.rank} of {trial.processes} has {torch.get_num_threads()} thread")
    model: torch.nn.Module = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.fill_(2.0)  # type: ignore[operator]
    if trial.processes > 1:
        model = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.values.lr, momentum=0.9)
    if state := trial.restore():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    trial.apply_lr(optimizer)
    for _ in trial.epochs():
        batch = torch.rand(8, 1, dtype=torch.float64, generator=trial.generator("batch"))
        optimizer.zero_grad()
        (model(batch[trial.rank :: trial.processes]) ** 2).mean().backward()
        optimizer.step()
        weight = next(model.parameters()).detach()
        trial.report(
            distance=weight.norm(), state=lambda: {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        )


def one_returns_early(trial: tlsweep.Trial) -> None:
    for epoch in trial.epochs():
        if trial.rank == 1 and epoch == 2:
            return
        trial.report(distance=1.0, state={})


def one_reports_nothing_new(trial: tlsweep.Trial) -> None:
    for _ in trial.epochs():
        for _ in range(1 + trial.rank):
            trial.report(distance=1.0, state={})


def all_break(trial: tlsweep.Trial) -> None:
    for _ in trial.epochs():
        breakpoint()
        trial.report(distance=1.0, state={})


def one_raises(trial: tlsweep.Trial) -> None:
    for epoch in trial.epochs():
        trial.report(distance=1 / (2 - epoch * trial.rank), state={})


def one_dies(trial: tlsweep.Trial) -> None:
    import torch.distributed

    for _ in trial.epochs():
        if trial.rank == 1:
            os.abort()
        torch.distributed.barrier()  # where the other one would wait for ever
        trial.report(distance=1.0, state={})


def measures_quadratic(trial: tlsweep.Trial) -> dict[str, Any]:
    """What comes of the winner of `quadratic`: figures, and a file to take away."""
    weight = trial.restore()["weight"]
    for _ in trial.epochs():
        raise AssertionError("there is nothing left to train")
    torch.save(weight, trial.folder / "weight.pt")
    trial.log("measured")
    return {"test_distance": weight.norm(), "scale_of_it": trial.values.scale, "unknown": float("nan")}


def later_metric(trial: tlsweep.Trial) -> None:
    """Reports one more metric from its sixth epoch on."""
    trial.restore()
    for epoch in trial.epochs():
        late = {"extra": epoch} if epoch > 5 else {}
        trial.report(distance=1 / epoch, state={}, **late)


# Functions that do not keep to what is asked of them; the first of those that are called with the winner.


def finalises_by_reporting(trial: tlsweep.Trial) -> None:
    trial.report(distance=1.0, state={})


def finalises_to_a_number(trial: tlsweep.Trial) -> float:
    return 0.5


def finalises_to_text(trial: tlsweep.Trial) -> dict[str, str]:
    return {"test_distance": "low"}


def finalises_to_nameless(trial: tlsweep.Trial) -> dict[str, float]:
    return {"test distance": 0.5}


def finalises_to_a_trial(trial: tlsweep.Trial) -> dict[str, float]:
    return {"trial": 1.0}


def finalises_to_a_trial_of_the_test(trial: tlsweep.Trial) -> dict[str, float]:
    return {"test_trial": 1.0}


def finalises_to_a_confusion(trial: tlsweep.Trial) -> dict[str, float]:
    return {"confusion": 4.0}


def finalises_over_the_state(trial: Any) -> dict[str, float]:
    (trial.folder / "state.pt").write_bytes(b"mine")
    return {"distance": 1.0}


def finalises_over_the_metrics(trial: Any) -> dict[str, float]:
    (trial.folder / "metrics.json").write_bytes(b"{}")
    return {"distance": 1.0}


def finalises_twice_to_a_loss(trial: tlsweep.Trial) -> dict[str, float]:
    return {"test_loss": 1.0, "loss": 2.0}


def ends_the_process(trial: tlsweep.Trial) -> None:
    sys.exit(3)


def reports_nothing(trial: tlsweep.Trial) -> None:
    trial.restore()


def forgets_an_epoch(trial: tlsweep.Trial) -> None:
    for epoch in trial.epochs():
        if epoch != 2:
            trial.report(distance=1.0, state={})


def reports_twice(trial: tlsweep.Trial) -> None:
    for epoch in trial.epochs():
        for _ in range(epoch):
            trial.report(distance=1.0, state={})


def reports_before_an_epoch(trial: tlsweep.Trial) -> None:
    trial.report(distance=1.0, state={})


def diverges(trial: tlsweep.Trial) -> None:
    for epoch in trial.epochs():
        trial.report(distance=1.0 if epoch == 1 else float("nan"), state={})


def fails(trial: tlsweep.Trial) -> None:
    for _ in trial.epochs():
        raise ZeroDivisionError("of \x1b[31mmine")


def does_not_restore(trial: tlsweep.Trial) -> None:
    for _ in trial.epochs():
        trial.report(distance=1.0, state={})


def returns_early(trial: tlsweep.Trial) -> None:
    trial.restore()
    for epoch in trial.epochs():
        trial.report(distance=1.0, state={})
        if epoch == 2:
            return


def sets_a_value(trial: tlsweep.Trial) -> None:
    trial.values.lr = 1.0


def reads_an_unknown_value(trial: tlsweep.Trial) -> None:
    trial.log(trial.values.lora_rank)


def shares_by_a_path(trial: tlsweep.Trial) -> None:
    trial.share("../../etc", dict)


def reporting(state: Any = None, **metrics: Any) -> Any:
    """A function that reports this in each epoch."""

    def function(trial: tlsweep.Trial) -> None:
        for _ in trial.epochs():
            trial.report(state={} if state is None else state, **metrics)

    return function


def no_state(trial: tlsweep.Trial) -> None:
    for _ in trial.epochs():
        trial.report(distance=1.0)


def swallows_what_is_wrong(trial: tlsweep.Trial) -> None:
    for _ in trial.epochs():
        with suppress(Exception):
            trial.report(val_loss=1.0, state={})


def has_enough(trial: tlsweep.Trial) -> None:
    """Ends by a count in its own state, which it looks at first."""
    epochs = (trial.restore() or {"epochs": 0})["epochs"]
    for _ in trial.epochs():
        if epochs >= 3:
            return
        epochs += 1
        trial.report(distance=1.0 / trial.values.scale, state={"epochs": epochs})


def measures_time(trial: tlsweep.Trial) -> None:
    trial.restore()
    for _ in trial.epochs():
        trial.report(distance=1.0, seconds=SystemRandom().random(), state={})


def asks_for_what_may_not_be(trial: tlsweep.Trial) -> None:
    values = trial.values
    found = [values.get("dropout", 0.25), "dropout" in values, "lr" in values, values.get("lr") == values.lr]
    assert found == [0.25, False, True, True]
    for _ in trial.epochs():
        trial.report(distance=1.0, state={})


name_with_a_slash = reporting(**{"distance": 1.0, "val/f1": 0.5})
no_metric = reporting(val_loss=1.0)
text_for_a_number = reporting(distance="low")
true_for_a_number = reporting(distance=True)
several_for_a_number = reporting(distance=torch.zeros(2))
name_of_a_column = reporting(distance=1.0, node=2.0)
name_of_a_hyperparameter = reporting(distance=1.0, scale=2.0)
state_is_no_mapping = reporting([1], distance=1.0)
state_of_numpy = reporting(lambda: {"rng": {"state": [np.zeros(2)]}}, distance=1.0)
state_of_objects = reporting({"model": torch.nn.Linear(1, 1)}, distance=1.0)
state_with_odd_keys = reporting({(1, 2): 3}, distance=1.0)


def two_arguments(trial: tlsweep.Trial, other: int) -> None: ...


not_callable = 1


# Functions that `check` sees through.


def descent(trial: tlsweep.Trial, *, order: str = "", lacks: str = "", draws: bool = False) -> None:
    """As `quadratic`, in the given order of `l` (load the optimizer) and `a` (apply lr), without a part of it kept."""
    weight = torch.nn.Parameter(torch.full((4,), 2.0))
    optimizer = torch.optim.SGD([weight], lr=trial.values.lr, momentum=0.9)
    state = trial.restore()
    if state:
        weight.data.copy_(state["weight"])
    for step in order:
        if step == "a":
            trial.apply_lr(optimizer)
        elif state and "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
    for _ in trial.epochs():
        optimizer.zero_grad()
        ((weight - 0.1) ** 2).sum().backward()
        optimizer.step()
        parts = {"weight": weight.detach(), "optimizer": optimizer.state_dict()}
        noise = np.random.default_rng().random() if draws else 0.0
        trial.report(
            distance=weight.detach().norm() + noise,
            state={name: part for name, part in parts.items() if name != lacks},
        )


in_part = partial(descent, order="la")


def applies_lr(trial: tlsweep.Trial) -> None:
    descent(trial, order="la")


def applies_lr_too_early(trial: tlsweep.Trial) -> None:
    descent(trial, order="al")


def applies_lr_to_one_of_two(trial: tlsweep.Trial) -> None:
    optimizers = [torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=trial.values.lr) for _ in range(2)]
    for at, state in (trial.restore() or {}).items():
        optimizers[int(at)].load_state_dict(state)
    trial.apply_lr(optimizers[0])
    for _ in trial.epochs():
        for optimizer in optimizers:
            optimizer.step()
        trial.report(distance=1.0, state={str(at): optimizer.state_dict() for at, optimizer in enumerate(optimizers)})


def never_applies_lr(trial: tlsweep.Trial) -> None:
    descent(trial, order="l")


def keeps_no_momentum(trial: tlsweep.Trial) -> None:
    descent(trial, order="la", lacks="optimizer")


def draws_from_elsewhere(trial: tlsweep.Trial) -> None:
    descent(trial, order="la", draws=True)


def without_an_optimizer(trial: tlsweep.Trial) -> None:
    value = trial.restore() or {"value": 1.0}
    for _ in trial.epochs():
        value = {"value": value["value"] * (1 - trial.values.lr)}
        trial.report(distance=value["value"], state=value)


# Functions for real workers.


def dies_once(trial: tlsweep.Trial) -> None:
    """Ends its process in a third epoch, whoever is the first to get there."""
    trial.restore()
    for epoch in trial.epochs():
        if epoch == 3:
            try:
                os.close(os.open(trial.values.marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os._exit(1)
        trial.report(distance=1 / epoch, state={})


def slow_quadratic(trial: tlsweep.Trial) -> None:
    """As `quadratic`, with time to be killed in."""
    report = trial.report

    def slowly(**options: Any) -> None:
        time.sleep(0.3)
        report(**options)

    trial.report = slowly  # type: ignore[method-assign]
    quadratic(trial)
