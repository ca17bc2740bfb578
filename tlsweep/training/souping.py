"""Averages of networks that were trained from one start: model soups (Wortsman et al. 2022, arXiv:2203.05482).

An average of checkpoints is a checkpoint, which is evaluated and exported like any other.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tlsweep.data.splits import stratified
from tlsweep.data.task import Indices, Task
from tlsweep.models.loading import load_state
from tlsweep.spec import TrainSettings, derive_seed
from tlsweep.training.checkpoint import Checkpoint, changed_tensors, dump_checkpoint, load_checkpoint
from tlsweep.training.devices import Compute, autocast, isolated, move_to_device
from tlsweep.training.evaluation import evaluation_batch_size, knows_auroc, make_batches
from tlsweep.training.microbatch import ForwardState, MicroBatch
from tlsweep.training.networks import trained_network
from tlsweep.training.transfer import Transfer

START_SHARES = (0.25, 0.5, 0.75)
"""Shares of the start that are tried beside it: WiSE-FT (Wortsman et al. 2022, arXiv:2109.01903) finds its best ones
between the ends, and each costs an evaluation."""
LEANING_SHARES = (0.5, 0.375, 0.25, 0.125)
"""Shares of the start that a single network may get: up to the half that WiSE-FT recommends untuned."""
STATISTICS_BATCH = 128
"""Training images at once from which batch norm's statistics are taken again: each batch counts alike, as in torch's
`update_bn`, so they should be large enough to be alike."""

Score = tuple[float, ...]
"""The larger one is better."""


@dataclass(frozen=True)
class Ingredient:
    """A network that may go into a soup."""

    checkpoint: bytes | None
    """None for what the trial begins with."""
    transfer: Transfer
    """That of the trial that made the checkpoint. All ingredients have the same model, weights and images."""


class Mix(NamedTuple):
    """What a soup is made of."""

    parts: tuple[int, ...]
    """Numbers of ingredients, each with the same share of what the start leaves."""
    start: float = 0.0
    """The share of the start: 0 to 1."""


def search_mix(count: int, score: Callable[[Mix], Score]) -> tuple[Mix, dict[Mix, Score]]:
    """Find the best mix of `count` ingredients greedily, then the best share of the start in it.

    The best single one comes first; each next one, from good to bad, stays if the average is no worse with it. So no
    mix that is found is worse than the best single ingredient, by `score`, which is asked once for each mix.

    Returns:
        The mix, and the scores of all that were tried.
    """
    tried = {Mix((part,)): score(Mix((part,))) for part in range(count)}
    # sorted() is stable: of equals the one that the caller ranked first.
    ranked = sorted(range(count), key=lambda part: tried[Mix((part,))], reverse=True)
    best = Mix((ranked[0],))
    for part in ranked[1:]:
        more = Mix((*best.parts, part))
        tried[more] = score(more)
        if tried[more] >= tried[best]:
            best = more
    parts = best.parts
    for share in START_SHARES:
        mixed = Mix(parts, share)
        tried[mixed] = score(mixed)
        if tried[mixed] > tried[best]:
            best = mixed
    return best, tried


def without_optimizer(checkpoint: bytes) -> bytes:
    """The checkpoint without what only training needs: often two thirds of it."""
    whole = load_checkpoint(checkpoint)
    return dump_checkpoint(replace(whole, optimizer_state={}, optimizer_groups=[], trained={}, server={}))


def blend(
    ingredients: Sequence[Ingredient], mix: Mix, *, seed: int, settings: TrainSettings, compute: Compute = Compute()
) -> bytes | None:
    """The checkpoint of a mix; of a single ingredient without any of the start its own.

    Numbers that are no fractions (counters) are those of the first. Batch norms whose statistics differ between the
    parts take theirs again from the training images: those of an average are not the average of theirs.

    Args:
        ingredients: At least those that the mix names.
        mix: See `Mix`.
        seed: The order of the training images follows from it, and how they are changed.
        settings: Say precision and memory format.
        compute: Where it is computed.

    Raises:
        ResultsError: a checkpoint cannot be read.
        ModelError: a checkpoint is of another network.
        ResourceError: the memory is too small for one image.
    """
    first = ingredients[mix.parts[0]]
    if len(mix.parts) == 1 and not mix.start:
        return first.checkpoint
    parts = [*(ingredients[part] for part in mix.parts), Ingredient(None, first.transfer)]
    shares = [*[(1 - mix.start) / len(mix.parts)] * len(mix.parts), mix.start]
    if not mix.start:
        parts, shares = parts[:-1], shares[:-1]
    with isolated(compute) as device, autocast(settings, device):
        network = trained_network(first.checkpoint, first.transfer)
        module = network.module
        tensors, differing = average(map(_state, parts), shares)
        load_state(module, tensors, assign=False)
        norms = [
            layer
            for name, layer in module.named_modules()
            if isinstance(layer, _BatchNorm) and f"{name}.running_mean" in differing
        ]
        if norms:
            channels_last = move_to_device(module, device, settings.channels_last)
            batches = make_batches(first.transfer.task, device, channels_last=channels_last)
            size = min(STATISTICS_BATCH, evaluation_batch_size(first.transfer.task))
            take_statistics(module, norms, batches.train(0, size, seed), MicroBatch("batch norm", device), device)
        found = {name: tensor.cpu().contiguous() for name, tensor in changed_tensors(network, 0).items()}
    return dump_checkpoint(
        Checkpoint(
            epoch=0, samples=0, step=0, untouched=0, tensors=found, optimizer="", optimizer_state={}, hyperparameters={}
        )
    )


def _state(ingredient: Ingredient) -> dict[str, Tensor]:
    return dict(trained_network(ingredient.checkpoint, ingredient.transfer).module.state_dict())


def average(states: Iterable[Mapping[str, Tensor]], shares: Sequence[float]) -> tuple[dict[str, Tensor], set[str]]:
    """The weighted mean of state dicts with the same names and shapes, and the names of what differs between them.

    What is equal in all of them stays what it is, to the last bit. One is looked at after the other, so that three
    networks are in memory, however many there are.
    """
    first: Mapping[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    differing: set[str] = set()
    for state, share in zip(states, shares, strict=True):
        first = first or state
        for name, tensor in state.items():
            if tensor.is_floating_point():
                sums[name] = sums.get(name, 0) + share * tensor.double()
            if not torch.equal(tensor, first[name]):
                differing.add(name)
    mean = {name: sums[name].to(tensor.dtype) for name, tensor in first.items() if name in differing and name in sums}
    return {**first, **mean}, differing


@torch.no_grad()
def take_statistics(
    module: nn.Module,
    norms: Collection[_BatchNorm],
    batches: Iterator[tuple[Tensor, Tensor]],
    micro_batch: MicroBatch,
    device: str,
) -> None:
    """Give batch norms the statistics of these batches, each batch with the same weight, as torch's `update_bn` does.

    That trains all of a network meanwhile: here nothing is dropped, and batch norms that were frozen stay as they are.
    """
    module.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    state = ForwardState(module, device)
    for images, labels in batches:
        state.keep()
        micro_batch.run(lambda part, _: module(part), images, labels, undo=state.restore)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def halves(task: Task, seed: int) -> tuple[Indices, Indices] | None:
    """The validation images in two halves, each with its share of every class; None where they are too few for that."""
    images = task.splits["val"]
    if len(images) < 2 * task.num_classes:
        return None
    # RandomState, as of all splits: its stream is frozen for good (NEP 19).
    random = np.random.RandomState(derive_seed(seed, "soup", "halves") % 2**32)
    first, second = stratified(task.labels[images], (len(images) + 1) // 2, random)
    return images[first], images[second]


def evaluate_ensemble(
    ingredients: Sequence[Ingredient], *, split: str, settings: TrainSettings, compute: Compute = Compute()
) -> dict[str, float] | None:
    """Loss and accuracy of the mean of the networks' probabilities; None where these are too many to be kept.

    One network after the other is on the device.
    """
    task = ingredients[0].transfer.task
    if not knows_auroc(task, split):
        return None
    probable = sum(_probabilities(ingredient, split, settings, compute) for ingredient in ingredients)
    assert isinstance(probable, Tensor)
    labels = torch.from_numpy(task.labels[task.splits[split]].astype(np.int64))
    own = probable.gather(1, labels[:, None]) / len(ingredients)
    return {
        "networks": len(ingredients),
        # As float32 probabilities they may be 0, and the loss is a finite number.
        "loss": float(-own.clamp_min(torch.finfo(torch.float32).tiny).log().mean()),
        "accuracy": float((probable.argmax(1) == labels).double().mean()),
    }


@torch.inference_mode()
def _probabilities(ingredient: Ingredient, split: str, settings: TrainSettings, compute: Compute) -> Tensor:
    """Shape (N, classes), in float64 on the CPU."""
    task = ingredient.transfer.task
    with isolated(compute) as device, autocast(settings, device):
        module = trained_network(ingredient.checkpoint, ingredient.transfer).module.eval()
        channels_last = move_to_device(module, device, settings.channels_last)
        micro_batch, found = MicroBatch("evaluation", device), list[Tensor]()
        batches = make_batches(task, device, channels_last=channels_last)
        for images, labels in batches.evaluate(split, evaluation_batch_size(task)):
            found += micro_batch.run(lambda part, _: module(part).float().softmax(1).cpu(), images, labels)
    return torch.cat(found).double()
