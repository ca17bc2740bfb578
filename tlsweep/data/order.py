"""In which order an epoch goes through the training images: each once, or of all classes equally many."""

import torch
from torch import Tensor


def epoch_order(sampler: str, labels: Tensor, generator: torch.Generator) -> Tensor:
    """The positions in `labels` that an epoch goes through, as many as there are: a value of `train.sampler`."""
    if sampler == "balanced":
        return balanced_order(labels, generator)
    return torch.randperm(len(labels), generator=generator)


def balanced_order(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw as many positions in `labels` as there are, of each class equally many, up to one.

    The images of a class come equally often, up to one: a class is gone through again only when all of it was drawn.
    """
    counts = labels.bincount()
    classes = counts.nonzero()[:, 0]
    share, rest = divmod(len(labels), len(classes))
    favoured = torch.randperm(len(classes), generator=generator)[:rest].tolist()
    drawn: list[Tensor] = []
    for number, label in enumerate(classes.tolist()):
        wanted = share + (number in favoured)
        members = (labels == label).nonzero()[:, 0]
        passes = [members[torch.randperm(len(members), generator=generator)] for _ in range(0, wanted, len(members))]
        drawn += [torch.cat(passes)[:wanted]] if passes else []
    return torch.cat(drawn)[torch.randperm(len(labels), generator=generator)]
