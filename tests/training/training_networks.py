"""Networks for the tests, named in model specs as `training_networks:...`."""

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


class Exhausting(nn.Module):
    """Fails in training as a GPU does when its memory is full."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.head = nn.Linear(in_channels * image_size**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        if images.device.type == "cpu" and self.training and len(images) > 8:
            import torch

            raise torch.OutOfMemoryError("out of memory")
        return self.head(self.flatten(images))


def exhausting(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return Exhausting(num_classes, in_channels, image_size)
