"""Images of more than 8 bits a channel: the samples as they are in the file, and their highest 8 bits in use.

Pillow has no mode for 16-bit colour: it keeps the high byte of each sample, so that values up to 255 are black.
"""

import io
import math
import sys
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from tlsweep.data.image_files import open_unlimited

if TYPE_CHECKING:
    from PIL.Image import Image

FULL_DEPTH = 16
_DEPTHS = (8, 10, 12, 14, FULL_DEPTH)
"""Bits that sensors and scanners give; the images of a set are taken to use one of these."""
_OTHER_BYTE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_COLOUR = ("LA;16B", *(f"{mode};16{order}" for mode in ("RGB", "RGBX", "RGBA") for order in "LBN"))
"""The layouts of 16-bit samples in a file that Pillow cuts to their high bytes."""

_BITS, _COMPRESSION = 258, 259
_PHOTOMETRIC, _STRIPS = 262, 273
_STRIP_BYTES, _PLANAR = 279, 284
"""Tags of a TIFF (TIFF 6.0, sections 4, 6 and 8)."""

Samples = npt.NDArray[np.uint16]


def depth_in_use(bits: int) -> int:
    """The usual depth that holds values of this many bits."""
    return next(depth for depth in _DEPTHS if bits <= depth)


def is_deep(image: "Image") -> bool:
    """Whether an image that was opened, and not yet loaded, has more than 8 bits a channel."""
    if image.mode.startswith("I") or image.mode == "F" or _is_deep_ppm(image):
        return True
    # Compressed planes are decoded by libtiff, to their high bytes, whatever the raw mode says.
    return (_raw_mode(image) in _COLOUR and not _in_planes(image)) or _has_raw_planes(image)


def samples_of(image: "Image") -> Samples:
    """Load a deep image; the values in its file: (H, W) of a grey one, (H, W, 3) or (H, W, 4) in colour, alpha last.

    Raises:
        ValueError: they are not whole numbers of 16 bits.
    """
    if _is_deep_ppm(image):
        return _ppm_samples(image)
    if _has_raw_planes(image):
        return _plane_samples(image)
    if _raw_mode(image) in _COLOUR:
        return _colour_samples(image)
    if image.mode == "F":
        raise ValueError(
            "its pixels are 32-bit numbers with a fraction (mode F), which have no fixed range; convert it"
        )
    samples = np.asarray(image)
    if image.mode == "I" and not 0 <= samples.min() <= samples.max() < 2**FULL_DEPTH:
        raise ValueError(
            f"its pixels are 32-bit (mode I) from {samples.min()} to {samples.max()}, and what is white there is not "
            "known; convert it to 8 or 16 bits"
        )
    white_is_zero = _tags(image).get(_PHOTOMETRIC) == 0  # Pillow turns those of 8 bits over, but not those of 16
    return samples.astype(np.uint16) ^ np.uint16(0xFFFF if white_is_zero else 0)


def without_alpha(samples: Samples) -> Samples:
    """The grey levels or colours alone."""
    return samples[..., :3] if samples.ndim == 3 else samples


def eight_bits(image: "Image", samples: Samples, bits: int) -> "Image":
    """The samples as an 8-bit image: of the `bits` in use the highest 8; alpha is always of 16.

    Args:
        image: the image that the samples are from; it may name a value that is transparent.
    """
    from PIL import Image

    colour = np.minimum(without_alpha(samples), 2**bits - 1)
    pixels = Image.fromarray((colour >> (bits - 8)).astype(np.uint8))
    alpha = _alpha(image, samples)
    if alpha is None:
        return pixels
    layer = pixels.convert("RGBA")
    layer.putalpha(Image.fromarray(alpha))
    return layer


def _alpha(image: "Image", samples: Samples) -> npt.NDArray[np.uint8] | None:
    if samples.ndim == 3 and samples.shape[2] == 4:
        return (samples[..., 3] >> 8).astype(np.uint8)
    key = image.info.get("transparency")
    if key is None:
        return None
    hidden = samples == np.asarray(key)  # PNG's tRNS: one value, or one colour, that is transparent
    return np.where(hidden.all(axis=2) if samples.ndim == 3 else hidden, 0, 255).astype(np.uint8)


def _raw_mode(image: "Image") -> str:
    """How the samples lie in the file; empty where Pillow does not say."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ""
    if isinstance(arguments, tuple) and arguments:
        return str(arguments[0])
    return str(arguments or "")


def _tags(image: "Image") -> Any:
    """The tags of a TIFF; other files have none."""
    return getattr(image, "tag_v2", {})


def _in_planes(image: "Image") -> bool:
    """Whether it is a TIFF that holds all of one colour before the next."""
    return bool(_tags(image).get(_PLANAR, 1) == 2)


def _has_raw_planes(image: "Image") -> bool:
    """Whether these are uncompressed and of 16 bits: Pillow takes each of their bytes for a pixel."""
    tags = _tags(image)
    return (
        _in_planes(image)
        and image.mode in ("RGB", "RGBA")
        and tags.get(_COMPRESSION) == 1
        and max(tags.get(_BITS, (8,))) > 8
    )


def _plane_samples(image: "Image") -> Samples:
    tags, content = _tags(image), _content(image)
    planes = len(image.getbands())
    parts = zip(tags[_STRIPS], tags[_STRIP_BYTES], strict=True)
    pixels = b"".join(content[start : start + count] for start, count in parts)
    if len(pixels) < 2 * planes * image.width * image.height:
        raise ValueError("image file is truncated")
    samples = np.frombuffer(pixels, "<u2" if tags.prefix == b"II" else ">u2")
    return cast(Samples, samples.reshape(-1, image.height, image.width)[:planes].transpose(1, 2, 0).astype(np.uint16))


def _content(image: "Image") -> bytes:
    file = image.fp  # type: ignore[attr-defined]
    place = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(place)
    return content


def _is_deep_ppm(image: "Image") -> bool:
    """Whether it is a PPM of 16 bits a channel; Pillow divides those by the largest value that may occur."""
    tiles = getattr(image, "tile", None) or []
    return image.mode == "RGB" and any(tile.codec_name == "ppm" and tile.args[1] > 255 for tile in tiles)


def _ppm_samples(image: "Image") -> Samples:
    """Stretched to 16 bits where less are declared, as Pillow does with a PGM."""
    tile = image.tile[0]  # type: ignore[attr-defined]
    shape = (image.height, image.width, 3)
    content = _content(image)[tile.offset : tile.offset + 2 * math.prod(shape)]
    if len(content) < 2 * math.prod(shape):
        raise ValueError("image file is truncated")
    stretched = np.frombuffer(content, ">u2") * (65535 / tile.args[1])
    samples: Samples = np.minimum(np.rint(stretched), 65535).astype(np.uint16)
    return samples.reshape(shape)


def _colour_samples(image: "Image") -> Samples:
    """Decoded twice, for the two bytes of each sample: the other byte comes out where the other byte order is named."""
    raw_mode, content = _raw_mode(image), _content(image)
    high = np.asarray(image).astype(np.uint16)
    if raw_mode == "LA;16B":  # 4 bytes a pixel: grey, grey, alpha, alpha
        low = _decoded(content, "RGBA")[..., [1, 1, 1, 3]]
    else:
        low = _decoded(content, raw_mode[:-1] + _OTHER_BYTE[raw_mode[-1]])
    return cast(Samples, high << 8 | low)


def _decoded(content: bytes, raw_mode: str) -> npt.NDArray[np.uint8]:
    with open_unlimited(io.BytesIO(content)) as image:
        image.tile = [tile._replace(args=_renamed(tile.args, raw_mode)) for tile in image.tile]
        return np.asarray(image)


def _renamed(arguments: Any, raw_mode: str) -> Any:
    if isinstance(arguments, tuple):
        return (raw_mode, *arguments[1:])
    return raw_mode
