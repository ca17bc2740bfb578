"""Changing the colours of whole batches, each image by a strength of its own.

Each function equals torchvision's of the same name on the images one by one, to the last bit but for rounding. Images
are uint8 (B, C, H, W), C = 1 or 3; strengths (B, 1, 1, 1).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_WHITE = 255.0
_GREY = (0.2989, 0.587, 0.114)
"""The parts of red, green and blue in grey (ITU-R 601-2)."""


def to_pixels(images: Tensor) -> Tensor:
    """Round to uint8."""
    return images.round_().clamp_(0, _WHITE).to(torch.uint8)


def grey(images: Tensor) -> Tensor:
    """Float (B, 1, H, W) of pixels."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    return red.mul(_GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])


def mean_brightness(light: Tensor) -> Tensor:
    """The mean of each image of greys, in whole numbers: (B, 1, H, W) to (B, 1, 1, 1)."""
    # A sum of whole numbers is the same in any order, where a mean of floats depends on how many images stand beside
    # it. Those of a line are whole in float32 too, up to 2^24.
    lines = light.floor().sum(3, keepdim=True)
    return lines.long().sum(2, keepdim=True).float() / light[0].numel()


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply pixels by the factors."""
    return images.mul(factors).clamp_(0, _WHITE).to(torch.uint8)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Move pixels from grey (factor 0) through what they are (1)."""
    if images.shape[1] == 1:
        return images
    return _blend(images, grey(images).floor_(), factors)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Move pixels from the mean brightness of their image (factor 0) through what they are (1)."""
    return _blend(images, mean_brightness(grey(images)), factors)


def adjust_sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Move pixels from a smoothed image (factor 0) through what they are (1); the border stays."""
    channels, height, width = images.shape[1:]
    if min(height, width) <= 2:
        return images
    kernel = torch.full((channels, 1, 3, 3), 1 / 13, device=images.device)
    kernel[:, :, 1, 1] = 5 / 13
    sharpened = images.float()
    inside = sharpened[:, :, 1:-1, 1:-1]
    smooth = functional.conv2d(sharpened, kernel, groups=channels).round_()
    inside.add_(smooth.sub_(inside).mul_(1 - factors))
    return sharpened.clamp_(0, _WHITE).to(torch.uint8)


def posterize(images: Tensor, masks: Tensor) -> Tensor:
    """Keep the highest bits of pixels, those in the masks."""
    return images & masks.to(torch.uint8)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert pixels that are at least as bright as the thresholds."""
    return torch.where(images >= thresholds, 255 - images, images)


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel from black to white; one of a single colour stays."""
    darkest, brightest = (end.float() for end in torch.aminmax(images.flatten(2), dim=2))
    width = brightest - darkest
    darkest, scale = (darkest.where(width > 0, 0.0), (width * (1 / _WHITE)).where(width > 0, 1.0))
    stretched = images.sub(darkest[:, :, None, None]).div_(scale[:, :, None, None])
    return stretched.clamp_(0, _WHITE).to(torch.uint8)


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Make all brightnesses of each channel about equally frequent, as Pillow does (ImageOps.equalize)."""
    places = images.flatten(2).long()
    counts = torch.zeros(*places.shape[:2], 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, places, torch.ones_like(places))
    below = counts.cumsum(2)
    # Pixels of the brightest value do not count: the one at which the sum is complete.
    brightest = counts.gather(2, below.argmax(2, keepdim=True))
    step = (places.shape[2] - brightest) // 255
    table = torch.cat([torch.zeros_like(step), (below[:, :, :-1] + step // 2) // step.clamp(min=1)], dim=2).clamp(
        max=255
    )
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.gather(2, places).to(torch.uint8).view_as(images)


BY_NAME: Final[Mapping[str, Callable[[Tensor, Tensor], Tensor]]] = MappingProxyType(
    {
        "Brightness": adjust_brightness,
        "Color": adjust_saturation,
        "Contrast": adjust_contrast,
        "Sharpness": adjust_sharpness,
        "Posterize": posterize,
        "Solarize": solarize,
        "AutoContrast": autocontrast,
        "Equalize": equalize,
    }
)


def jitter(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Brightness, contrast and saturation in one go: uint8 to float (B, C, H, W), 0 to 255.

    torchvision's three functions in this order, without rounding and clipping in between.
    """
    light = grey(images)
    shifted = (1 - contrast) * brightness * mean_brightness(light)
    changed = images.mul(saturation * contrast * brightness).add_(light.mul_((1 - saturation) * contrast * brightness))
    return changed.add_(shifted).clamp_(0, _WHITE)


def _blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """Truncated, as torchvision has it."""
    return images.mul(factors).add_(others * (1 - factors)).clamp_(0, _WHITE).to(torch.uint8)
