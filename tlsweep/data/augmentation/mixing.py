"""Rectangles that are blotted out or pasted in, and images and labels that are mixed, in whole batches."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tlsweep.spec import derive_seed

_ERASED = (0.02, 1 / 3)
_ERASED_ASPECT = (0.3, 1 / 0.3)


def erased_boxes(uniform: Tensor, share: float, side: int) -> Tensor:
    """What is blotted out of images: 2 to 33 % of the area, as in Zhong et al. 2020.

    torchvision draws again where a rectangle is higher or wider than the image; here it is cut to its side.

    Args:
        uniform: numbers in [0, 1), shape (n, 5).
        share: the part of the images that lose something.
        side: their pixels.

    Returns:
        Shape (n, 4): first row, row behind the last, first column, column behind the last; all 0 for nothing.
    """
    area = _ERASED[0] + (_ERASED[1] - _ERASED[0]) * uniform[:, 1]
    low, high = map(math.log, _ERASED_ASPECT)
    ratio = torch.exp((low + (high - low) * uniform[:, 2]) / 2)
    height, width = ((side * area.sqrt() * stretch).round().clamp(1, side) for stretch in (ratio, 1 / ratio))
    top, left = ((uniform[:, 3] * (side - height + 1)).floor(), (uniform[:, 4] * (side - width + 1)).floor())
    boxes = torch.stack([top, top + height, left, left + width], dim=1).long()
    return torch.where(uniform[:, :1] < share, boxes, 0)


def pasted_boxes(uniform: Tensor, areas: Tensor, side: int) -> Tensor:
    """Squares of these areas (0 to 1) around places in images, cut at the border, as in CutMix (Yun et al. 2019).

    Args:
        uniform: numbers in [0, 1), shape (n, 2): where the middles are.
        areas: shape (n,).
        side: pixels of the images.

    Returns:
        As of `erased_boxes`.
    """
    middle = (uniform * side).floor()
    half = (areas.sqrt() * side / 2).floor()[:, None]
    first, behind = (middle - half).clamp(min=0).long(), (middle + half).clamp(max=side).long()
    return torch.stack([first[:, 0], behind[:, 0], first[:, 1], behind[:, 1]], dim=1)


def areas_of(boxes: Tensor, side: int) -> Tensor:
    """The part of the image that each box covers: (n, 4) to (n,)."""
    return ((boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])).float() / side**2


def outside(boxes: Tensor, images: Tensor) -> Tensor:
    """What images (B, C, S, S) are multiplied with, so that the boxes (B, 4) are 0: shape (B, 1 or C, S, S).

    Numbers, and for channels last one for each channel: so CPUs compute with whole vectors (measured for 64 images of
    32 px, channels last: 1.3 µs an image, against 3.1 µs for `masked_fill`).
    """
    count, channels, _, side = images.shape
    place = torch.arange(side, device=boxes.device)
    top, bottom, left, right = boxes[:, :, None].unbind(1)
    rows, columns = (place >= top) & (place < bottom), (place >= left) & (place < right)
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    if last:
        columns = columns.repeat_interleave(channels, 1)
    places = (rows.float()[:, :, None] * columns.float()[:, None, :]).neg_().add_(1)
    if last:
        return places.view(count, side, side, channels).permute(0, 3, 1, 2)
    return places[:, None]


def larger_shares(alpha: float, count: int, seed: int) -> Tensor:
    """The larger part of each of `count` mixtures, 0.5 to 1: from Beta(alpha, alpha), in which both parts are alike."""
    # numpy's oldest generator, whose numbers no later version changes (NEP 19); torch has no seeded Beta.
    shares = np.random.RandomState(seed % 2**32).beta(alpha, alpha, count)
    return torch.from_numpy(np.maximum(shares, 1 - shares)).float()


@dataclass(frozen=True)
class Mixtures:
    """What each of n images is mixed from: itself, and the one behind it."""

    weights: Tensor
    """Shape (n,): of an image, where the next one does not cover it."""
    boxes: Tensor
    """Shape (n, 4): where it does, as of `pasted_boxes`."""
    shares: Tensor
    """Shape (n,): the part of each image in its mixture, at least about one half."""
    pastes: bool
    """Whether any box covers anything."""

    def rows(self, start: int, end: int) -> "Mixtures":
        """Those of some images, without the last, which is there for the one before it."""
        end -= 1
        return Mixtures(self.weights[start:end], self.boxes[start:end], self.shares[start:end], self.pastes)

    def to(self, device: torch.device) -> "Mixtures":
        """The same on a device."""
        return Mixtures(self.weights.to(device), self.boxes.to(device), self.shares.to(device), self.pastes)

    def mix(self, images: Tensor) -> Tensor:
        """Each image with the one behind it: float (n + 1, C, S, S) to (n, C, S, S)."""
        weights = self.weights.view(-1, 1, 1, 1)
        if self.pastes:
            weights = weights * outside(self.boxes, images[:-1])
        return torch.lerp(images[1:], images[:-1], weights)

    def targets(self, labels: Tensor, classes: int) -> Tensor:
        """What the network is to say of them: labels (n + 1,) to probabilities (n, classes)."""
        both = functional.one_hot(labels, classes).float()
        return torch.lerp(both[1:], both[:-1], self.shares[:, None])


def draw_mixtures(mixup: float, cutmix: float, count: int, side: int, seed: int) -> Mixtures:
    """The mixtures of an epoch of `count` images of `side` pixels.

    The larger part is always the image's own (the distribution of mixtures is the same, since both parts are alike in
    it), so that each image of the epoch rules one mixture, and its label is what accuracy is counted on.
    """
    uniform = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))
    weights, boxes = torch.ones(count), torch.zeros(count, 4, dtype=torch.int64)
    # Half of the images get one, half the other, where both are on, as in timm.
    pasted = uniform[:, 0] < (0.5 if mixup else 1.0)
    if mixup:
        weights = larger_shares(mixup, count, derive_seed(seed, "mixup"))
    if cutmix:
        areas = 1 - larger_shares(cutmix, count, derive_seed(seed, "cutmix"))
        boxes = torch.where(pasted[:, None], pasted_boxes(uniform[:, 1:], areas, side), 0)
        weights = torch.where(pasted, 1.0, weights)
    return Mixtures(weights, boxes, weights * (1 - areas_of(boxes, side)), pastes=cutmix > 0)
