"""A recipe that is trained again follows its schedule, epoch by epoch."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from populations import VALUES, report, tell

from tlsweep.errors import SpecError
from tlsweep.schedulers import Continue, Exploit, Stop, make_rules
from tlsweep.spec import dump_spec, load_spec
from tlsweep.spec.recipe import recipe_spec
from tlsweep.sweep.assignment import starting_values

RECIPE: dict[str, Any] = {
    "trial": "t0001", "arm": "main", "seed": 3, "reached": {"epoch": 7, "val_accuracy": 0.9}, "epochs": 10,
    "precision": "auto", "batch_norm": "frozen",
    "schedule": [
        {"from_epoch": 0, "to_epoch": 2, "trial": "t0003", "number": 3, "lr": 0.1, "batch_size": 32},
        {"from_epoch": 2, "to_epoch": 7, "trial": "t0001", "number": 1, "lr": 0.2, "batch_size": 16},
    ],
    "constants": {"optimizer": "adamw", "weight_decay": 0.001},
    "data": {"source": "digits", "labels_per_class": 10},
    "model": {"name": "cnn", "weights": None},
}  # fmt: skip


def test_the_spec_of_a_confirmation_says_what_the_recipe_says() -> None:
    spec = load_spec(recipe_spec(RECIPE, 5))
    values = spec.train.resolve({})
    assert (values.lr, values.batch_size, values.optimizer, values.weight_decay) == (0.1, 32, "adamw", 0.001)
    assert (spec.train.epochs, spec.train.batch_norm, spec.seed) == (10, "frozen", 3)
    assert (spec.data.repeats, spec.data.labels_per_class, spec.trials_per_arm) == (5, 10, 1)


def test_it_changes_values_where_the_recipe_did_and_ends_where_it_ended() -> None:
    rules, values, changes = make_rules(load_spec(recipe_spec(RECIPE, 5)), "main"), VALUES | {"lr": 0.1}, {}
    for epoch in range(1, 7):
        decision = tell(rules, report("a", epoch, 0.5, values=values))
        if isinstance(decision, Exploit):
            assert (decision.donor, decision.epoch) == ("a", epoch)
            assert decision.checkpoint == f"a/g0-e{epoch}"
            values = dict(decision.hyperparameters)
            changes[epoch] = (values["lr"], values["batch_size"])
        else:
            assert isinstance(decision, Continue)
    assert changes == {2: (0.2, 16)}
    assert isinstance(tell(rules, report("a", 7, 0.5, values=values)), Stop)


def test_each_rival_follows_a_schedule_of_its_own_with_the_winners_seeds() -> None:
    rivals = "search.rivals={t0004: [{to_epoch: 1, values: {lr: 0.3}}, {to_epoch: 4, values: {momentum: 0.5}}]}"
    spec = load_spec(recipe_spec(RECIPE, 5), [rivals])
    assert load_spec(yaml.safe_load(dump_spec(spec))) == spec
    assert (spec.arms, spec.trials_in("t0004")) == (("main", "t0004"), 1)
    values = starting_values(spec, "t0004", 0)
    assert values == starting_values(spec, "main", 0) | {"lr": 0.3}
    rules, seen = make_rules(spec, "t0004"), []
    for epoch in range(1, 5):
        decision = tell(rules, report("a", epoch, 0.5, values=values))
        values = dict(decision.hyperparameters) if isinstance(decision, Exploit) else values
        seen.append((values["lr"], values["momentum"]))
    assert seen == [(0.1, 0.5)] * 4  # from the first step's end on, as `train` has it again
    assert isinstance(decision, Stop)


def test_a_step_says_what_differs_from_train() -> None:
    steps = "search.schedule=[{to_epoch: 2, values: {lr: 0.02}}, {to_epoch: 4, values: {momentum: 0.5}}, {to_epoch: 6}]"
    spec = load_spec({"data": {"source": "digits"}, "search": {"strategy": "recipe"}}, [steps])
    assert load_spec(yaml.safe_load(dump_spec(spec))) == spec  # as every verb reads it back
    values = starting_values(spec, "main", 0)
    assert (values["lr"], values["momentum"]) == (0.02, 0.9)
    rules, seen = make_rules(spec, "main"), []
    for epoch in range(1, 6):
        decision = tell(rules, report("a", epoch, 0.5, values=values))
        values = dict(decision.hyperparameters) if isinstance(decision, Exploit) else values
        seen.append((values["lr"], values["momentum"]))
    assert seen == [(0.02, 0.9), (1e-3, 0.5), (1e-3, 0.5), (1e-3, 0.9), (1e-3, 0.9)]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.lr={loguniform: [0.1, 0.2]}", "recipe draws nothing, but lr are distributions"),
        ("train.epochs=5", "search.schedule ends at epoch 7, after train.epochs 5"),
        ("search.schedule=[{to_epoch: 3}, {to_epoch: 2}]", "each step must end after the one before it"),
        ("search.schedule=[{to_epoch: 3, values: {lr: -1}}]", "lr"),
        ("search.schedule=[{to_epoch: 3, values: {speed: 1}}]", "speed"),
        ("search.rivals={t0001: [{to_epoch: 11}]}", "search.rivals.t0001 ends at epoch 11, after train.epochs 10"),
        ("search.rivals={t0001: [{to_epoch: 3}, {to_epoch: 2}]}", "each step must end after the one before it"),
        ("search.rivals={t0001: [{to_epoch: 3, values: {lr: -1}}]}", "lr"),
        ("search.rivals={t0001: []}", "rivals"),
        ("search.rivals={main: [{to_epoch: 3}]}", "'main' must be letters, .* and no other arm's name"),
        ("search.rivals={tutorial: [{to_epoch: 3}]}", "no other arm's name"),
        ("search.rivals={a/b: [{to_epoch: 3}]}", "'a/b' must be letters"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_message(override: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        load_spec(recipe_spec(RECIPE, 2), [override])


def test_a_recipe_that_was_written_is_read(tmp_path: Path) -> None:
    """What `report/recipe.py` writes for a finished population, mutation included."""
    from builders import make_sweep

    from tlsweep.report.recipe import confirmation, write_recipe

    results = make_sweep(tmp_path)
    write_recipe(results.path)
    spec = load_spec(confirmation(results, 4))
    assert [step.to_epoch for step in spec.search.schedule] == [1, 2, 4]  # type: ignore[union-attr]
    assert spec.search.metric == results.spec.search.metric
