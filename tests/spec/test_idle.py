"""Settings that cannot act: said before a sweep begins, by every verb alike."""

from collections.abc import Callable
from typing import Any

import pytest

import tlsweep
from tlsweep.errors import SpecError
from tlsweep.planning import make_plan
from tlsweep.schedulers.tpe import STARTUP
from tlsweep.spec import SweepSpec, idle, load_spec, presets
from tlsweep.spec.idle import refuse_idle, remarks
from tlsweep.sweep import debug_trial

BASE = {
    "data": {"source": "digits"},
    "train": {"epochs": 10, "lr": {"loguniform": [1e-4, 0.1]}, "batch_size": {"powers_of_two": [8, 64]}},
    "search": {"strategy": "asha"},
}
FIXED = "train={lr: {choice: [0.1]}, epochs: 10}"


def spec(*overrides: str) -> SweepSpec:
    return load_spec(BASE, overrides)


NEVER_ACTS = [
    (["search={strategy: pbt, interval: 10}"], "search.interval = 10: members would first be compared at epoch 10"),
    (["search={strategy: pb2, interval: 12}"], "search.interval = 12: members would first be compared at epoch 12"),
    (["search.strategy=pbt", "train.epochs=1"], "search.interval = 1: members would first be compared at epoch 1"),
    (["search={strategy: asha_then_pbt, screening_epochs: 9}"], "at epoch 10 after the screening's 9"),
    (["search={strategy: asha_then_pbt, interval: 10}"], "search.interval = 10: members would first be compared"),
    (["search.strategy=pbt", FIXED], "search.mutate = ['lr', 'batch_size']: none can change"),
    (["search={strategy: pbt, factors: [1], resample_probability: 0, mutate: [lr]}"], "none can change"),
    *(
        (
            [f"train.lr_schedule={name}", "train.lr_gamma=1", "train.lr_step_epochs=2"],
            "never changes lr; write less than 1, or constant",
        )
        for name in ("exponential", "step", "plateau", "{choice: [step, plateau]}")
    ),
    (["budget.target=1.5"], "budget.target = 1.5: is never reached, as val_accuracy lies between 0 and 1"),
    (["budget.target=95"], "lies between 0 and 1; for 95 % write 0.95"),
    (["budget.target=0", "search.metric=val_f1"], "is reached by every trial, as val_f1 lies between 0 and 1"),
    (["budget.target=0", "search.metric=val_ece"], "is never reached, as val_ece lies between 0 and 1"),
    (
        ["budget.target=-0.5", "search.metric=val_loss"],
        "budget.target = -0.5: val_loss is above 0, and better when lower",
    ),
    (["search.min_epochs=10"], "search.min_epochs = 10: must be below train.epochs 10, or no trial is stopped"),
    (["search.min_epochs=50", "search.form=stopping"], "search.min_epochs = 50: must be below train.epochs 10"),
    (["train.warmup_epochs=10"], "train.warmup_epochs = 10: must be below train.epochs 10"),
    (["train.warmup_epochs={choice: [10, 20]}"], "train.warmup_epochs = 10: must be below train.epochs 10"),
    (
        ["train.lr_schedule=plateau", "train.lr_patience=9"],
        "train.lr_patience = 9: lr would be lowered after train.epochs",
    ),
    (
        ["train.lr_schedule=plateau", "train.lr_patience={choice: [9, 99]}"],
        "train.lr_patience = 9: lr would be lowered",
    ),
    (["train.lr_schedule=step"], "train.lr_step_epochs = 10: must be below train.epochs 10"),
]


def checked(spec: SweepSpec) -> None:
    make_plan(spec)


def launched(spec: SweepSpec) -> None:
    tlsweep.launch(spec)


def debugged(spec: SweepSpec) -> None:
    debug_trial(spec, report=print)


@pytest.mark.parametrize("verb", [checked, launched, debugged])
@pytest.mark.parametrize(("overrides", "words"), NEVER_ACTS)
def test_what_can_never_act_is_the_same_mistake_for_every_verb_before_images_are_read(
    verb: Callable[[SweepSpec], None], overrides: list[str], words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        verb(spec("data={source: folder, path: /nowhere}", *overrides))
    assert words in str(caught.value)
    assert len(str(caught.value)) <= 500


def test_several_are_all_named() -> None:
    with pytest.raises(SpecError, match="3 settings can never act:\n") as caught:
        refuse_idle(spec("budget.target=7", "train.warmup_epochs=20", "search.min_epochs=10"))
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    "overrides",
    [
        ["search={strategy: pbt, interval: 9}"],
        ["search={strategy: pbt, mutate: [lr], resample_probability: 0, factors: [1, 2]}"],
        ["search={strategy: pbt, explore: false}"],
        ["search={strategy: asha_then_pbt, screening_epochs: 8}"],
        ["search.min_epochs=9"], ["budget.target=1"], ["budget.target=2", "search.metric=val_loss"],
        ["train.lr_schedule=plateau", "train.lr_patience=8"],
        ["train.lr_schedule=plateau", "train.lr_gamma={choice: [0.5, 1]}"],
        ["train.lr_schedule={choice: [constant, plateau]}", "train.lr_gamma=1", "train.lr_patience=99"],
        ["train.decay_by=batch_size"], ["train.decay_by=batch_size", "train.batch_size={powers_of_two: [8, 2048]}"],
        ["train.warmup_epochs={choice: [1, 20]}"], ["train.lr_schedule={choice: [step, cosine]}"],
    ],
)  # fmt: skip
def test_what_can_act_once_is_none(overrides: list[str]) -> None:
    refuse_idle(spec(*overrides))
    assert remarks(spec(*overrides)) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["search.metric=val_ece"], "search.metric = val_ece: a network that guesses"),
        ([FIXED], "all 20 trials have the same hyperparameters, and differ in their seeds alone"),
        (["train.momentum={choice: [0.9]}"], "train.momentum: a distribution of one value is a constant"),
        (["search.trials=2"], "search.trials = 2: fewer than search.min_reports 3"),
        (["search.reduction_factor=50"], "search.trials = 20: fewer than search.min_reports 3 or reduction_factor 50"),
        (["search.sampler=tpe", "search.trials=10"], "the first 10 configurations are random, and there are 10"),
        (
            ["train.decay_by=batch_size", "train.batch_size_limit=8", "train.batch_size={powers_of_two: [8, 64]}"],
            "train.decay_by = batch_size: no batch grows, as all have at least train.batch_size_limit 8 images",
        ),
        (
            ["train.decay_by=batch_size", "train.lr_schedule=constant"],
            "train.decay_by has no effect with lr_schedule constant",
        ),
        (["budget.epochs=201"], "budget.epochs = 201: all trials of an arm take at most 200"),
        (["budget.epochs=9"], "budget.epochs = 9: below train.epochs 10, so that no trial gets to the end"),
        (["train.lr_gamma=0.5"], "train.lr_gamma has no effect with lr_schedule cosine"),
        (["train.nesterov=true", "train.optimizer={choice: [adam, adamw]}"], "no effect with optimizer adam, adamw"),
        (["train.focal_gamma=1"], "train.focal_gamma has no effect with loss cross_entropy"),
        (["train.class_weights=balanced", "train.sampler=balanced"], "rare classes count twice; one is enough"),
        (["train.batch_size_limit=64"], "train.batch_size_limit has no effect with decay_by lr"),
    ],
)
def test_what_is_hardly_meant_is_remarked(overrides: list[str], words: str) -> None:
    (remark,) = remarks(spec(*overrides))
    assert words in remark
    refuse_idle(spec(*overrides))


@pytest.mark.parametrize(
    "values",
    [
        {"lr_schedule": "step"},
        {"lr_schedule": "plateau", "lr_patience": 99},
        {"lr_schedule": "exponential", "lr_gamma": 1},
        {"warmup_epochs": 20},
    ],
)
def test_what_a_search_drew_may_be_trained_again(values: dict[str, Any]) -> None:
    steps = [{"to_epoch": 8, "values": values}]
    recipe = {"epochs": 8, "lr": 0.1, **values}
    refuse_idle(load_spec(BASE | {"train": recipe, "search": {"strategy": "recipe", "schedule": steps}}))


def test_tpe_begins_when_it_is_said_to() -> None:
    assert idle._STARTUP == STARTUP


@pytest.mark.parametrize("name", presets())
def test_no_preset_has_any(name: str) -> None:
    refuse_idle(load_spec(name))
    assert remarks(load_spec(name)) == []


@pytest.mark.parametrize("spec", [{"data": {"source": "digits"}}, "digits", None])
def test_launch_and_resume_take_a_spec_and_say_how_to_make_one(spec: object) -> None:
    with pytest.raises(SpecError, match=r"tlsweep.launch takes a spec, not .*; write tlsweep.load_spec\(…\) around it"):
        tlsweep.launch(spec)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"tlsweep.resume takes a spec, not .*; write tlsweep.load_spec\(…\) around it"):
        tlsweep.resume("mine", spec)  # type: ignore[arg-type]


def test_load_spec_says_what_it_takes() -> None:
    assert load_spec(BASE, "seed=3").seed == 3
    with pytest.raises(SpecError, match="load_spec takes a preset's name, a file or a mapping, not 3"):
        load_spec(3)  # type: ignore[arg-type]
