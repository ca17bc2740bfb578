"""Every change of an image equals torchvision's on that image alone."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as reference

from tlsweep.data.augmentation import auto_augment, colour, warping
from tlsweep.data.augmentation.auto_augment import POLICIES, WAYS, changes_of

SIDE = 80
CPU = torch.device("cpu")
REFERENCES: dict[str, Any] = {
    "trivial": v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR),
    "rand": v2.RandAugment(interpolation=InterpolationMode.BILINEAR),
}


def _pictures(count: int, channels: int, side: int = SIDE) -> torch.Tensor:
    """Smooth random pictures, where a pixel is not told from its neighbour by chance, and one of a single colour."""
    random = np.random.default_rng(count)
    coarse = torch.from_numpy(random.uniform(0, 255, (count, channels, 9, 9)).astype(np.float32))
    images = torch.nn.functional.interpolate(coarse, size=side, mode="bicubic").clamp(0, 255).to(torch.uint8)
    images[-1] = 77
    return images


def _by_torchvision(image: torch.Tensor, policy: str, way: str, level: int, sign: int) -> torch.Tensor:
    transform = REFERENCES[policy]
    magnitudes, signed = transform._AUGMENTATION_SPACE[way]
    of_level = magnitudes(31, SIDE, SIDE)
    magnitude = 0.0 if of_level is None else float(of_level[level]) * (sign if signed else 1)
    return transform._apply_image_or_video_transform(  # type: ignore[no-any-return]
        image, way, magnitude, interpolation=InterpolationMode.BILINEAR, fill={torch.Tensor: None}
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_each_way_at_each_level_is_torchvisions(policy: Literal["trivial", "rand"], channels: int) -> None:
    """To the last bit; where pixels are moved, to a grey level, as their places are computed in another order."""
    levels, signs = (0, 1, 9, 17, 30), (1, -1)
    every = [(way, level, sign) for way in WAYS for level in levels for sign in signs]
    images = _pictures(len(every), channels)
    ways = torch.tensor([WAYS.index(way) for way, _, _ in every])
    shares = torch.tensor([level / 30 for _, level, _ in every])
    directions = torch.tensor([float(sign) for _, _, sign in every])
    changes = changes_of(POLICIES[policy], ways, shares, directions, SIDE, CPU)
    changed = auto_augment.apply(images, changes)
    for (way, level, sign), image, got in zip(every, images, changed, strict=True):
        expected = _by_torchvision(image, policy, way, level, sign)
        off = (got.int() - expected.int()).abs()
        assert off.max() <= 1, (way, level, sign)
        assert (off > 0).float().mean() < 0.02, (way, level, sign)


def test_small_images_are_not_moved_out_of_the_picture() -> None:
    """torchvision translates by up to 32 pixels whatever the size; here by 45 % of the side at most."""
    ways = torch.tensor([WAYS.index("TranslateX"), WAYS.index("TranslateY")])
    changes = changes_of(POLICIES["trivial"], ways, torch.ones(2), torch.ones(2), 8, CPU)
    assert changes.affine[0, 0, 2] == changes.affine[1, 1, 2] == -3 * 2 / 8


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_ways_levels_and_directions_are_drawn_evenly(policy: Literal["trivial", "rand"]) -> None:
    uniform = torch.rand(6000, 3, generator=torch.Generator().manual_seed(1))
    drawn = auto_augment.draw_changes(policy, uniform, 12.0 if policy == "rand" else None, SIDE, CPU)
    kinds = drawn.kinds.bincount(minlength=10) / 6000 * 14
    assert kinds[1] == pytest.approx(5, abs=0.3)
    assert torch.cat([kinds[:1], kinds[2:]]).sub(1).abs().max() < 0.2
    bright = drawn.strengths[drawn.kinds == 2]
    assert bright.mean() == pytest.approx(1, abs=0.1)
    expected = {1 - 0.9 * 0.4, 1 + 0.9 * 0.4} if policy == "rand" else {1 + 0.99 * step / 30 for step in range(-30, 31)}
    assert {round(value, 5) for value in bright.tolist()} == {round(value, 5) for value in expected}


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_torchvisions_three_functions_in_one(channels: int) -> None:
    """Where nothing is clipped in between; grey is in whole numbers, of which torchvision's floats know nothing."""
    images = _pictures(40, channels) // 4 + 80
    factors = 0.8 + 0.4 * torch.rand(40, 3, generator=torch.Generator().manual_seed(2))
    got = colour.jitter(images, *factors.view(-1, 3, 1, 1, 1).unbind(1))
    for image, (brightness, contrast, saturation), changed in zip(images, factors.tolist(), got, strict=True):
        expected = reference.adjust_brightness(image / 255, brightness)
        expected = reference.adjust_contrast(expected, contrast)
        expected = reference.adjust_saturation(expected, saturation)
        torch.testing.assert_close(changed, expected * 255, atol=0.3, rtol=0)


def test_factors_of_one_change_nothing() -> None:
    images = _pictures(4, 3)
    ones = torch.ones(4, 1, 1, 1)
    torch.testing.assert_close(colour.jitter(images, ones, ones, ones), images.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, -135.0])
def test_rotation_is_torchvisions(degrees: float) -> None:
    images = _pictures(3, 3).float()
    turned = warping.warp(images, warping.rotation(torch.deg2rad(torch.full((3,), degrees))), SIDE, padding="zeros")
    expected = reference.rotate(images, degrees, interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(turned, expected, atol=0.05, rtol=0)
