"""The images of a report's page are those of the tables; where those are not to be had it says why."""

import base64
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlsweep.data import load_task
from tlsweep.inference.gallery import SHOWN, galleries
from tlsweep.report import SweepTables, load_tables
from tlsweep.spec import load_spec
from tlsweep.store import Results
from tlsweep.terminal.page import make_page

HARD = {"trial": "start", "split": "val", "label": "1", "predicted": "7", "label_probability": 0.25}


@pytest.fixture
def tables(finished: Results) -> SweepTables:
    """With two images that are hard, one of them judged twice, and one that is taken for what it is."""
    found = load_tables(finished)
    trial = next(row["trial"] for row in found.predictions if row["arm"] == "main")
    hard = [HARD | {"trial": trial, "image": at} for at in (5, 9, 5)]
    return replace(found, hard_images=[*hard, HARD | {"trial": trial, "image": 7, "predicted": "1"}])


def test_mistakes_come_surest_first_and_hard_images_once_each(finished: Results, tables: SweepTables) -> None:
    mistakes, labels = galleries(tables)
    task = load_task(tables.spec.data, tables.spec.seed)
    rows = finished.to_pandas("predictions").query("arm == 'main' and label != predicted")
    rows = rows.sort_values("probability", ascending=False).head(SHOWN)
    assert isinstance(task.images, np.ndarray)
    assert [one.label for one in mistakes.pictures] == rows.label.tolist()
    assert [one.told for one in mistakes.pictures] == [
        f"taken for {row.predicted}, {row.probability:.3f}" for row in rows.itertuples()
    ]
    assert [one.told for one in labels.pictures] == ["0.250; taken for 7"] * 2
    for picture, number in zip(labels.pictures, (5, 9), strict=True):
        shown = np.asarray(Image.open(io.BytesIO(picture.png)))
        side = len(shown) // len(task.images[number])
        assert np.array_equal(shown[::side, ::side], task.images[number, ..., 0])
        assert picture.name == f"image {number}"


def test_the_page_holds_the_pictures_and_loads_none(tables: SweepTables) -> None:
    page = make_page([tables], images=True)
    sources = re.findall(r'<img src="([^"]+)"', page)
    assert len(sources) == sum(len(gallery.pictures) for gallery in galleries(tables))
    for source in sources:
        kind, content = source.split(",")
        assert kind == "data:image/png;base64"
        Image.open(io.BytesIO(base64.b64decode(content))).verify()
    assert "<img" not in make_page([tables])
    assert "<img" not in make_page([tables, tables], images=True)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"source": "digits", "labels_per_class": 9}, "they have changed since the sweep was run"),
        ({"source": "folder", "path": "nowhere"}, "nowhere"),
        ({"source": "python", "function": "mine:run"}, "a function of your own (data.function), which is not run"),
    ],
)
def test_where_the_images_cannot_be_had_the_page_says_why(tables: SweepTables, data: dict[str, Any], told: str) -> None:
    spec = load_spec({**tables.spec.model_dump(mode="json"), "data": data})
    page = make_page([replace(tables, spec=spec)], images=True)
    said = re.search(r"<figcaption>(They are not shown: .*?)</figcaption>", page)
    assert said is not None
    assert told in said[1]
    assert "<img" not in page
