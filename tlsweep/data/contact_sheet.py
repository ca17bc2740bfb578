"""A contact sheet: some training images of each class on one page, as the network will see them in its first epoch."""

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tlsweep.data.task import Indices, Task
from tlsweep.spec import Hyperparameters
from tlsweep.text import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

_IMAGES = 64
_COLUMNS = 8
_TILE, _CAPTION = 112, 14
_GAP = 4
_LETTERS = 17
"""How many letters of a class name are written below its image."""


def contact_sheet(task: Task, strengths: Hyperparameters = Hyperparameters(), seed: int = 0) -> bytes:
    """A PNG of up to 64 images of the training split, class after class; of more classes one each, evenly chosen.

    Args:
        task: images, with what they are cropped and mirrored by.
        strengths: how else they are changed. An image that is mixed with the next one of the page has its own name
            below it.
        seed: what is drawn follows from it.
    """
    from PIL import Image, ImageDraw

    chosen = _chosen(task)
    rows = math.ceil(len(chosen) / _COLUMNS)
    width, height = _TILE + _GAP, _TILE + _CAPTION + _GAP
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP, rows * height + _GAP), (128, 128, 128))
    draw = ImageDraw.Draw(sheet)
    for at, (index, pixels) in enumerate(zip(chosen, _seen(task, chosen, strengths, seed), strict=True)):
        left, top = _GAP + at % _COLUMNS * width, _GAP + at // _COLUMNS * height
        sheet.paste(_tile(pixels, task.image_size), (left, top))
        name = one_line(task.classes[task.labels[index]])[:_LETTERS]
        # Pillow's own font, the only one that is sure to be there, knows the letters of Latin-1.
        draw.text((left, top + _TILE + 1), name.encode("latin-1", "replace").decode("latin-1"))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _chosen(task: Task) -> Indices:
    train = task.splits["train"]
    classes = np.unique(np.linspace(0, task.num_classes - 1, _IMAGES, dtype=int))
    each = max(1, _IMAGES // len(classes))
    return np.concatenate([train[task.labels[train] == label][:each] for label in classes])


def _seen(task: Task, indices: Indices, strengths: Hyperparameters, seed: int) -> Any:
    from tlsweep.data.batches import Batches

    return Batches(task, strengths).preview(indices, seed).numpy()


def _tile(pixels: Any, size: int) -> "Image":
    """One image, enlarged where it is small so that its pixels show."""
    from PIL import Image

    seen = np.ascontiguousarray(pixels)
    image = Image.fromarray(seen[:, :, 0] if seen.shape[2] == 1 else seen).convert("RGB")
    small = size < _TILE
    return image.resize((_TILE, _TILE), Image.Resampling.NEAREST if small else Image.Resampling.BILINEAR)
