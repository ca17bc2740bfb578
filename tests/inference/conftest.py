"""What the tests of models in use share."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlsweep.data import Task, load_task
from tlsweep.store import Results, open_results

KEPT = Path(__file__).parents[1] / "support" / "earlier_version" / "finished"


@pytest.fixture
def finished(tmp_path: Path) -> Results:
    """A real sweep on the digits, `finished` in the folder `results`, with what its winner predicted."""
    return open_results(Path(shutil.copytree(KEPT, tmp_path / "results" / "finished")))


@pytest.fixture
def pictures(tmp_path: Path, finished: Results) -> list[Path]:
    """Its test images as files in the folder `new`, in the order of predictions.parquet."""
    task = load_task(finished.spec.data, finished.spec.seed)
    (tmp_path / "new").mkdir()
    rows = finished.to_pandas("predictions").query("arm == 'main'")
    return [_picture(task, number, tmp_path / "new" / f"{number:04d}.png") for number in rows.image]


def _picture(task: Task, number: int, path: Path) -> Path:
    assert isinstance(task.images, np.ndarray)
    Image.fromarray(task.images[number, ..., 0]).save(path)
    return path
