from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torchvision.transforms.v2 import functional as reference

from tlsweep.data.augmentation import augment
from tlsweep.data.augmentation.warping import flipped, sampled_places, warp
from tlsweep.spec import Augment, DataSpec, DigitsData

SIDE, SIZE = 12, 9


def _positions(count: int, side: int = SIDE) -> torch.Tensor:
    """Images whose every pixel is its own place: row and column in two channels, the image's number in a third."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    image = torch.stack([rows, columns, torch.zeros_like(rows)], dim=-1).to(torch.uint8)
    images = image.repeat(count, 1, 1, 1)
    images[..., 2] = torch.arange(count).view(-1, 1, 1) % 256
    return images


def test_shifted_crops_lie_inside_and_reach_every_place() -> None:
    images, drawn = _positions(2000), augment.draw(2000, 0)
    crops = augment.cut(images, augment.shifts(drawn, SIDE, SIZE), SIZE)
    assert crops.shape == (2000, SIZE, SIZE, 3)
    assert torch.equal(crops[:, 0, 0, 2], images[:, 0, 0, 2]), "each crop is of its own image"
    corners = crops[:, 0, 0, :2].int()
    inside = corners.view(-1, 1, 1, 2) + _positions(1, SIZE)[..., :2].int()
    assert torch.equal(crops[..., :2].int(), inside), "a crop is a square of neighbouring pixels"
    places, counts = torch.unique(corners, dim=0, return_counts=True)
    assert len(places) == (SIDE - SIZE + 1) ** 2
    assert counts.min() > 2000 / len(places) * 0.6


def test_largest_draw_stays_inside() -> None:
    drawn = torch.full((1, 5), np.nextafter(np.float32(1), np.float32(0)))
    for side, size in ((12, 9), (256, 224), (8, 8), (2341, 2048)):
        starts = augment.shifts(drawn, side, size)
        crop = augment.cut(torch.zeros(1, side, side, 1, dtype=torch.uint8), starts, size)
        assert crop.shape == (1, size, size, 1)
        assert starts.tolist() == [[side - size, side - size]]


def test_padding_mirrors_the_border() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8))
    wanted = reference.pad(images.permute(0, 3, 1, 2), [2, 2, 2, 2], padding_mode="reflect").permute(0, 2, 3, 1)
    assert torch.equal(augment.cut(images, torch.zeros(3, 2, dtype=torch.int64), 12, padding=2), wanted)


def test_half_is_mirrored() -> None:
    assert abs(augment.mirrored(augment.draw(4000, 1)).float().mean() - 0.5) < 0.03


@pytest.mark.parametrize("padding", [0, 3])
def test_squares_are_turned_after_they_were_cut_out(padding: int) -> None:
    images = _positions(200)
    starts = augment.shifts(augment.draw(200, 1), SIDE + 2 * padding, SIZE)
    first, second = torch.rand(2, 200, generator=torch.Generator().manual_seed(0)) < 0.5
    plain = augment.cut(images, starts, SIZE, padding=padding)
    turned = augment.cut(images, starts, SIZE, padding=padding, mirrored=first, upside_down=second)
    for square, mirrored, upside_down, got in zip(plain, first, second, turned, strict=True):
        dimensions = [0] * bool(upside_down) + [1] * bool(mirrored)
        assert torch.equal(got, square.flip(dimensions))


@pytest.mark.parametrize("size", [1, 7, 32])
def test_maps_lead_where_torchs_do_and_turn_what_they_lead_to(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps, images = torch.randn(40, 2, 3, generator=generator), torch.rand(40, 3, 9, 9, generator=generator)
    wanted = torch.nn.functional.affine_grid(maps, [40, 3, size, size], align_corners=False)
    torch.testing.assert_close(sampled_places(maps, size), wanted)
    first, second = torch.rand(2, 40, generator=generator) < 0.5
    plain = warp(images, maps, size, padding="zeros")
    turned = warp(images, flipped(maps, first, second), size, padding="zeros")
    for square, mirrored, upside_down, got in zip(plain, first, second, turned, strict=True):
        torch.testing.assert_close(got, square.flip([1] * bool(upside_down) + [2] * bool(mirrored)))


def test_resized_crops_have_the_promised_areas_and_aspects() -> None:
    """Seen through images whose pixels are their own coordinates."""
    count, side = 3000, 64
    images = _positions(count, side).permute(0, 3, 1, 2).float()
    crops = warp(images, augment.resized_window(augment.draw(count, 2)), 32, padding="border")
    step_down = (crops[:, 0, 20, 16] - crops[:, 0, 12, 16]) / 8
    step_right = (crops[:, 1, 16, 20] - crops[:, 1, 16, 12]) / 8
    height, width = step_down * 32 / side, step_right * 32 / side
    area, aspect = height * width, width / height
    assert area.min() > 0.249
    assert area.max() < 1.001
    assert abs((area < 0.625).float().mean() - 0.5) < 0.06, "areas are about uniform"
    assert aspect.min() > 0.74
    assert aspect.max() < 1.34
    assert abs(aspect.log().mean()) < 0.02
    middle = crops[:, :2, 15:17, 15:17].mean(dim=(2, 3)) / (side - 1)
    assert ((middle[:, 0] - height / 2) > -0.01).all()
    assert ((middle[:, 1] + width / 2) < 1.01).all()


def test_resized_crop_of_the_whole_image_is_a_plain_resize() -> None:
    images = torch.rand(2, 3, 40, 40)
    drawn = torch.tensor([[0.3, 0.7, 1.0, 0.5, 0.0]]).repeat(2, 1)
    wanted = torch.nn.functional.interpolate(images, size=20, mode="bilinear", align_corners=False)
    crops = warp(images, augment.resized_window(drawn), 20, padding="border")
    torch.testing.assert_close(crops, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("side", "size", "pixels"), [(32, 32, 4), (28, 28, 3), (4, 4, 1), (256, 224, 0)])
def test_padding_is_an_eighth_where_there_is_no_margin(side: int, size: int, pixels: int) -> None:
    assert augment.padding_of(side, size) == pixels


DIGITS, SET = {"source": "digits"}, {"source": "torchvision", "dataset": "SEMEION"}
OWN, PHOTOS = {"source": "python", "function": "mine:digits"}, {"source": "folder", "path": "photos"}


@pytest.mark.parametrize("written", [{}, {"crop": "resized"}, {"flip": True}, {"crop": "none", "flip": False}])
@pytest.mark.parametrize("source", [DIGITS, SET, OWN, PHOTOS], ids=lambda source: source["source"])
@pytest.mark.parametrize("as_model", [False, True])
def test_only_photographs_are_mirrored_unless_the_spec_says_so(
    source: dict[str, Any], written: dict[str, Any], as_model: bool
) -> None:
    given = Augment(**written) if as_model else written
    data: DigitsData = TypeAdapter(DataSpec).validate_python(source | ({"augment": given} if written else {}))
    assert data.augment.flip == written.get("flip", source is PHOTOS)
    assert data.augment.crop == written.get("crop", "none" if source is DIGITS else "shift")
    assert TypeAdapter(DataSpec).validate_python(data.model_dump()) == data


@pytest.mark.parametrize("wrong", [3, "flip", ["flip"], {"flap": True}])
def test_an_augment_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError, match="augment"):
        TypeAdapter(DataSpec).validate_python(PHOTOS | {"augment": wrong})


@pytest.mark.parametrize(
    ("wanted", "side", "size", "words"),
    [
        (Augment(crop="none"), 8, 8, "not cropped, never mirrored"),
        (Augment(crop="shift"), 28, 28, "shifted by up to 3 pixels, never mirrored"),
        (Augment(crop="shift", flip=True), 256, 224, "shifted by up to 16 pixels, half of them mirrored (wrong for "
         "digits and letters: data.augment.flip=false)"),
        (Augment(crop="resized"), 256, 224, "random crops of 25 to 100 % of the area, never mirrored"),
    ],
)  # fmt: skip
def test_augmentation_in_words(wanted: Augment, side: int, size: int, words: str) -> None:
    assert augment.in_words(wanted, side, size) == words
