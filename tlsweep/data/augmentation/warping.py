"""Moving the pixels of whole batches: one affine map for each image, all sampled in one go."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def warp(images: Tensor, affine: Tensor, size: int, *, padding: Literal["zeros", "border", "reflection"]) -> Tensor:
    """Float (B, C, S, S) to (B, C, size, size), bilinear.

    Args:
        affine: shape (B, 2, 3): from places in the result to places in the image, in coordinates from -1 to 1.
        padding: what is seen beyond the image.
    """
    grid = functional.affine_grid(affine, [len(images), images.shape[1], size, size], align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def rotation(angles: Tensor) -> Tensor:
    """Maps that turn images to the left by these angles (radians) about their middle: (B,) to (B, 2, 3)."""
    cos, sin = angles.cos(), angles.sin()
    zero = torch.zeros_like(cos)
    return torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)


def turned(window: Tensor, angles: Tensor) -> Tensor:
    """Windows (B, 2, 3), which are cut out of images, of images that are turned by these angles about their middles."""
    linear = window[:, :, :2] @ rotation(angles)[:, :, :2]
    return torch.cat([linear, window[:, :, 2:]], dim=2)
