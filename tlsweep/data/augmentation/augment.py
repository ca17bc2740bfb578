"""Random crops and mirror images of whole batches at once, on the device, without a loop over samples.

The numbers behind them are drawn for a whole epoch, by position in its order, so no sample's depends on the batch size.
"""

import math

import torch
from torch import Tensor

from tlsweep.data.geometry import SMALL
from tlsweep.spec import Augment

_TOP, _LEFT, _AREA, _ASPECT, _FLIP = range(5)
_AREA_RANGE = (0.25, 1.0)
_ASPECT_RANGE = (3 / 4, 4 / 3)


def draw(count: int, seed: int, columns: int = 5) -> Tensor:
    """Uniform numbers in [0, 1) for `count` samples, shape (count, columns), from a generator of their own."""
    # On the CPU whatever the device is: a GPU's generator gives other numbers for the same seed.
    return torch.rand(count, columns, generator=torch.Generator().manual_seed(seed))


def padding_of(side: int, size: int) -> int:
    """Pixels to add on every side before a random shift: an eighth where images of `side` leave `size` no margin.

    Where weights expect a crop fraction near 1 so many that there is a margin of an eighth all the same; small images,
    which are used as they are, keep what margin they have.
    """
    if side == size:
        return max(1, size // 8)
    return max(0, (size // 8 - (side - size) + 1) // 2) if side > SMALL else 0


def shifts(drawn: Tensor, side: int, size: int) -> Tensor:
    """First row and first column of a random square in each image: whole numbers, shape (B, 2)."""
    return (drawn[:, (_TOP, _LEFT)] * (side - size + 1)).long()


def mirrored(drawn: Tensor) -> Tensor:
    """Half of the images: shape (B,)."""
    return drawn[:, _FLIP] < 0.5


def cut(
    images: Tensor,
    starts: Tensor,
    size: int,
    *,
    padding: int = 0,
    mirrored: Tensor | None = None,
    upside_down: Tensor | None = None,
) -> Tensor:
    """A square of each image: uint8 (B, S, S, C) to (B, size, size, C).

    Args:
        starts: shape (B, 2): first row and first column.
        padding: pixels that are added on every side beforehand, by mirroring the border.
        mirrored: shape (B,), on the CPU: which squares are to be turned left to right.
        upside_down: shape (B,): which are to be turned upside down.
    """
    count, side, _, channels = images.shape
    width = side + 2 * padding
    top, left = starts.T
    number = torch.arange(count, device=images.device)
    lines = _widened(images, padding) if padding else images
    if mirrored is not None:
        # Those that are to be mirrored come last, so that they alone are, all at once.
        order = mirrored.byte().argsort(stable=True)
        number, back = (places.to(images.device, non_blocking=True) for places in (order, order.argsort()))
        top, left = top[number], left[number]
        upside_down = None if upside_down is None else upside_down[number]
    rows = top[:, None] + torch.arange(-padding, size - padding, device=images.device)
    if padding:
        rows = _reflected(rows, side)
    if upside_down is not None:
        rows = torch.where(upside_down[:, None], rows.flip(1), rows)
    # A row of a square is contiguous in memory: seen through overlapping windows, all are one index_select
    # (measured for 32 squares of 224 from 256 pixels: 0.4 ms, against 30 ms for indexing every pixel).
    windows = lines.view(-1).as_strided((lines.numel() // channels - size + 1, size * channels), (channels, 1))
    first = (number[:, None] * side + rows) * width + left[:, None]
    squares = windows.index_select(0, first.flatten()).view(count, size, size, channels)
    if mirrored is None:
        return squares
    straight = count - int(mirrored.sum())
    return torch.cat([squares[:straight], squares[straight:].flip(2)]).index_select(0, back)


def _widened(images: Tensor, pixels: int) -> Tensor:
    """Mirror the borders outwards to the left and right."""
    side = images.shape[2]
    place = torch.arange(-pixels, side + pixels, device=images.device)
    before, behind = (_reflected(part, side) for part in (place[:pixels], place[-pixels:]))
    # What lies between is copied as it is: indexing takes ten times as long.
    return torch.cat([images.index_select(2, before), images, images.index_select(2, behind)], dim=2)


def _reflected(places: Tensor, side: int) -> Tensor:
    """Places beyond the first and last pixel, as far on this side of it."""
    return (side - 1) - ((side - 1) - places.abs()).abs()


def resized_window(drawn: Tensor) -> Tensor:
    """A random area and aspect of each image (Szegedy et al. 2015), as a map for `warping.warp`, shape (B, 2, 3)."""
    area = _between(drawn[:, _AREA], *_AREA_RANGE)
    # Uniform in its logarithm, as torchvision's RandomResizedCrop has it, so that 3:4 is as likely as 4:3.
    ratio = torch.exp(_between(drawn[:, _ASPECT], math.log(_ASPECT_RANGE[0]), math.log(_ASPECT_RANGE[1])) / 2)
    root = area.sqrt()
    width, height = (root * ratio).clamp(max=1), (root / ratio).clamp(max=1)
    # Normalised coordinates run from -1 to 1: the middle of a window of relative width w lies within 1 - w of 0.
    across, down = (1 - width) * (2 * drawn[:, _LEFT] - 1), (1 - height) * (2 * drawn[:, _TOP] - 1)
    return _window(width, height, across, down)


def square_window(starts: Tensor, side: int, size: int) -> Tensor:
    """The square of `size` that begins in these rows and columns, shape (B, 2), of images of `side`, as a map."""
    down, across = ((2 * starts + size) / side - 1).T
    share = torch.full_like(down, size / side)
    return _window(share, share, across, down)


def _window(width: Tensor, height: Tensor, across: Tensor, down: Tensor) -> Tensor:
    zero = torch.zeros_like(width)
    return torch.stack([width, zero, across, zero, height, down], dim=1).view(-1, 2, 3)


def in_words(wanted: Augment, side: int, size: int) -> str:
    """What happens to training images, for people: stored with `side` pixels, seen by the network with `size`."""
    by = padding_of(side, size) + (side - size + 1) // 2
    crops = {
        "none": "not cropped",
        "shift": f"shifted by up to {by} {'pixel' if by == 1 else 'pixels'}",
        "resized": "random crops of 25 to 100 % of the area",
    }
    if wanted.flip:
        return f"{crops[wanted.crop]}, half of them mirrored (wrong for digits and letters: data.augment.flip=false)"
    return f"{crops[wanted.crop]}, never mirrored"


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform
