"""What `check` says of images that decode, and are odd all the same."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import folder_data, picture, png_file, write_folder
from PIL import Image

from tlsweep.data import load_task
from tlsweep.data.contact_sheet import contact_sheet
from tlsweep.data.findings import Some


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _white_on_transparency() -> Image.Image:
    image = Image.new("RGBA", (40, 30), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (5, 5, 20, 20))
    return image


FLAT = {
    "black": _png(Image.new("RGB", (40, 30))),
    "some colour": _png(Image.new("RGB", (40, 30), (200, 10, 99))),
    "grey, in one channel": _png(Image.new("L", (40, 30), 77)),
    "white on transparency": _png(_white_on_transparency()),
    "noise of the last bit": _png(Image.fromarray(np.random.default_rng(0).integers(9, 11, (30, 40), dtype=np.uint8))),
    "dark beside others of 16 bits": png_file(np.random.default_rng(1).integers(0, 256, (30, 40, 1))),
}


@pytest.mark.parametrize("kind", FLAT)
def test_images_of_a_single_colour_are_counted_and_named(kind: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images", {"ant": 5, "bee": 5})
    (root / "ant" / "bright.png").write_bytes(png_file(np.random.default_rng(2).integers(0, 65536, (30, 40, 1))))
    (root / "ant" / "dim.png").write_bytes(_png(picture(3).point(lambda value: value // 10)))
    for index in range(4):
        (root / "bee" / f"x{index}.png").write_bytes(FLAT[kind])
    findings = load_task(folder_data(root), 0).findings
    assert findings.single_colour == Some(4, ("bee/x0.png", "bee/x1.png", "bee/x2.png"))
    assert findings.in_words() == ("4 images of a single colour, once decoded (bee/x0.png, bee/x1.png, bee/x2.png, …)",)


@pytest.mark.parametrize(
    ("used", "brightest", "count"), [(12, 16, 5), (10, 14, 5), (12, 12, 0), (13, 16, 0), (14, 11, 0)]
)
def test_images_that_a_brighter_one_makes_dark_are_counted(
    used: int, brightest: int, count: int, tmp_path: Path
) -> None:
    root = write_folder(tmp_path / "images", {"ant": 5, "bee": 5})
    for index in range(5):
        samples = np.linspace(0, 2**used - 1, 1200).reshape(30, 40, 1).astype(int)
        (root / "ant" / f"x{index}.png").write_bytes(png_file(samples))
    (root / "bee" / "bright.png").write_bytes(
        png_file(np.full((30, 40, 1), 2**brightest - 1) * (np.arange(40) > 9)[:, None])
    )
    findings = load_task(folder_data(root), 0).findings
    assert (findings.dark.count, findings.single_colour.count) == (count, 0)
    assert not count or "5 images with no pixel brighter than 15 of 255, so nearly black" in findings.in_words()[0]


@pytest.mark.parametrize(("classes", "count"), [(2, 0), (8, 12), (15, 12), (17, 0)])
def test_masks_of_class_numbers_are_counted(classes: int, count: int, tmp_path: Path) -> None:
    """With values of 0 and 1 alone they are of a single colour."""
    for name in ("ant/0", "bee/0"):
        for index in range(6):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            mask = np.random.default_rng(index).integers(0, classes, (30, 40), dtype=np.uint8)
            Image.fromarray(mask).save(tmp_path / f"{name}{index}.png")
    findings = load_task(folder_data(tmp_path), 0).findings
    assert findings.dark.count == count
    assert (findings.single_colour.count == 12) == (classes == 2)


@pytest.mark.parametrize(("fit", "count"), [("crop", 3), ("pad", 0), ("squash", 0)])
def test_pictures_that_the_crop_cuts_in_half_are_counted(fit: Any, count: int, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images", {"ant": 5, "bee": 5}, size=(40, 20))
    turned = Image.Exif()
    turned[0x0112] = 6
    for index, size in enumerate(((41, 20), (20, 81), (3001, 1000))):
        picture(index, size).save(root / "bee" / f"x{index}.jpg", exif=turned)
    findings = load_task(folder_data(root, fit=fit, image_size=16), 0).findings
    assert findings.cropped.count == count
    names = "(bee/x0.jpg, bee/x1.jpg, bee/x2.jpg)"
    wanted = f"3 images cut by more than half; data.fit: pad or squash keeps the whole {names}"
    assert findings.in_words() == ((wanted,) if count else ())


@pytest.mark.parametrize(
    ("fit", "size", "seen"), [("crop", None, 30), ("pad", None, 60), ("squash", 24, 24), ("pad", 96, 96)]
)
def test_a_padded_or_squashed_picture_is_seen_whole(fit: Any, size: int | None, seen: int, tmp_path: Path) -> None:
    """Nothing is cut away as a margin for random crops, which validation would not see."""
    root = write_folder(tmp_path / "images", {"ant": 5, "bee": 5}, size=(60, 30))
    task = load_task(folder_data(root, fit=fit, image_size=size, augment={"crop": "shift"}), 0)
    assert task.image_size == seen
    assert task.images.shape[1] == seen


def test_each_way_to_a_square_has_its_own_cache_and_fingerprint(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images", {"ant": 5, "bee": 5}, size=(60, 30))
    ways = [{}, {"fit": "pad"}, {"fit": "pad", "background": (0, 0, 0)}, {"fit": "squash"}]
    tasks = [load_task(folder_data(root, image_size=32, **way), 0) for way in ways]
    assert len({task.fingerprint for task in tasks}) == 4


def test_the_default_has_the_fingerprint_of_earlier_versions(tmp_path: Path) -> None:
    """Sweeps that began with them can be resumed."""
    for folder, first in (("ant", 0), ("bee", 50)):
        (tmp_path / folder).mkdir()
        for index in range(8):
            pixels = np.random.default_rng(first + index).integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{index}.png")
    task = load_task(folder_data(tmp_path, image_size=16, augment={"crop": "shift", "flip": True}), 3)
    assert task.fingerprint == "09a8ce1d9f18e5c902e8b20172f08b14b2adf73017bb2ba3dfb935a106bb323c"


@pytest.mark.parametrize(("classes", "each", "rows"), [(2, 60, 8), (5, 30, 8), (70, 6, 8)])
def test_a_contact_sheet_shows_images_of_every_class(classes: int, each: int, rows: int, tmp_path: Path) -> None:
    colours = [(3 * label, 250 - 3 * label, 7) for label in range(classes)]
    for label, colour in enumerate(colours):
        (tmp_path / f"\x1bclass {label:02d} 虫").mkdir()
        for index in range(each):
            Image.new("RGB", (30, 30), colour).save(tmp_path / f"\x1bclass {label:02d} 虫" / f"{index}.png")
    sheet = Image.open(io.BytesIO(contact_sheet(load_task(folder_data(tmp_path), 0))))
    assert sheet.size == (8 * 116 + 4, rows * 130 + 4)
    seen = {sheet.getpixel((60 + 116 * column, 60 + 130 * row)) for row in range(rows) for column in range(8)}
    assert len(seen & set(colours)) == min(classes, 64)
    assert seen - set(colours) <= {(128, 128, 128)}
