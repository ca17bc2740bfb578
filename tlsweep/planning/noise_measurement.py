"""The gradient noise scale before a sweep, to propose batch sizes."""

import itertools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from tlsweep.planning.lr_range import endless_batches
from tlsweep.spec import Hyperparameters, TrainSettings, derive_seed
from tlsweep.training.devices import Compute, isolated, lower_precision, seed_generators
from tlsweep.training.noise_scale import Gradients, noise_scale
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer

PART = 16
"""Images in each of the parts whose gradients are compared with that of all of them."""
IMAGES = 2048
"""How many of the training split are used, which is enough: the estimate's error is that of an average over them."""


def noise_scale_at(
    loss: Callable[[Tensor, Tensor], Tensor], module: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
) -> float:
    """B_simple, in samples, at a fixed state: no parameter changes while all batches, at least two, are seen.

    The batches are the parts, and all of them together the whole, which is the most exact estimate to be had from them.
    NaN where the gradient cannot be told from its noise.

    Args:
        loss: maps images (n, C, S, S) and labels (n,) to the mean loss, a scalar.
        module: the network; its parameters that are not frozen count.
    """
    gradients = Gradients(loss, module)
    for images, labels in batches:
        gradients.add(images, labels)
    return noise_scale(*gradients.estimate())


def measure_noise_scale(
    hyperparameters: Hyperparameters,
    settings: TrainSettings,
    transfer: Transfer,
    *,
    steps: int,
    compute: Compute = Compute(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[float, float]:
    """B_simple of the network that a trial begins with, and of the one after some steps at a constant lr.

    It grows while a network learns: what its first gradients agree on is learned first.

    Args:
        hyperparameters, settings, transfer, compute: the arguments of `finetune`.
        progress: is called with the steps done and those in all.

    Raises:
        ModelError, ResourceError: what `finetune` raises.
    """
    with isolated(compute) as device:
        settings = settings.model_copy(update={"noise_scale": False})
        if lower_precision(settings, device) is torch.float16:  # in which gradients get lost that nobody scales
            settings = settings.model_copy(update={"precision": "fp32"})
        trainer = Trainer(hyperparameters, settings, transfer, compute)
        before = _now(trainer, "before")
        for step, (images, labels) in enumerate(itertools.islice(endless_batches(trainer), steps), 1):
            trainer.thaw(1.0)
            trainer.step_with(hyperparameters.lr, images, labels)
            progress(step, steps)
        return before, _now(trainer, "after")


def _now(trainer: Trainer, name: str) -> float:
    """Measure at the present state, which stays as it is; dropout and augmentation draw as in training."""
    trainer.thaw(1.0)
    seed_generators(derive_seed(trainer.seed, "noise", name), trainer.device)
    size = min(PART, trainer.task.size("train") // 2)
    batches = itertools.islice(trainer.batches.train(0, size, trainer.seed), IMAGES // size)
    trainer.forward_state.keep()
    scale = noise_scale_at(lambda images, labels: trainer.loss(images, labels)[0], trainer.module, batches)
    trainer.forward_state.restore()
    return scale
