import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import picture
from PIL import Image
from torchvision.transforms import v2

from tlsweep.data.decode import to_square


@given(side=st.integers(4, 64), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_pixels_of_the_right_size_come_back_unchanged(side: int, channels: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, channels), dtype=np.uint8)
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    file = io.BytesIO()
    image.save(file, "PNG")
    assert np.array_equal(to_square(Image.open(file), side, channels), pixels)


@pytest.mark.parametrize("size", [(100, 80), (80, 120), (64, 64), (30, 20)])
@pytest.mark.parametrize("side", [32, 48])
def test_agrees_with_torchvision(size: tuple[int, int], side: int) -> None:
    image = picture(3, size)
    reference = v2.CenterCrop(side)(v2.Resize(side, antialias=True)(image))
    error = np.abs(to_square(image.copy(), side, 3).astype(int) - np.asarray(reference).astype(int))
    assert error.mean() < 1.5, "apart by the rounding of the crop to whole pixels"


def test_large_jpeg_is_decoded_at_a_lower_scale_and_looks_the_same() -> None:
    image = picture(5, (1600, 1200))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    opened = Image.open(file)
    drafted = to_square(opened, 64, 3).astype(int)
    assert opened.size[0] <= 400
    assert np.abs(drafted - to_square(image, 64, 3)).mean() < 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_decodes_to_the_same_picture(mode: str, channels: int) -> None:
    grey = Image.fromarray(np.tile(np.repeat(np.array([0, 255], np.uint8), 8), (16, 1)))
    pixels = to_square(grey.convert("RGB").convert(mode), 16, channels)
    assert pixels.shape == (16, 16, channels)
    assert np.abs(pixels[:, :, 0].astype(int) - np.asarray(grey).astype(int)).max() <= 2


def test_palette_with_transparency_does_not_warn() -> None:
    file = io.BytesIO()
    picture(1, (16, 16)).convert("P").save(file, "PNG", transparency=bytes(range(256)))
    assert to_square(Image.open(file), 16, 3).shape == (16, 16, 3)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.tile(np.linspace(0, 65535, 16).astype(np.uint16), (16, 1))
    assert np.array_equal(to_square(Image.fromarray(ramp), 16, 1)[:, :, 0], ramp >> 8)


def test_pixels_without_a_fixed_range_are_refused() -> None:
    with pytest.raises(ValueError, match="32-bit"):
        to_square(Image.fromarray(np.ones((8, 8), np.float32)), 8, 1)


def test_truncated_jpeg_raises() -> None:
    file = io.BytesIO()
    picture(2, (200, 200)).save(file, "JPEG")
    with pytest.raises(OSError, match="truncated"):
        to_square(Image.open(io.BytesIO(file.getvalue()[:-200])), 32, 3)
