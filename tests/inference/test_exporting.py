"""`tlsweep export`: a graph has the logits of the network, also without tlsweep; the card says what the model is."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import folder_data, picture, write_folder
from in_process import Run
from PIL import Image

from tlsweep.data import Task, load_task
from tlsweep.inference import graphs
from tlsweep.inference.graphs import make_graph, to_onnx, to_pt2
from tlsweep.inference.images import find_images
from tlsweep.inference.models import load_model
from tlsweep.inference.predicting import predict
from tlsweep.models import resolve_weights
from tlsweep.report import arm_results, load_tables
from tlsweep.spec import ModelSpec
from tlsweep.store import Results
from tlsweep.training import Transfer, export_model, load_exported

pytest.importorskip("onnxruntime", reason="needs onnx: pip install 'tlsweep[onnx]'")

CLOSE = 1e-4
WITHOUT_TLSWEEP = "import sys\nsys.modules['tlsweep'] = None\n"


@pytest.mark.parametrize("form", ["onnx", pytest.param("pt2", marks=pytest.mark.slow)])
def test_the_code_of_the_card_computes_the_logits_in_a_process_without_tlsweep(
    run: Run, finished: Results, pictures: list[Path], tmp_path: Path, form: str
) -> None:
    network, info = load_exported(tmp_path / "results" / "finished" / "best")
    expected = network(info.prepare(Image.open(pictures[0]))).detach().numpy()
    for number, option in enumerate([(), ("--with-preprocessing",)]):
        code, out, err = run("export", "finished", "--format", form, "--out", f"model{number}", *option)
        files = f"model.{form}, README.md, model.json, classes.json, preprocessing.json, metrics.json"
        assert (code, out, err) == (0, f"model{number}: {files}\n", "")
        card = (tmp_path / f"model{number}" / "README.md").read_text()
        (block,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        (tmp_path / f"model{number}" / "picture.png").write_bytes(pictures[0].read_bytes())
        script = WITHOUT_TLSWEEP + block + "print(logits.tolist())"
        done = subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=tmp_path / f"model{number}"
        )
        np.testing.assert_allclose(json.loads(done.stdout), expected, atol=CLOSE)
    trusted = ["--own-code"] if form == "pt2" else []
    found = {name: run("predict", name, "new", *trusted) for name in ("finished", "model0", f"model1/model.{form}")}
    assert len({out for _, out, _ in found.values()}) == 1


def assert_graphs_predict_as_the_network(
    task: Task, transfer: Transfer, folder: Path, images: Path, *, with_and_without: tuple[bool, ...]
) -> None:
    """In each form, with preprocessing and without; each graph takes a second of a core to make."""
    export_model(folder, None, transfer, metrics={})
    files = find_images([str(images)])
    expected = predict(load_model(str(folder)), files)
    module, info = load_exported(folder)
    for form, write in (("onnx", to_onnx), ("pt2", to_pt2)):
        for with_preprocessing in with_and_without:
            path = folder / f"taken.{form}"
            path.write_bytes(write(make_graph(module, info, with_preprocessing=with_preprocessing)))
            found = predict(load_model(str(path), own_code=True), files)
            assert [row.classes for row in found.rows] == [row.classes for row in expected.rows]
            for ours, theirs in zip(expected.rows, found.rows, strict=True):
                np.testing.assert_allclose(theirs.probabilities, ours.probabilities, atol=CLOSE)


@pytest.mark.parametrize("name", ["cnn", "timm/test_resnet"])
def test_a_graph_predicts_as_the_network(tmp_path: Path, name: str) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm", reason="needs timm: pip install 'tlsweep[timm]'")
    write_folder(tmp_path / "images", {f"{split}/{kind}": 3 for split in ("train", "val", "test") for kind in "ab"})
    task = load_task(folder_data(tmp_path / "images", image_size=32), 0)
    transfer = Transfer(task, ModelSpec(name=name), weights=None, seed=1)
    ways = (False,) if name.startswith("timm/") else (False, True)
    folders = tmp_path / "model", tmp_path / "images" / "test"
    assert_graphs_predict_as_the_network(task, transfer, *folders, with_and_without=ways)


@pytest.mark.data
def test_a_graph_of_imagenet_weights_predicts_photographs_as_the_network(test_data: Path, tmp_path: Path) -> None:
    photographs = test_data / "datasets" / "hymenoptera_data"
    for folder in ("train/ants", "train/bees", "val/ants", "val/bees"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        for file in sorted((photographs / folder).glob("*.jpg"))[:6]:
            (tmp_path / "images" / folder / file.name).symlink_to(file)
    weights = str(test_data / "weights" / "squeezenet1_1_imagenet1k_v1_fp16rounded.pth")
    model = ModelSpec(name="squeezenet1_1", weights=weights)
    task = load_task(folder_data(tmp_path / "images", image_size=96), 0)
    transfer = Transfer(task, model, weights=resolve_weights(model), seed=1)
    folders = tmp_path / "model", tmp_path / "images" / "val"
    assert_graphs_predict_as_the_network(task, transfer, *folders, with_and_without=(True,))


def test_the_card_says_how_good_the_model_is_and_shows_names_as_text(
    run: Run, finished: Results, tmp_path: Path
) -> None:
    best = tmp_path / "results" / "finished" / "best"
    names = ["<script>|`[x]` \x1b[2J", *map(str, range(1, 10))]
    (best / "classes.json").write_text(json.dumps(names))
    assert run("export", "finished")[0] == 0
    folder = tmp_path / "finished-safetensors"
    assert (folder / "model.safetensors").read_bytes() == (best / "model.safetensors").read_bytes()
    card = (folder / "README.md").read_text()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]|<script", card)
    assert r"Classes: &#60;script&#62;&#124;&#96;&#91;x&#93;&#96; \x1b&#91;2J, 1, 2" in card.replace("&#92;", "\\")
    result = arm_results(load_tables(finished))[0]
    assert result.test_accuracy is not None
    bounds = f"{result.test_accuracy.low:.4f} to {result.test_accuracy.high:.4f}"
    assert f"Test accuracy {result.test['accuracy']:.4f}; 95 % interval {bounds}" in card
    assert "| **8** | 0 | 4 | 3 | 0 | 0 | 1 | 1 | 1 | 16 | 0 |" in card
    assert "100 train, 448 val, 269 test images" in card
    assert "Training began with random weights: no licence of others" in card
    assert "      lr: 0.03608349862954289" in card
    run("export", "finished")  # of the same sweep again: replaced
    assert (folder / "README.md").read_text() == card


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["finished", "--with-preprocessing"], "--with-preprocessing puts it into a graph, which safetensors has none"),
        (["finished", "--out", "mine"], "--out 'mine' holds other files, which might be replaced; name a new folder"),
        (["finished", "--out", "mine/README.md"], "--out 'mine/README.md' is a file; name a folder"),
        (["nobody"], "there is no sweep 'nobody' in 'results'; there are: finished"),
    ],
)
def test_an_export_that_cannot_be_is_one_line(
    run: Run, finished: Results, tmp_path: Path, arguments: list[str], told: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    code, out, err = run("export", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {told}")
    assert (tmp_path / "mine" / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("a.onnx", b"no graph", "'a.onnx' does not hold a model exported by tlsweep: "),
        ("a.pt2", b"no graph", "'a.pt2' may hold code, which torch runs when it loads a .pt2; if you trust it, add"),
        ("a.pth", b"no graph", "'a.pth' is no model; name a sweep, a folder, or a .pt2 or .onnx file"),
    ],
)
def test_a_file_that_is_no_model_is_one_line(run: Run, tmp_path: Path, file: str, content: bytes, told: str) -> None:
    (tmp_path / file).write_bytes(content)
    picture(1).save(tmp_path / "a.png")
    code, out, err = run("predict", file, "a.png")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {told}")


def test_a_missing_package_is_one_line_with_the_command_that_installs_it(
    run: Run, finished: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        if name == "onnxscript":
            raise ModuleNotFoundError(name)
        return import_module(name)

    monkeypatch.setattr(graphs, "import_module", missing)
    code, _, err = run("export", "finished", "--format", "onnx")
    assert code == 2
    assert err == "error: ONNX needs the package onnxscript, which is not installed: pip install 'tlsweep[onnx]'\n"


def test_a_network_that_is_no_graph_is_one_line(finished: Results, tmp_path: Path) -> None:
    class Undecided(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :2] if images.sum() > 0 else images.flatten(1)[:, 2:4]

    _, info = load_exported(tmp_path / "results" / "finished" / "best")
    for write in (to_pt2, to_onnx):
        with pytest.raises(graphs.ModelError, match="makes no graph of this network .*; export it as safetensors"):
            write(make_graph(Undecided(), info, with_preprocessing=False))
