"""The images that a sweep's winner gets wrong, and those whose label may be wrong, as small pictures."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tlsweep.data import Task, load_task
from tlsweep.data.items import Items
from tlsweep.data.sources import find_images
from tlsweep.errors import DataError
from tlsweep.report import SweepTables
from tlsweep.report.arms import winner
from tlsweep.report.rows import Row
from tlsweep.spec import MAIN_ARM
from tlsweep.spec.images import require_images

SHOWN = 18
"""Pictures of each kind."""
SIDE = 112
"""Pixels of a picture's side; smaller ones are enlarged by whole numbers, so that their pixels can be seen."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture and what is known of it."""

    png: bytes
    name: str
    """Its file, or its number."""
    label: str
    told: str
    """What the winner makes of it."""


@dataclass(frozen=True)
class Gallery:
    """Pictures that have something in common."""

    title: str
    caption: str
    pictures: Sequence[Thumbnail]


def galleries(tables: SweepTables) -> list[Gallery]:
    """The mistakes on the test split that the winner is surest of, and the labels that it finds least probable.

    Images are read again, from the cache of decoded ones where they are still there.

    Raises:
        DataError: they are not to be had, or are others than those of the sweep.
    """
    best = winner(tables, MAIN_ARM)
    if best is None:
        return []
    mistakes = _mistakes(tables, best.trial)
    own = (row for row in tables.hard_images if row["trial"] == best.trial)
    doubts = _once_each(row for row in own if row["label_probability"] is not None and _is_wrong(row))
    if not mistakes and not doubts:
        return []
    task = _same_task(tables)
    items = find_images(require_images(tables.spec, "a page's pictures").data).items
    judged = ", judged by networks that were not trained on them" if task.runs else ""

    def pictures(rows: Sequence[Row], tell: Callable[[Row], str]) -> list[Thumbnail]:
        return [_thumbnail(task, items, row, tell(row)) for row in rows[:SHOWN]]

    found = [
        Gallery(
            "Mistakes that the winner is surest of",
            f"Of {len(mistakes)} wrong ones among n={task.size('test'):,} test images those with the most probable "
            "wrong class, and its probability.",
            pictures(mistakes, lambda row: f"taken for {row['predicted']}{_probability(row)}"),
        ),
        Gallery(
            "Labels that may be wrong",
            f"Images of training and validation{judged}, with the probability that the winner gives to their label, "
            "the lowest first. Some are only hard; where you agree with the winner, mend the label.",
            pictures(doubts, lambda row: f"{row['label_probability']:.3f}; taken for {row['predicted']}"),
        ),
    ]
    return [gallery for gallery in found if gallery.pictures]


def _mistakes(tables: SweepTables, trial: str) -> list[Row]:
    wrong = (row for row in tables.predictions if row["arm"] == MAIN_ARM and row["trial"] == trial and _is_wrong(row))
    return _once_each(sorted(wrong, key=lambda row: -(row.get("probability") or 0.0)))


def _probability(row: Row) -> str:
    """Of the predicted class; the first versions did not keep it."""
    return "" if row.get("probability") is None else f", {row['probability']:.3f}"


def _is_wrong(row: Row) -> bool:
    return bool(row["label"] != row["predicted"])


def _once_each(rows: Iterable[Row]) -> list[Row]:
    """The first row of each image: several networks may have judged it."""
    found: dict[int, Row] = {}
    for row in rows:
        found.setdefault(row["image"], row)
    return list(found.values())


def _same_task(tables: SweepTables) -> Task:
    """The sweep's images; nothing is downloaded for a picture.

    Raises:
        DataError: they are not to be had, or are others than those of the sweep.
    """
    data = require_images(tables.spec, "a page's pictures").data
    if data.source == "python":
        raise DataError("they come from a function of your own (data.function), which is not run for a page")
    if getattr(data, "download", False):
        data = data.model_copy(update={"download": False})
    task = load_task(data, tables.spec.seed)
    if task.fingerprint != (tables.environment.get("data") or {}).get("fingerprint"):
        raise DataError("they have changed since the sweep was run")
    return task


def _thumbnail(task: Task, items: Items, row: Row, told: str) -> Thumbnail:
    from PIL import Image

    index = row["image"]
    pixels = task.images[[index]] if hasattr(task.images, "dtype") else task.images.load([index])
    picture = Image.fromarray(pixels[0].squeeze(-1) if pixels.shape[-1] == 1 else pixels[0])
    side = picture.width
    if side > SIDE:
        picture = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    else:
        picture = picture.resize((side * (SIDE // side),) * 2, Image.Resampling.NEAREST)
    content = io.BytesIO()
    picture.save(content, "png", optimize=True)
    return Thumbnail(content.getvalue(), items.name(index), row["label"], told)
