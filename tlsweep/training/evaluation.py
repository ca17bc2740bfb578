"""How a network does on a split."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tlsweep.data import Task
from tlsweep.data.batches import Batches, BatchSource
from tlsweep.spec import Hyperparameters, TrainSettings
from tlsweep.training.devices import Compute, autocast, isolated, move_to_device
from tlsweep.training.frozen import FeatureSource, Way, evaluated_way
from tlsweep.training.metrics import Evaluation, score
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
def evaluate(
    forward: Callable[[Tensor], Tensor], batches: BatchSource, task: Task, split: str, micro_batch: MicroBatch
) -> Evaluation:
    """Loss and figures of merit of `forward` — what batches are of to logits (N, classes) — on a split.

    The results stay on the device until the end, so that it is waited for once. Top-5 accuracy is None with fewer than
    six classes, of which it would tell nothing, and the AUROC where the probabilities are too many to be kept.

    Raises:
        ResourceError: the memory is too small for one image.
    """

    keeps = knows_auroc(task, split)

    def infer(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        # In float32 from here on: under autocast logits have the 8 significant bits of bfloat16.
        logits = forward(images).float()
        predicted = logits.argmax(1)
        probabilities = logits.softmax(1)
        probable = probabilities.gather(1, torch.stack([predicted, labels], 1))
        # Exactly five, also where logits are equal, as all are with a head of zeros.
        among = logits.topk(min(5, task.num_classes)).indices.eq(labels[:, None]).sum()
        # A sum, because the last batch is smaller, and a mean of means would weigh its images more.
        loss = F.cross_entropy(logits, labels, reduction="sum")
        return loss, predicted, probable, among, probabilities if keeps else probabilities.new_empty(0)

    results: list[tuple[Tensor, ...]] = []
    for images, labels in batches.evaluate(split, evaluation_batch_size(task)):
        results += micro_batch.run(infer, images, labels)
    losses, predictions, probabilities, among, all_probabilities = zip(*results, strict=True)
    # To the CPU before float64, which Apple's GPUs do not have.
    loss = float(torch.stack(losses).cpu().double().sum()) / task.size(split)
    predicted = torch.cat(predictions).cpu().numpy()
    probable, probable_labels = torch.cat(probabilities).cpu().double().T.contiguous().numpy()
    return score(
        task.labels[task.splits[split]],
        predicted,
        task.num_classes,
        loss,
        probable,
        probable_labels,
        top5=int(torch.stack(among).sum()) / task.size(split) if knows_top5(task) else None,
        by_class=torch.cat(all_probabilities).T.contiguous().cpu().numpy() if keeps else None,
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
        return evaluate(way.forward, way.batches, transfer.task, split, MicroBatch("evaluation", device))
