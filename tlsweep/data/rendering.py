"""How one image becomes a square of uint8 pixels: turned, opaque, 8 bits deep, cropped or not.

The rule for depth: images of more than 8 bits a channel lose their lowest bits, so that of the bits that the whole set
uses (8, 10, 12, 14 or 16) the highest 8 stay. One rule for the set keeps their brightness comparable.
"""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from tlsweep.data.depth import FULL_DEPTH, eight_bits, is_deep, samples_of, without_alpha
from tlsweep.spec.data import Interpolation

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

_ORIENTATION = 0x0112
_LARGE = 50_000_000
"""Pixels of an image that is decoded alone: 16 threads with such a one each would take gigabytes."""
_alone = threading.Lock()


@dataclass(frozen=True)
class Rendering:
    """How an image becomes a square, beside the square's side and channels."""

    fit: Literal["crop", "pad", "squash"] = "crop"
    """See `data.fit`."""
    background: tuple[int, int, int] = (255, 255, 255)
    """Red, green and blue behind transparency and beside padded images."""
    bits: int = FULL_DEPTH
    """The bits that images of more than 8 bits a channel use, over the whole set."""
    interpolation: Interpolation = "bilinear"
    """See `data.interpolation`."""

    @property
    def resampling(self) -> "Resampling":
        """Pillow's filter, which looks at all pixels that go into one."""
        from PIL.Image import Resampling

        return {"bilinear": Resampling.BILINEAR, "bicubic": Resampling.BICUBIC}[self.interpolation]


@dataclass(frozen=True)
class Rendered:
    """A square of pixels and what was seen of the image on the way."""

    pixels: npt.NDArray[np.uint8]
    """Shape (side, side, channels)."""
    size: tuple[int, int]
    """Width and height of the upright image; of a JPEG that was decoded at a lower scale, those of that scale."""
    bits: int
    """Bits that its brightest pixel takes, where it has more than 8 a channel; else 0."""


def render(image: "Image", side: int, channels: int, rendering: Rendering) -> Rendered:
    """The image, upright, as a square of `side`. `image` itself is used up.

    Raises:
        Exception: whatever Pillow raises where the image does not decode; OSError for most.
    """
    # A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves twice the side: much faster, and the rest is antialiased.
    image.draft(None, (2 * side, 2 * side))
    if image.width * image.height <= _LARGE:
        return _rendered(image, side, channels, rendering)
    with _alone:
        return _rendered(image, side, channels, rendering)


def _rendered(image: "Image", side: int, channels: int, rendering: Rendering) -> Rendered:
    mode = "L" if channels == 1 else "RGB"
    bits = 0
    if is_deep(image):
        samples = samples_of(image)
        bits = int(without_alpha(samples).max(initial=0)).bit_length()
        orientation = _orientation(image)
        image = eight_bits(image, samples, rendering.bits)
    else:
        # Before its orientation is asked for: Pillow turns a TIFF by itself when it is loaded, and takes the entry out
        # (TiffImagePlugin.py, `load_end`).
        image.load()
        orientation = _orientation(image)
    image = _turned(_opaque(image, mode, rendering.background), orientation)
    square = _fitted(image, side, rendering)
    return Rendered(np.asarray(square).reshape(side, side, channels), image.size, bits)


def _orientation(image: "Image") -> object:
    """What the image says of itself. Nothing else of its EXIF is looked at, and an entry that is odd is no reason to
    refuse a picture (`ImageOps.exif_transpose` writes all of them back, and raises)."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # struct.error, SyntaxError, ValueError, OSError, …: whatever the bytes make of Pillow's parser
        return None


def _turned(image: "Image", orientation: object) -> "Image":
    from PIL.Image import Transpose

    # EXIF 2.32, 4.6.4, tag 274.
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _opaque(image: "Image", mode: str, background: tuple[int, int, int]) -> "Image":
    """The image in `mode`, over the background where it is transparent."""
    from PIL import Image

    if image.has_transparency_data:
        layer = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        # An alpha channel that hides nothing is dropped, as ever: the colours are not touched.
        if layer.getchannel("A").getextrema() != (255, 255):
            behind = Image.new("RGBA", layer.size, (*background, 255))
            return Image.alpha_composite(behind, layer).convert("RGB").convert(mode)
    return image if image.mode == mode else image.convert(mode)


def _fitted(image: "Image", side: int, rendering: Rendering) -> "Image":
    width, height = image.size
    if image.size == (side, side):
        return image
    if rendering.fit == "squash":
        return image.resize((side, side), rendering.resampling)
    if rendering.fit == "pad":
        return _padded(image, side, rendering)
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    # In fractions of a pixel, which `resize` takes: cropping first would move an odd picture by half of one.
    box = (left, top, left + short, top + short)
    return image.resize((side, side), rendering.resampling, box=box)


def _padded(image: "Image", side: int, rendering: Rendering) -> "Image":
    """The whole image in the middle of the square, the background beside it."""
    from PIL import Image

    long = max(image.size)
    width, height = (max(1, round(length * side / long)) for length in image.size)
    square = Image.new("RGB", (side, side), rendering.background).convert(image.mode)
    square.paste(image.resize((width, height), rendering.resampling), ((side - width) // 2, (side - height) // 2))
    return square
