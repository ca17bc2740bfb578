"""`tlsweep predict`: the numbers of the sweep itself, whatever the files; what is no image is told."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_files import folder_data, picture, png_file, write_folder
from in_process import Run
from PIL import Image

from tlsweep.data import Task, load_task
from tlsweep.inference.images import find_images
from tlsweep.inference.models import load_model
from tlsweep.inference.predicting import predict
from tlsweep.models import resolve_weights
from tlsweep.spec import Augment, ModelSpec
from tlsweep.store import Results
from tlsweep.training import Transfer, evaluate_checkpoint, export_model

CLOSE = 1e-5
COLUMNS = ["file", "predicted", "probability", "predicted_2", "probability_2"]


def test_a_bar_shows_how_many_are_done_where_somebody_looks(
    run: Run, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich: standard error is a terminal
    code, out, err = run("predict", "finished", "new", "--out", "found.csv")
    assert (code, out) == (0, f"{len(pictures)} images predicted: found.csv\n")
    assert f"{len(pictures)}/{len(pictures)}" in err


@pytest.mark.parametrize("model", ["finished", "results/finished", "results/finished/best"])
def test_the_test_images_of_a_sweep_get_the_numbers_that_it_wrote_down(
    run: Run, finished: Results, pictures: list[Path], model: str
) -> None:
    code, out, err = run("predict", model, "new", "--out", "found.parquet")
    assert (code, out, err) == (0, f"{len(pictures)} images predicted: found.parquet\n", "")
    expected = finished.to_pandas("predictions").query("arm == 'main'")
    found = pd.read_parquet("found.parquet")
    assert list(found.columns) == COLUMNS
    assert found.file.tolist() == [f"new/{path.name}" for path in pictures]
    assert found.predicted.tolist() == expected.predicted.tolist()
    np.testing.assert_allclose(found.probability, expected.probability, atol=CLOSE)
    assert (found.probability >= found.probability_2).all()


def test_a_broken_file_and_one_that_is_no_image_are_told_and_the_rest_is_predicted(
    run: Run, pictures: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mixed" / "below"
    folder.mkdir(parents=True)
    whole = pictures[0].read_bytes()
    (folder / "a.png").write_bytes(whole)
    (folder / "b\x1b[2J.png").write_bytes(whole[:60])
    (folder / "c.txt").write_text("notes")
    (folder / ".DS_Store").write_bytes(b"x")
    code, out, err = run("predict", "finished", "mixed", "--top", "3")
    assert code == 3
    heading, row = out.splitlines()
    assert heading.split() == ["file", "class", "probability", "next", "best"]
    assert row.startswith("mixed/below/a.png  5           0.9983  6 0.0006, 2 ")
    broken, text, count = err.splitlines()
    assert broken.startswith(r"mixed/below/b\x1b[2J.png: ")
    assert text == "mixed/below/c.txt: is not an image of a format that is read here"
    assert count == "2 of 3 files could not be predicted"
    code, out, _ = run("predict", "finished", "mixed/below/c.txt", "--out", "none.csv")
    assert (code, out) == (3, "0 images predicted: none.csv\n")


def test_class_names_are_text_on_the_screen_and_as_they_are_in_a_table(
    run: Run, finished: Results, pictures: list[Path], tmp_path: Path
) -> None:
    names = [f'\x1b]0;{digit}\x07[red], "{digit}"' for digit in range(10)]
    (tmp_path / "results" / "finished" / "best" / "classes.json").write_text(json.dumps(names))
    files = sorted(map(str, pictures[:2]))
    _, out, _ = run("predict", "finished", *files)
    assert r"\x1b]0;5\x07[red], " + '"5"' in out
    assert "\x1b" not in out
    run("predict", "finished", *files, "--out", "found.csv", "--top", "99")
    with (tmp_path / "found.csv").open(newline="") as file:
        heading, first, _ = csv.reader(file)
    assert len(heading) == 1 + 2 * 10
    assert set(first[1::2]) == set(names)
    assert sum(map(float, first[2::2])) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["finished", "gone.png"], "'gone.png' does not exist; name image files, folders or globs"),
        (["finished", "new/*.jpg"], "'new/*.jpg' matches nothing; name image files, folders or globs"),
        (["finished", "empty"], "the folder 'empty' holds no files; name files, folders or globs"),
        (["nobody", "new"], "there is no sweep 'nobody' in 'results'; there are: finished; --results names another"),
        (["finished", "new", "--out", "table.xlsx"], "--out 'table.xlsx': a table is written as .csv or .parquet"),
        (["finished", "new", "--out", "no/table.csv"], "--out 'no/table.csv' cannot be written: No such file"),
        (["finished", "new", "--out", "dir.csv"], "--out 'dir.csv' is a folder; name a file"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run, finished: Results, pictures: list[Path], tmp_path: Path, arguments: list[str], told: str
) -> None:
    for name in ("empty", "dir.csv"):
        (tmp_path / name).mkdir()
    code, out, err = run("predict", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {told}")
    assert err.count("\n") == 1


def test_a_sweep_without_a_model_and_one_of_own_code_say_so(
    run: Run, finished: Results, pictures: list[Path], tmp_path: Path
) -> None:
    best = tmp_path / "results" / "finished" / "best"
    told = json.loads((best / "model.json").read_text())
    (best / "model.json").write_text(json.dumps(told | {"name": "mine:network"}))
    code, _, err = run("predict", "finished", "new")
    assert (code, "own code, 'mine:network'" in err) == (2, True)
    (best / "model.json").unlink()
    code, _, err = run("predict", "finished", "new")
    assert code == 2
    assert "'finished' has no model: " in err
    assert err.count("\n") == 1


def test_files_folders_and_globs_are_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, {"in/deep": 2})
    picture(9).save(tmp_path / "in" / "[1].png")
    monkeypatch.chdir(tmp_path)
    below = ["in/[1].png", "in/deep/000.png", "in/deep/001.png"]
    assert find_images(["in"]) == find_images(["in/[1].png", "in/**/*.png"]) == below
    assert find_images(["in/deep/001.png", "in/*"]) == [below[2], below[0], below[1]]


def _odd_pictures(root: Path) -> None:
    """Of two classes, for each split: turned by EXIF, grey, see-through, of a palette, of 16 bits."""
    sideways = Image.Exif()
    sideways[0x0112] = 6
    deep = np.random.default_rng(1).integers(0, 4096, (40, 30, 3))
    for number, folder in enumerate(f"{split}/{name}" for split in ("train", "val", "test") for name in ("a", "b")):
        (root / folder).mkdir(parents=True)
        picture(number).save(root / folder / "turned.jpg", exif=sideways)
        picture(number, mode="L").save(root / folder / "grey.png")
        clear = picture(number, mode="RGBA")
        clear.putalpha(picture(number + 50, mode="L"))
        clear.save(root / folder / "clear.png")
        picture(number).quantize(16).save(root / folder / "palette.png")
        (root / folder / "deep.png").write_bytes(png_file(deep + number))


def assert_predicted_as_tested(task: Task, transfer: Transfer, folder: Path, tested: Path) -> None:
    """What trials begin with says of the files what it says of the decoded images of the test split."""
    export_model(folder, None, transfer, metrics={})
    found = predict(load_model(str(folder)), find_images([str(tested)]))
    expected = evaluate_checkpoint(None, transfer, split="test")
    assert found.bad == {}
    assert [task.classes.index(row.classes[0]) for row in found.rows] == expected.predictions.tolist()
    np.testing.assert_allclose([row.probabilities[0] for row in found.rows], expected.probabilities, atol=CLOSE)


@pytest.mark.parametrize(
    "model",
    [
        ModelSpec(name="cnn", args={"channels": [8], "dense": []}),
        ModelSpec(name="timm/test_resnet"),
    ],
    ids=lambda model: model.name,
)
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_odd_pictures_are_seen_as_in_the_sweep(tmp_path: Path, model: ModelSpec, fit: str) -> None:
    if model.name.startswith("timm/"):
        pytest.importorskip("timm", reason="needs timm: pip install 'tlsweep[timm]'")
    _odd_pictures(tmp_path / "images")
    task = load_task(folder_data(tmp_path / "images", image_size=32, fit=fit, background=(9, 80, 7)), 0)
    transfer = Transfer(task, model, weights=None, seed=1)
    assert_predicted_as_tested(task, transfer, tmp_path / "model", tmp_path / "images" / "test")


@pytest.mark.data
def test_photographs_are_seen_as_in_the_sweep(test_data: Path, tmp_path: Path) -> None:
    photographs = test_data / "datasets" / "hymenoptera_data"
    for split, names in (("train", 4), ("val", 4), ("test", 20)):
        for name in ("ants", "bees"):
            (tmp_path / split / name).mkdir(parents=True)
            for file in sorted((photographs / "train" / name).glob("*.jpg"))[:names]:
                (tmp_path / split / name / file.name).symlink_to(file)
    weights = str(test_data / "weights" / "squeezenet1_1_imagenet1k_v1_fp16rounded.pth")
    model = ModelSpec(name="squeezenet1_1", weights=weights)
    task = load_task(folder_data(tmp_path, augment=Augment(crop="none")), 0)
    transfer = Transfer(task, model, weights=resolve_weights(model), seed=1)
    assert_predicted_as_tested(task, transfer, tmp_path / "model", tmp_path / "test")


def test_nothing_is_imported_that_only_a_sweep_needs(finished: Results, pictures: list[Path], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['tlsweep', 'predict', 'finished', {str(pictures[0])!r}]\n"
        "try:\n    import runpy; runpy.run_module('tlsweep', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = ('ray', 'sklearn', 'scipy', 'pandas', 'pyarrow', 'torchvision', 'optuna')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[1].split()[1] == "5"
    assert done.stdout.splitlines()[-1] == "[]"
