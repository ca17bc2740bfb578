"""The BiT HyperRule: a configuration for any data set, without a search (Kolesnikov et al. 2020, "Big Transfer",
section 3.3, and the authors' `bit_hyperrule.py`). The baseline that a sweep has to beat."""

import math
from dataclasses import dataclass

from tlsweep.spec.hyperparameters import Hyperparameters

BATCH_SIZE = 512
LR = 0.003
"""The learning rate at that batch size."""


@dataclass(frozen=True)
class Schedule:
    """The steps at which lr changes: it rises linearly, is divided by 10 three times, and training ends."""

    warmup: int
    last_decay: int
    end: int


SMALL, MEDIUM = Schedule(100, 400, 500), Schedule(500, 9_000, 10_000)
LARGE = Schedule(500, 18_000, 20_000)


def schedule_for(images: int) -> Schedule:
    """The schedule for a number of images to train on: fewer than 20,000, than 500,000, or more."""
    if images < 20_000:
        return SMALL
    return MEDIUM if images < 500_000 else LARGE


def hyperrule(images: int, epochs: int, focal_gamma: float | None = None) -> Hyperparameters:
    """The rule's configuration: SGD with momentum 0.9, lr 0.003 at a batch of 512, divided by 10 three times.

    What is different here:

    - a split of fewer than 512 images has no such batch: it is the largest power of two that there is, and lr shrinks
      with it (Goyal et al. 2017);
    - training has `epochs`, not the rule's 500, 10,000 or 20,000 steps of 512: warm-up and decays keep their places in
      relation to the end;
    - three decays are equally far apart, from the end of the warm-up to the last one: with fewer than 20,000 images at
      40, 60 and 80 %, as in the authors' code, else at 33, 62 and 90 % (theirs: 30, 60 and 90 %);
    - MixUp (0.1 from 20,000 images) is left out, and so is the resolution (crops of 128 from 160 pixels below 96 x 96
      pixels, else of 480 from 512): augmentation and image size are those of `data`.

    Args:
        images: how many the training split has.
        epochs: how many a trial gets.
        focal_gamma: what the sweep minimises, of which the rule says nothing; None: as usual.
    """
    schedule = schedule_for(images)
    batch_size = min(BATCH_SIZE, 2 ** int(math.log2(images)))
    return Hyperparameters(
        optimizer="sgd",
        momentum=0.9,
        lr=LR * batch_size / BATCH_SIZE,
        batch_size=batch_size,
        lr_schedule="step",
        lr_gamma=0.1,
        warmup_epochs=epochs * schedule.warmup / schedule.end,
        lr_step_epochs=epochs * (schedule.last_decay - schedule.warmup) / schedule.end / 3,
        **({} if focal_gamma is None else {"focal_gamma": focal_gamma}),
    )
