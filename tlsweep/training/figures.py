"""What an epoch of training measures: on the device while it runs, as numbers at its end."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class PartFigures:
    """The figures of one forward pass of n samples. They stay on the device: a number asked for here would make every
    step wait."""

    loss: Tensor
    """The mean, a scalar."""
    hits: Tensor
    """Shape (n,): whether each prediction is right."""
    weight: Tensor | float
    """Of how many images of its batch the loss is the mean: n, unless classes have weights."""


@dataclass
class Passage:
    """Steps of training, one after another."""

    parts: list[PartFigures] = field(default_factory=list)
    """The figures of each forward pass."""
    scheduled_lr: float = 0.0
    """The base learning rate at the last step, schedule applied."""
    samples: int = 0
    """Images seen."""
    steps: int = 0
    """Steps of the optimizer."""
    data_seconds: float = 0.0
    """Waiting for batches."""


@dataclass(frozen=True)
class TrainingFigures:
    """The figures of one epoch."""

    loss: float
    accuracy: float
    scheduled_lr: float
    """The base learning rate at the last step, schedule applied."""
    data_seconds: float
    """Waiting for batches."""
    samples: int
    """Images seen."""


def dominant(labels: Tensor) -> Tensor:
    """The labels (n,) that predictions are compared with: of mixed images (n, classes) those of the largest share."""
    return labels.argmax(1) if labels.ndim == 2 else labels


def means(parts: Sequence[PartFigures]) -> tuple[float, float]:
    """Loss and accuracy over all samples, from at least one part."""
    weights = torch.stack([torch.as_tensor(part.weight) for part in parts]).cpu().double()
    loss_sum = torch.stack([part.loss for part in parts]).cpu().double() @ weights
    hits = torch.cat([part.hits for part in parts])
    return float(loss_sum) / len(hits), float(hits.sum()) / len(hits)
