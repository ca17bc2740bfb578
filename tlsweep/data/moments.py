"""Mean and standard deviation of each channel, from exact sums that are kept for each image.

So the statistics of any split cost nothing, and are the same whether images are in memory or streamed.
"""

import numpy as np
import numpy.typing as npt

from tlsweep.data.items import Pixels
from tlsweep.errors import DataError
from tlsweep.spec import Normalisation, Normalise

_STD_FLOOR = 1 / 255
"""One grey level: a channel that never varies must not be divided by 0."""


def moments_of(images: Pixels, chunk: int = 256) -> npt.NDArray[np.int64]:
    """Sum of the pixels and sum of their squares, for each image and channel: (N, H, W, C) to (N, 2, C)."""
    count, height, width, channels = images.shape
    moments = np.empty((count, 2, channels), np.int64)
    for start in range(0, count, chunk):
        # float64 holds these whole numbers exactly, and numpy adds it several times faster than integers.
        part = images[start : start + chunk].reshape(-1, height * width, channels).transpose(0, 2, 1)
        values = np.ascontiguousarray(part, np.float64)
        moments[start : start + chunk, 0] = values.sum(axis=2)
        moments[start : start + chunk, 1] = np.einsum("ncp,ncp->nc", values, values)
    return moments


def normalisation(
    normalize: Normalise, moments: npt.NDArray[np.int64], pixels_per_image: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that a spec gives, else those of the images with these moments."""
    if isinstance(normalize, Normalisation):
        return normalize.mean, normalize.std
    return channel_statistics(moments, pixels_per_image)


def check_channels(normalize: Normalise, channels: int) -> None:
    """Refuse mean and standard deviation of another number of channels than the images have.

    Raises:
        DataError: the spec has them.
    """
    if isinstance(normalize, Normalisation) and len(normalize.mean) != channels:
        kind = (
            "grey: give one number each" if channels == 1 else "in colour: give three numbers each (red, green, blue)"
        )
        raise DataError(
            f"data.normalize.mean = {list(normalize.mean)}: mean and std are for {len(normalize.mean)} channels, but "
            f"the images are {kind}"
        )


def channel_statistics(
    moments: npt.NDArray[np.int64], pixels_per_image: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, pixels scaled to 0..1; the latter is at least one grey level."""
    total, squares = moments.sum(axis=0)
    pixels = len(moments) * pixels_per_image
    mean = total / pixels
    variance = np.maximum(squares / pixels - mean**2, 0)
    std = np.maximum(np.sqrt(variance) / 255, _STD_FLOOR)
    return tuple(float(value) for value in mean / 255), tuple(float(value) for value in std)
