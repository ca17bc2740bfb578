"""Networks for the tests, named in model specs as `training_networks:...`."""

from typing import Any

import torch
from torch import Tensor, nn


def with_batch_norm(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(8 * (image_size // 2) ** 2, num_classes),
    )


class LimitedBackward(torch.autograd.Function):
    """The identity; the gradient of too many samples is out of memory."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, capacity: int) -> Tensor:
        ctx.too_many = len(values) > capacity
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        if ctx.too_many:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore lines")
        return gradients[0], None


class Limited(nn.Module):
    """Fails as a GPU does when its memory is full: after batch norm and dropout have left their traces."""

    def __init__(self, features: nn.Module, head: nn.Module, capacities: dict[str, int], dtype: torch.dtype) -> None:
        super().__init__()
        self.features, self.head = features, head
        self.capacities, self.dtype = capacities, dtype
        self.to(dtype)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images.to(self.dtype))
        if len(images) > self.capacities["forward" if self.training else "evaluation"]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore lines")
        return self.head(LimitedBackward.apply(features, self.capacities["backward"]))


def limited(
    num_classes: int,
    in_channels: int,
    image_size: int,
    *,
    batch_norm: bool = True,
    dropout: float = 0.2,
    double: bool = False,
    **capacities: int,
) -> nn.Module:
    """Takes at most this many samples: `forward`, `backward`, `evaluation`; 1000 of what is not given."""
    layers = (
        nn.Conv2d(in_channels, 4, 3, padding=1),
        nn.BatchNorm2d(4) if batch_norm else nn.Identity(),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Flatten(),
    )
    capacities = dict.fromkeys(("forward", "backward", "evaluation"), 1000) | capacities
    head = nn.Linear(4 * image_size**2, num_classes)
    return Limited(nn.Sequential(*layers), head, capacities, torch.float64 if double else torch.float32)


class OwnHead(nn.Module):
    """Uses its head in a way of its own."""

    def __init__(self, features: nn.Module, head: nn.Module, kind: str) -> None:
        super().__init__()
        self.features, self.head, self.kind = features, head, kind

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        if self.kind == "weights":
            return nn.functional.linear(features, self.head.weight)  # type: ignore[arg-type]
        if self.kind == "twice":
            both: Tensor = self.head(torch.cat([features, features]))
            return both[: len(images)]
        logits: Tensor = self.head(input=features) if self.kind == "named" else self.head(features)
        return logits


def own_head(num_classes: int, in_channels: int, image_size: int, *, kind: str) -> nn.Module:
    """`weights`: the head is not called; `named`: it is given no positional argument; `twice`: two vectors for each
    image; `normed`: its weight is normalised."""
    features = nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU(), nn.Flatten())
    head = nn.Linear(4 * image_size**2, num_classes)
    return OwnHead(features, nn.utils.parametrizations.weight_norm(head) if kind == "normed" else head, kind)


class BehindHead(nn.Module):
    """Does something to the logits of its head."""

    def __init__(self, features: nn.Module, head: nn.Module, kind: str) -> None:
        super().__init__()
        self.features, self.head, self.kind = features, head, kind

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits + 5 if self.kind == "lifted" else 2 * logits


def behind_head(num_classes: int, in_channels: int, image_size: int, *, kind: str) -> nn.Module:
    """`lifted`: 5 more for each class, which changes no probability; `scaled`: twice the logits."""
    features = nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU(), nn.Flatten())
    return BehindHead(features, nn.Linear(4 * image_size**2, num_classes), kind)


def of_federated_averaging(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """The CNN of McMahan et al. 2017 for MNIST, 1,663,370 parameters."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (image_size // 4) ** 2, 512),
        nn.ReLU(),
        nn.Linear(512, num_classes),
    )
