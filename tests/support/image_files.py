"""Small image files and specs for the tests of this folder."""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlsweep.spec import Augment, FolderData

PLAIN = Augment(crop="none", flip=False)


def picture(seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Image.Image:
    """A smooth random picture (JPEG keeps it well), of (width, height)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def write_folder(
    root: Path, counts: Mapping[str, int], *, size: tuple[int, int] = (40, 30), mode: str = "RGB", suffix: str = ".png"
) -> Path:
    """`counts` images for each class folder (`train/cat` and so on); returns `root`."""
    for number, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            picture(1000 * number + index, size, mode).save(root / folder / f"{index:03d}{suffix}")
    return root


def folder_data(root: Path, **fields: Any) -> FolderData:
    """The spec of an image folder, without augmentation unless `fields` say so."""
    return FolderData(**{"source": "folder", "path": str(root), "augment": PLAIN} | fields)


def png_file(samples: np.ndarray[Any, Any], *, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, which Pillow writes in grey only: (H, W, 1, 2, 3 or 4). `extra`: further chunks."""
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    body = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def tiff_file(
    samples: np.ndarray[Any, Any], bits: int, *, order: str = "<", planes: bool = False, extra: Mapping[int, int] = {}
) -> bytes:
    """An uncompressed TIFF of 12 (grey, packed) or 16 bits a channel: (H, W, 1 or 3). `extra`: further tags.

    With `planes` all of one colour is before the next.
    """
    height, width, channels = samples.shape
    pixels = (samples.transpose(2, 0, 1) if planes else samples).astype(f"{order}u2").tobytes()
    if bits == 12:
        text = "".join(f"{value:012b}" for value in samples.ravel())
        pixels = int(text, 2).to_bytes(len(text) // 8, "big")
    colour, per_channel = 2 if channels == 3 else 1, 8 + len(pixels)
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: colour, 273: 8, 277: channels, 278: height}
    tags |= {279: len(pixels)} | dict(extra)
    entries = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    after = struct.pack(f"{order}3H", bits, bits, bits)
    if channels == 3:
        entries[2] = struct.pack(f"{order}HHII", 258, 3, 3, per_channel)
    if planes:
        size = len(pixels) // 3
        entries[5] = struct.pack(f"{order}HHII", 273, 4, 3, per_channel + 6)
        entries[8] = struct.pack(f"{order}HHII", 279, 4, 3, per_channel + 18)
        entries.append(struct.pack(f"{order}HHII", 284, 4, 1, 2))
        after += struct.pack(f"{order}6I", 8, 8 + size, 8 + 2 * size, size, size, size)
    table = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", per_channel + len(after))
    return head + pixels + after + table


def pgm_file(samples: np.ndarray[Any, Any], maxval: int) -> bytes:
    """A PGM, or in colour a PPM, of 16 bits a channel: (H, W, 1 or 3)."""
    height, width, channels = samples.shape
    return f"P{6 if channels == 3 else 5} {width} {height} {maxval}\n".encode() + samples.astype(">u2").tobytes()
