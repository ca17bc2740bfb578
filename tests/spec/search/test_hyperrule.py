"""The BiT HyperRule, against the learning rates that its authors' code gives, step by step."""

import pytest

from tlsweep.spec import load_spec
from tlsweep.spec.search.hyperrule import hyperrule
from tlsweep.spec.sweep import SweepSpec
from tlsweep.training.optimization.trial_schedule import TrialSchedule

SUPPORTS = {5_120: (100, 200, 300, 400, 500), 51_200: (500, 3_000, 6_000, 9_000, 10_000)}
"""By images: the steps at which the authors' `get_schedule` ends the warm-up, divides lr by 10, and ends."""


def authors_lr(step: int, images: int) -> float:
    warmup, *decays = SUPPORTS[images]
    return 0.003 * step / warmup if step < warmup else 0.003 / 10 ** sum(decay < step for decay in decays)


def lr_at(step: int, images: int, epochs: int) -> float:
    values = hyperrule(images, epochs)
    progress = step * values.batch_size / images
    return TrialSchedule(values, epochs, images).lr(progress, 0.0, values.batch_size)


def test_the_small_schedule_is_the_authors() -> None:
    """50 epochs of 10 steps; the edges themselves are a step's difference in when a decay counts."""
    steps = [step for step in range(500) if step % 100]
    assert [lr_at(step, 5_120, 50) for step in steps] == pytest.approx([authors_lr(step, 5_120) for step in steps])


def test_the_medium_schedule_ends_as_the_authors_and_begins_so() -> None:
    steps = [*range(0, 3_000, 50), *range(3_350, 6_000, 50), *range(6_200, 10_000, 50)]
    steps = [step for step in steps if step not in (9_000,)]
    assert [lr_at(step, 51_200, 100) for step in steps] == pytest.approx([authors_lr(step, 51_200) for step in steps])


def test_too_few_images_for_the_batch() -> None:
    values = hyperrule(195, 10)
    assert (values.batch_size, values.lr) == (128, 0.003 * 128 / 512)
    assert (values.warmup_epochs, values.lr_step_epochs) == (pytest.approx(2.0), pytest.approx(2.0))


def spec(*overrides: str) -> SweepSpec:
    return load_spec("digits", ["controls=hyperrule", "train.freeze=backbone", *overrides])


@pytest.mark.parametrize(("written", "meant"), [("0.5", 0.5), ("{choice: [0.5, 1.0]}", 2.0)])
def test_it_minimises_what_the_sweep_does(written: str, meant: float) -> None:
    arm = spec("train.loss=focal", f"train.focal_gamma={written}").arm("hyperrule")
    assert arm.hyperparameters["focal_gamma"] == meant


def test_it_is_an_arm_of_one_trial_whatever_train_says() -> None:
    arm = spec("train_images=100").arm("hyperrule")
    assert spec().trials_in("hyperrule") == 1
    assert arm.hyperparameters == hyperrule(100, 27).model_dump()
    assert arm.hyperparameters["freeze"] == "nothing"
