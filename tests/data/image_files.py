"""Small image files and specs for the tests of this folder."""

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
