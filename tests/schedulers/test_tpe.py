"""Proposals: those of Optuna itself, inside the space, and better than chance."""

import math
import random
from collections.abc import Callable

import optuna
import pytest
from populations import report

from tlsweep.schedulers import Created, Tpe
from tlsweep.schedulers.tpe import STARTUP
from tlsweep.spec import derive_seed
from tlsweep.spec.search.space import Choice, Distribution, LogUniform, PowersOfTwo, Uniform, Value

SPACE: dict[str, Distribution] = {
    "lr": LogUniform(1e-5, 1.0),
    "momentum": Uniform(0.0, 0.99),
    "batch_size": PowersOfTwo(8, 512),
    "optimizer": Choice(("sgd", "adam")),
}


def goodness(values: dict[str, Value]) -> float:
    """Best at lr 0.01, batch size 64."""
    return -abs(math.log10(float(values["lr"])) + 2) - abs(math.log2(int(values["batch_size"])) - 6) / 4


def search(tpe: Tpe, trials: int, seed: int, score: Callable[[dict[str, Value]], float] = goodness) -> list[float]:
    scores = []
    for number in range(trials):
        chance = random.Random(1000 * seed + number)
        values = tpe.propose(number) or {name: one.sample(chance) for name, one in SPACE.items()}
        for name, one in SPACE.items():
            assert one.clip(values[name]) == values[name]
        tpe.apply(Created(f"t{number}", values))
        scores.append(score(values))
        tpe.apply(report(f"t{number}", 4, scores[-1]))
    return scores


def test_it_finds_better_configurations_than_chance() -> None:
    better = sum(
        max(search(Tpe(SPACE, 4, seed), 30, seed)) > max(search(Tpe(SPACE, 4, seed), 10, seed + 50))
        for seed in range(5)
    )
    late = [score for seed in range(5) for score in search(Tpe(SPACE, 4, seed), 30, seed)[STARTUP:]]
    early = [score for seed in range(5) for score in search(Tpe(SPACE, 4, seed), STARTUP, seed)]
    assert sum(late) / len(late) > sum(early) / len(early) + 0.3
    assert better >= 4


def test_a_proposal_is_what_optuna_would_ask_for() -> None:
    tpe, chance = Tpe({"lr": SPACE["lr"]}, 4, 7), random.Random(3)
    sampler = optuna.samplers.TPESampler(n_startup_trials=0, seed=derive_seed(7, "tpe", 12) % 2**32)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    known = {"lr": optuna.distributions.FloatDistribution(1e-5, 1.0, log=True)}
    for number in range(12):
        lr = SPACE["lr"].sample(chance)
        tpe.apply(Created(f"t{number}", {"lr": lr}))
        tpe.apply(report(f"t{number}", 4, -abs(float(lr) - 0.1)))
        study.add_trial(
            optuna.trial.create_trial(params={"lr": lr}, distributions=dict(known), value=-abs(float(lr) - 0.1))
        )
    assert tpe.propose(12) == {"lr": study.ask(known).params["lr"]}


def test_asked_twice_it_answers_alike_and_another_seed_otherwise() -> None:
    one, same, other = (Tpe(SPACE, 4, seed) for seed in (1, 1, 2))
    for tpe in (one, same, other):
        search(tpe, 15, seed=9, score=lambda values: float(values["momentum"]))
    assert one.propose(15) == one.propose(15) == same.propose(15) != other.propose(15)


@pytest.mark.parametrize("fate", ["stopped early", "diverged"])
def test_who_was_stopped_early_or_diverged_is_avoided(fate: str) -> None:
    """Two halves of the space; trials of the upper half have the better scores, but got one epoch, or diverged."""
    space = {"lr": Uniform(0.0, 1.0)}
    tpe, chance = Tpe(space, 4, 0), random.Random(0)
    for number in range(40):
        lr = chance.random()
        tpe.apply(Created(f"t{number}", {"lr": lr}))
        epoch, score = (4, 0.5) if lr < 0.5 else (1, 0.9) if fate == "stopped early" else (3, math.nan)
        tpe.apply(report(f"t{number}", epoch, score))
    proposals = [tpe.propose(number) for number in range(40, 60)]
    assert sum(one is not None and float(one["lr"]) < 0.5 for one in proposals) >= 16
