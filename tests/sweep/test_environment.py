from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlsweep.data import Task, load_task
from tlsweep.errors import ResultsError
from tlsweep.planning.plan import _write_sheet
from tlsweep.spec import FolderData, load_spec
from tlsweep.sweep.environment import environment


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Five pictures of noise in each of two classes, two of the ten black and wide."""
    for label, name in enumerate(("ant", "bee")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(4):
            noise = np.random.default_rng(10 * label + index).integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "images" / name / f"{index}.png")
        Image.new("RGB", (90, 20)).save(tmp_path / "images" / name / "wide.png")
    return load_task(FolderData(source="folder", path=str(tmp_path / "images"), image_size=8), 0)


def test_the_environment_counts_what_is_odd_about_the_images(task: Task) -> None:
    cluster: Any = SimpleNamespace(cpus=2, gpus=0, local=True)
    data = environment(task, cluster, {"random": None})["data"]
    assert (data["single_colour"], data["mostly_cropped"], data["skipped"]) == (2, 2, 0)


def test_a_contact_sheet_is_a_png_or_one_message(task: Task, tmp_path: Path) -> None:
    spec = load_spec("digits", ["data.augment=strong"])
    _write_sheet(tmp_path / "sheet.png", task, spec)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    for path in (tmp_path / "missing" / "sheet.png", tmp_path / "images", tmp_path / "sheet.png" / "a.png"):
        with pytest.raises(ResultsError, match="cannot be written: .*; name another"):
            _write_sheet(path, task, spec)
