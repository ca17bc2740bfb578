"""TrivialAugment and RandAugment on whole batches: each image is changed in its own way, by its own strength.

The ways and their strengths are torchvision's (`transforms/v2/_auto_augment.py`). Images that are changed in the same
way are worked on together, so that a batch takes as many steps as there are ways, whatever its size.
"""

import math
from dataclasses import dataclass, fields
from typing import Final, Literal

import torch
from torch import Tensor

from tlsweep.data.augmentation import colour, warping

WAYS: Final = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
"""What can be done to an image, as torchvision calls it."""

_KINDS: Final = ("Identity", "Affine", "Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize",
                 "AutoContrast", "Equalize")  # fmt: skip
"""What is computed in one go: all ways of moving pixels are one."""
_KIND_OF: Final = tuple(_KINDS.index(way) if way in _KINDS else _KINDS.index("Affine") for way in WAYS)

_LEVELS = 30
"""Strengths lie on torchvision's 31 steps, from 0 to 30."""
_MOVED_AT_MOST = 150 / 331
"""The part of the side by which RandAugment translates at most."""


@dataclass(frozen=True)
class Policy:
    """How strong a change is at level 30."""

    shear: float
    turned: float
    """Degrees."""
    blended: float
    """What is added to a factor of 1, or taken from it."""
    bits: int
    """Bits of 8 that are lost."""
    pixels: float = math.inf
    """How far an image is translated; at most 45 % of its side, by which 8 digits of 8 pixels would still be seen."""


POLICIES: Final = {
    "trivial": Policy(shear=0.99, turned=135.0, blended=0.99, bits=6, pixels=32.0),
    "rand": Policy(shear=0.3, turned=30.0, blended=0.9, bits=4),
}


@dataclass(frozen=True)
class Changes:
    """One way of changing each of n images. `kinds` stay on the CPU, which must know how many there are of each."""

    kinds: Tensor
    """Shape (n,): places in the list of kinds."""
    strengths: Tensor
    """Shape (n,): a factor, a threshold, or a mask of bits."""
    affine: Tensor
    """Shape (n, 2, 3): where pixels come from."""

    def rows(self, start: int, end: int) -> "Changes":
        """Those of some images."""
        return Changes(*(getattr(self, field.name)[start:end] for field in fields(self)))


def draw_changes(
    policy: Literal["trivial", "rand"], uniform: Tensor, level: float | None, side: int, device: torch.device
) -> Changes:
    """One way of changing each image.

    Args:
        uniform: numbers in [0, 1), shape (n, 3): way, level, direction.
        level: the strength of all, 0 to 30; None: each image has its own.
        side: pixels of the images.
    """
    ways = (uniform[:, 0] * len(WAYS)).long()
    levels = (uniform[:, 1] * (_LEVELS + 1)).floor() if level is None else torch.full((len(ways),), level)
    return changes_of(
        POLICIES[policy], ways, levels / _LEVELS, torch.where(uniform[:, 2] < 0.5, 1.0, -1.0), side, device
    )


def changes_of(policy: Policy, ways: Tensor, shares: Tensor, signs: Tensor, side: int, device: torch.device) -> Changes:
    """What these ways come to at these shares (0 to 1) of their greatest strengths, in these directions (1, -1)."""
    kinds = torch.tensor(_KIND_OF)[ways]
    strengths = 1 + signs * shares * policy.blended
    lost = (shares * policy.bits).round()
    strengths = torch.where(kinds == _KINDS.index("Posterize"), 256 - 2**lost, strengths)
    strengths = torch.where(kinds == _KINDS.index("Solarize"), 255 * (1 - shares), strengths)
    signed = signs * shares
    pixels = min(policy.pixels, _MOVED_AT_MOST * side)
    # Whole pixels, as torchvision has it; normalised coordinates run from -1 to 1.
    moved = (signed * pixels).trunc() * 2 / side
    angles = torch.where(ways == WAYS.index("Rotate"), signed * math.radians(policy.turned), 0.0)

    def only(way: str, values: Tensor) -> Tensor:
        return torch.where(ways == WAYS.index(way), values, 0.0)

    affine = warping.rotation(angles)
    down, right = only("ShearX", signed * policy.shear), only("ShearY", signed * policy.shear)
    # About the upper left corner, as in AutoAugment's own code.
    affine[:, 0, 1] += down
    affine[:, 1, 0] += right
    affine[:, 0, 2] = down - only("TranslateX", moved)
    affine[:, 1, 2] = right - only("TranslateY", moved)
    return Changes(kinds, strengths.to(device), affine.to(device))


def apply(images: Tensor, changes: Changes) -> Tensor:
    """Images changed each in its way: uint8 (B, C, S, S)."""
    order = changes.kinds.argsort(stable=True)
    counts = changes.kinds.bincount(minlength=len(_KINDS)).tolist()
    changed = images.clone()
    for kind, chosen in zip(_KINDS, torch.split(order, counts), strict=True):
        if kind == "Identity" or not len(chosen):
            continue
        here = chosen.to(images.device, non_blocking=True)
        part = _changed(kind, images.index_select(0, here), changes.strengths[here], changes.affine[here])
        changed.index_copy_(0, here, part)
    return changed


def _changed(kind: str, images: Tensor, strengths: Tensor, affine: Tensor) -> Tensor:
    """Images that are all changed in the same way."""
    if kind == "Affine":
        # Black behind the image, as in torchvision.
        return colour.to_pixels(warping.warp(images.float(), affine, images.shape[-1], padding="zeros"))
    return colour.BY_NAME[kind](images, strengths.view(-1, 1, 1, 1))
