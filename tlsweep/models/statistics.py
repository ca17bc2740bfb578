"""The mean and standard deviation with which images were normalised when weights were trained, where that is known."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, pixels scaled to 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    reason: str
    """How they are known, as the rest of a sentence: `as torchvision says of …`."""

    def seen_in(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation for images of another number of channels.

        For grey images the mean over the colours: the first convolution, summed over them, then sees nearly what a grey
        picture in three channels would have given. For images in colour what the grey ones had, for each channel.
        """
        if len(self.mean) == channels:
            return self.mean, self.std
        return _spread(self.mean, channels), _spread(self.std, channels)


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return (sum(values) / len(values),) * channels


def torchvision_statistics(entry: Any, reason: str) -> Statistics:
    """What torchvision says of one of its weights (ImageNet's for all but a few)."""
    transforms = entry.transforms()
    mean, std = (tuple(float(value) for value in values) for values in (transforms.mean, transforms.std))
    return Statistics(mean, std, reason)
