"""How a network does on a split."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.spec import Hyperparameters, TrainSettings
from tlsweep.training.devices import Compute, autocast, isolated, move_to_device
from tlsweep.training.frozen import FeatureSource, Way, evaluated_way
from tlsweep.training.metrics import Evaluation, score_each
from tlsweep.training.microbatch import MicroBatch
from tlsweep.training.networks import only_its_head_is_new, trained_network
from tlsweep.training.transfer import Transfer

VALUES_PER_BATCH = 2**23
"""Input values in a batch: 55 colour images of 224 pixels, thousands of tiny ones. The hyperparameter batch size has no
part in it, so that trials are compared on the very same computation."""
IMAGES_PER_BATCH = 4096
PROBABILITIES = 2**27
"""Probabilities (images × classes) of a split that are kept for the AUROC, 0.5 GiB: 134,000 images in 1,000 classes."""


def evaluation_batch_size(task: Task) -> int:
    """How many images to evaluate at once."""
    return images_at_once(task.channels, task.image_size)


def images_at_once(channels: int, side: int) -> int:
    """How many images of this many channels and of this side make a batch where nothing is learned."""
    return max(1, min(IMAGES_PER_BATCH, VALUES_PER_BATCH // (channels * side**2)))


def make_batches(
    task: Task,
    device: str,
    strengths: Hyperparameters = Hyperparameters(),
    *,
    channels_last: bool,
    sampler: str = "shuffle",
    beside: Batches | None = None,
) -> Batches:
    """The batches of a trial. For a GPU, as many processes as CPU threads decode a streamed task ahead; where the CPU
    itself trains, they would only take its cores away. `beside`: of another run of the trial, to share its readers."""
    workers = torch.get_num_threads() if device.startswith("cuda") else 0
    return Batches(
        task, strengths, device=device, channels_last=channels_last, workers=workers, sampler=sampler, beside=beside
    )


@torch.inference_mode()
def evaluate(way: Way, task: Task, split: str, micro_batch: MicroBatch) -> Evaluation:
    """Loss and figures of merit of a network on a split.

    The results stay on the device until the end, so that it is waited for once. Top-5 accuracy is None with fewer than
    six classes, of which it would tell nothing, and the AUROC where the probabilities are too many to be kept.

    Raises:
        ResourceError: the memory is too small for one image.
    """

    def judged(images: Tensor, labels: Tensor) -> _Judged:
        return _judge(_infer(way.forward, images, labels)[None], labels, keeps=knows_auroc(task, split))

    results: list[_Judged] = []
    for images, labels in way.batches.evaluate(split, evaluation_batch_size(task)):
        results += micro_batch.run(judged, images, labels)
    return _evaluations(results, task, split)[0]


@torch.inference_mode()
def evaluate_each(ways: Sequence[Way], task: Task, split: str, micro_batches: Sequence[MicroBatch]) -> list[Evaluation]:
    """The same of several networks for one task, each with the figures that it has alone, on a CPU bit for bit.

    All logits of the split are kept until the last network has made its own; these are computed one network after
    another, as anywhere else.
    """
    logits: list[Tensor] = []
    for way, micro_batch in zip(ways, micro_batches, strict=True):
        parts: list[Tensor] = []
        for images, labels in way.batches.evaluate(split, evaluation_batch_size(task)):
            parts += micro_batch.run(partial(_infer, way.forward), images, labels)
        logits.append(torch.cat(parts))
    labels = torch.from_numpy(task.labels[task.splits[split]]).to(logits[0].device)
    judged = _judge(torch.stack(logits), labels, keeps=knows_auroc(task, split))
    return _evaluations([judged], task, split)


class _Judged(NamedTuple):
    """What K networks make of n images, on the device."""

    losses: Tensor
    """Shape (K, n)."""
    predictions: Tensor
    """Shape (K, n)."""
    probabilities: Tensor
    """Shape (K, n, 2): of the predictions, and of the labels."""
    among: Tensor
    """Shape (K, n): whether the label is among the five most probable classes."""
    all_probabilities: Tensor
    """Shape (K, n, classes), or with no images where they are not kept."""


def _infer(forward: Callable[[Tensor], Tensor], images: Tensor, _: Tensor) -> Tensor:
    """Logits, in float32 from here on: under autocast they have the 8 significant bits of bfloat16."""
    return forward(images).float()


def _judge(logits: Tensor, labels: Tensor, *, keeps: bool) -> _Judged:
    """What logits (K, n, classes) come to, for labels (n,)."""
    networks, images, classes = logits.shape
    predicted, probabilities = logits.argmax(2), logits.softmax(2)
    each = labels.expand(networks, images)
    return _Judged(
        F.cross_entropy(logits.flatten(0, 1), each.flatten(), reduction="none").view(networks, images),
        predicted,
        probabilities.gather(2, torch.stack([predicted, each], 2)),
        # Exactly five, also where logits are equal, as all are with a head of zeros.
        logits.topk(min(5, classes)).indices.eq(labels[:, None]).any(2),
        probabilities if keeps else probabilities.new_empty(networks, 0, classes),  # no view, which would keep them all
    )


def _evaluations(results: Sequence[_Judged], task: Task, split: str) -> list[Evaluation]:
    """The figures of K networks, from parts of a split that follow one another."""
    judged = _Judged(*(torch.cat(parts, dim=1) for parts in zip(*results, strict=True)))
    # To the CPU before float64, which Apple's GPUs do not have.
    losses = judged.losses.cpu().double()
    probable = judged.probabilities.cpu().double().movedim(2, 0).contiguous().numpy()
    return score_each(
        task.labels[task.splits[split]],
        judged.predictions.cpu().numpy(),
        task.num_classes,
        # One by one: together they would be added up in another order than alone.
        [float(own.sum()) / task.size(split) for own in losses],
        *(probable[0], probable[1]),
        [hits / task.size(split) if knows_top5(task) else None for hits in judged.among.sum(1).tolist()],
        judged.all_probabilities.mT.contiguous().cpu().numpy() if knows_auroc(task, split) else None,
    )


def knows_top5(task: Task) -> bool:
    """Whether the top-5 accuracy tells something: with five classes or fewer it is 1 whatever a network does."""
    return task.num_classes > 5


def knows_auroc(task: Task, split: str) -> bool:
    """Whether the probabilities of all classes are few enough to be kept."""
    return task.size(split) * task.num_classes <= PROBABILITIES


def evaluate_checkpoint(
    checkpoint: bytes | None,
    transfer: Transfer,
    *,
    split: str,
    settings: TrainSettings | None = None,
    compute: Compute = Compute(),
    features: FeatureSource | None = None,
) -> Evaluation:
    """How the network of a checkpoint does on a split.

    Args:
        checkpoint: None for what the trial begins with.
        transfer: the trial's; of its seed come only random values that no state dict holds (non-persistent buffers).
        settings: say precision and memory format; default: those of `TrainSettings()`.
        features: has what frozen layers give for images that are trained on or validated; used where nothing but the
            head of the network was trained.

    Raises:
        ResultsError: the checkpoint cannot be read.
        ModelError: it is of another network.
        ResourceError: the device does not exist, or its memory is too small for one image.
    """
    settings = settings or TrainSettings()
    with isolated(compute) as device, autocast(settings, device):
        network = trained_network(checkpoint, transfer)
        network.module.eval()
        channels_last = move_to_device(network.module, device, settings.channels_last)
        batches = make_batches(transfer.task, device, channels_last=channels_last)
        way = Way(batches, network.module)
        if features is not None and split != "test" and only_its_head_is_new(checkpoint, network):
            way = evaluated_way(
                network, batches, transfer, features, settings=settings, device=device, channels_last=channels_last
            )
        return evaluate(way, transfer.task, split, MicroBatch("evaluation", device))
