import io
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import folder_data, pgm_file, picture, png_chunk, png_file, tiff_file
from PIL import Image
from torchvision.transforms import v2

from tlsweep.data import load_task
from tlsweep.data.decode import to_square
from tlsweep.data.rendering import Rendering
from tlsweep.training.export import preprocessing


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


RAMP = np.linspace(0, 1, 64).reshape(8, 8, 1)


def _deep_files(bits: int) -> dict[str, bytes]:
    """The same ramp over `bits` bits in every kind of file that may hold it."""
    grey = np.round(RAMP * (2**bits - 1)).astype(int)
    alpha, colour = np.full_like(grey, 65535), np.repeat(grey, 3, axis=2)
    files = {
        "grey.png": png_file(grey),
        "grey and alpha.png": png_file(np.concatenate([grey, alpha], axis=2)),
        "colour.png": png_file(colour),
        "colour and alpha.png": png_file(np.concatenate([colour, alpha], axis=2)),
        "grey.tif": tiff_file(grey, 16),
        "grey of a Macintosh.tif": tiff_file(grey, 16, order=">"),
        "grey, white is 0.tif": tiff_file(65535 - grey, 16, extra={262: 0}),
        "colours in planes.tif": tiff_file(colour, 16, planes=True),
        "colours in planes of a Macintosh.tif": tiff_file(colour, 16, order=">", planes=True),
        "colour.tif": tiff_file(colour, 16),
        "colour of a Macintosh.tif": tiff_file(colour, 16, order=">"),
        "grey in 16 bits.pgm": pgm_file(grey, 65535),
        "colour in 16 bits.ppm": pgm_file(colour, 65535),
    }
    if bits > 8:
        files["grey in its own range.pgm"] = pgm_file(grey, 2**bits - 1)
        files["colour in its own range.ppm"] = pgm_file(colour, 2**bits - 1)
    if bits <= 12:
        files["grey, packed.tif"] = tiff_file(grey, 12)
    return files


@pytest.mark.parametrize(("bits", "name"), [(bits, name) for bits in (8, 10, 12, 14, 16) for name in _deep_files(bits)])
def test_deep_images_are_scaled_by_the_bits_that_the_set_uses(bits: int, name: str, tmp_path: Path) -> None:
    """What is bright in one says what is white in the dark one, too."""
    dark = np.round(RAMP * 255).astype(int)
    dark_files = _deep_files(8) | {
        "grey in its own range.pgm": pgm_file(dark, 2**bits - 1),
        "colour in its own range.ppm": pgm_file(np.repeat(dark, 3, axis=2), 2**bits - 1),
    }
    root = _write(tmp_path, {"ant": _deep_files(bits)[name], "bee": dark_files[name]}, Path(name).suffix)
    task = load_task(folder_data(root), 0)
    assert np.abs(task.images[0] - RAMP * 255).max() < 1
    assert np.abs(task.images[5] - RAMP * 255 * 255 / (2**bits - 1)).max() < 1
    # Pillow itself stretches a range that a PGM declares to 16 bits.
    used = 16 if "own range" in name else bits
    assert task.rendering.bits == used
    assert preprocessing(task)["depth"].startswith(f"of images with more than 8 bits a channel the highest 8 of {used}")


def _write(folder: Path, contents: dict[str, bytes], suffix: str) -> Path:
    """Five files of the same content in each class folder."""
    for name, content in contents.items():
        (folder / "images" / name).mkdir(parents=True)
        for index in range(5):
            (folder / "images" / name / f"{index}{suffix}").write_bytes(content)
    return folder / "images"


def test_a_full_sixteen_bits_keep_the_pixels_of_earlier_versions() -> None:
    ramp = np.tile(np.linspace(0, 65535, 16).astype(np.uint16), (16, 1))
    assert np.array_equal(to_square(Image.fromarray(ramp), 16, 1)[:, :, 0], ramp >> 8)


@pytest.mark.parametrize("place", [(0, 0), (0, 7), (7, 7)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_brightest_pixel_counts_wherever_it_is(channels: int, place: tuple[int, int], tmp_path: Path) -> None:
    samples = np.full((8, 8, channels), 300)
    samples[place] = 4095
    content = png_file(samples)
    task = load_task(folder_data(_write(tmp_path, {"ant": content, "bee": content}, ".png"), background=(0, 0, 0)), 0)
    assert task.rendering.bits == 12


def test_a_streamed_set_is_scaled_as_a_stored_one(tmp_path: Path) -> None:
    deep = _deep_files(10)["colour.png"]
    data = folder_data(_write(tmp_path, {"ant": deep, "bee": deep}, ".png"))
    stored = load_task(data, 0)
    streamed = load_task(data.model_copy(update={"memory_limit": 100}), 0)
    assert streamed.fingerprint == stored.fingerprint
    assert np.array_equal(streamed.images.load(np.arange(10)), stored.images)


def _holed(mode: str) -> Image.Image:
    """Black at the left, transparent black at the right."""
    alpha = Image.new("L", (16, 16), 255)
    alpha.paste(0, (8, 0, 16, 16))
    image = Image.new({"LA": "L", "La": "L", "PA": "P"}.get(mode, "RGB"), (16, 16))
    image.putalpha(alpha)
    return image if image.mode == mode else image.convert(mode)


def _keyed(mode: str, **options: Any) -> Image.Image:
    """As `_holed`, through a colour or a palette entry that is transparent: 1 of 0 and 1."""
    image = Image.new(mode, (16, 16))
    image.paste((1, 1, 1) if mode == "RGB" else 1, (8, 0, 16, 16))
    if mode == "P":
        image.putpalette([0] * 768)
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return Image.open(io.BytesIO(file.getvalue()))


def _keyed_deep(channels: int) -> Image.Image:
    samples = np.zeros((16, 16, channels), int)
    samples[:, 8:] = 300
    chunk = png_chunk(b"tRNS", struct.pack(">H", 300) * channels)
    return Image.open(io.BytesIO(png_file(samples, extra=chunk)))


TRANSPARENT: dict[str, Callable[[], Image.Image]] = {
    **{mode: partial(_holed, mode) for mode in ("RGBA", "LA", "La", "RGBa", "PA")},
    "palette with alphas": lambda: _keyed("P", transparency=bytes([255, 0])),
    "palette with one entry": lambda: _keyed("P", transparency=1),
    "grey with one value": lambda: _keyed("L", transparency=1),
    "colour with one colour": lambda: _keyed("RGB", transparency=(1, 1, 1)),
    "black and white": lambda: _keyed("1", transparency=255),
    "16-bit grey with one value": lambda: _keyed_deep(1),
    "16-bit colour with one colour": lambda: _keyed_deep(3),
}


@pytest.mark.parametrize("background", [(255, 255, 255), (128, 128, 128), (10, 200, 30)])
@pytest.mark.parametrize("kind", TRANSPARENT)
def test_what_is_transparent_shows_the_background(kind: str, background: tuple[int, int, int]) -> None:
    pixels = to_square(TRANSPARENT[kind](), 16, 3, Rendering(background=background))
    assert (pixels[:, :8] == 0).all()
    assert (pixels[:, 8:] == background).all()
    grey = to_square(TRANSPARENT[kind](), 16, 1, Rendering(background=background))
    assert (grey[:, 8:] == Image.new("RGB", (1, 1), background).convert("L").getpixel((0, 0))).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_that_hides_nothing_changes_nothing(mode: str, channels: int) -> None:
    plain = picture(4, (16, 16)).convert({"LA": "L", "PA": "P"}.get(mode, "RGB"))
    image = plain.copy()
    image.putalpha(255)
    assert image.mode == mode
    wanted = np.asarray(plain.convert("L" if channels == 1 else "RGB"))
    assert np.array_equal(to_square(image, 16, channels), wanted.reshape(16, 16, channels))


def test_pixels_without_a_fixed_range_are_refused() -> None:
    with pytest.raises(ValueError, match="32-bit"):
        to_square(Image.fromarray(np.ones((8, 8), np.float32)), 8, 1)


def test_truncated_jpeg_raises() -> None:
    file = io.BytesIO()
    picture(2, (200, 200)).save(file, "JPEG")
    with pytest.raises(OSError, match="truncated"):
        to_square(Image.open(io.BytesIO(file.getvalue()[:-200])), 32, 3)


def _exif(
    *entries: bytes, order: str = "<", count: int | None = None, offset: int = 8, tail: bytes = bytes(4)
) -> bytes:
    """An EXIF block of one directory with these 12-byte entries."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", offset)
    return (
        b"Exif\0\0"
        + head
        + struct.pack(f"{order}H", len(entries) if count is None else count)
        + b"".join(entries)
        + tail
    )


def _entry(tag: int, kind: int, count: int, value: int, order: str = "<") -> bytes:
    packed = struct.pack(f"{order}Hxx", value) if kind == 3 else struct.pack(f"{order}I", value)
    return struct.pack(f"{order}HHI", tag, kind, count) + packed


def _odd_exif(turn: int) -> dict[str, bytes]:
    """EXIF blocks that name an orientation, beside entries that cameras and editors get wrong."""
    turned = _entry(0x0112, 3, 1, turn)
    return {
        "plain": _exif(turned),
        "big-endian": _exif(_entry(0x0112, 3, 1, turn, ">"), order=">"),
        "orientation as a long": _exif(_entry(0x0112, 4, 1, turn)),
        "text outside the block": _exif(turned, _entry(0x010F, 2, 4_000_000, 0x7FFFFFFF)),
        "unknown type": _exif(turned, _entry(0x9999, 99, 1, 7)),
        "a rational that is text": _exif(turned, _entry(0x829A, 2, 3, 0x00434241)),
        "text that is a rational": _exif(turned, _entry(0x010F, 5, 1, 8)),
        "sub-directory far away": _exif(turned, _entry(0x8769, 4, 1, 0x7FFFFFF0)),
        "sub-directory as text": _exif(turned, _entry(0x8769, 2, 4, 0x00434241)),
        "GPS in itself": _exif(turned, _entry(0x8825, 4, 1, 8)),
        "zero values": _exif(turned, _entry(0x010F, 2, 0, 0)),
        "the width in two parts": _exif(_entry(0x0100, 3, 2, 5), turned),
    }


ODD = list(_odd_exif(1))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ODD)
def test_odd_exif_entries_leave_the_orientation_in_force(kind: str, turn: int) -> None:
    image = picture(6, (32, 32))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, exif=_odd_exif(turn)[kind])
    pixels = to_square(Image.open(file), 32, 3)
    stored = np.asarray(Image.open(file).convert("RGB"))
    turns = [
        stored,
        stored[:, ::-1],
        stored[::-1, ::-1],
        stored[::-1],
        stored.transpose(1, 0, 2),
        np.rot90(stored, -1),
        np.rot90(stored, 2).transpose(1, 0, 2),
        np.rot90(stored),
    ]
    assert np.array_equal(pixels, turns[turn - 1])


def test_odd_exif_entries_are_not_a_word_worth(tmp_path: Path) -> None:
    """Pillow warns of them, and warnings are errors here."""
    root = tmp_path / "images"
    for folder in ("ant", "bee"):
        (root / folder).mkdir(parents=True)
        for kind, exif in _odd_exif(1).items():
            picture(6, (40, 30)).save(root / folder / f"{kind}.jpg", exif=exif)
    task = load_task(folder_data(root, memory_limit=100), 0)
    assert len(task.images.load(np.arange(2 * len(ODD)))) == 2 * len(ODD)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage that is no TIFF",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        _exif(count=65535),
        _exif(offset=3),
        _exif(_entry(0x0112, 3, 1, 0)),
        _exif(_entry(0x0112, 3, 1, 9)),
        _exif(_entry(0x0112, 3, 1, 65535)),
        _exif(_entry(0x0112, 2, 2, 0x0036)),
        _exif(_entry(0x0112, 5, 1, 0x7FFFFFFF)),
    ],
)
def test_exif_without_an_orientation_is_no_reason_to_refuse_a_picture(exif: bytes) -> None:
    file = io.BytesIO()
    picture(6, (32, 32)).save(file, "JPEG", exif=exif)
    assert to_square(Image.open(file), 32, 3).shape == (32, 32, 3)
    assert np.array_equal(to_square(Image.open(file), 32, 3), np.asarray(Image.open(file)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(90, 30), (30, 90), (1600, 533), (31, 30), (500, 1)])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_a_picture_that_is_no_square_is_cropped_padded_or_squashed(
    fit: Any, size: tuple[int, int], channels: int
) -> None:
    """White at both ends, beside black: only the crop loses them."""
    high = max(1, round(min(size) * 30 / max(size)))
    wide = Image.new("RGB", (max(size), min(size)))
    end = max(size) // 6
    wide.paste((255, 255, 255), (0, 0, end, min(size)))
    wide.paste((255, 255, 255), (max(size) - end, 0, max(size), min(size)))
    image = wide if size[0] >= size[1] else wide.transpose(Image.Transpose.TRANSPOSE)
    pixels = to_square(image, 30, channels, Rendering(fit=fit, background=(90, 80, 70)))
    pixels = pixels if size[0] >= size[1] else pixels.transpose(1, 0, 2)
    row = pixels[(30 - high) // 2 + high // 2]
    assert (row[[0, 29]].min() > 250) == (fit != "crop" or size == (31, 30))
    assert (row[12:18] == 0).all()
    beside = ((pixels == (90, 80, 70)) if channels == 3 else (pixels == 82)).all(axis=(1, 2))
    assert beside.sum() == (30 - high if fit == "pad" else 0)
