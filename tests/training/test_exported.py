"""Exported networks read again: the same outputs from every kind of network, and nothing of others is obeyed."""

import json
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision import models
from training_trials import SMALL_CNN, Train

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.errors import ModelError, ResultsError
from tlsweep.models import validate_model
from tlsweep.spec import Augment, ModelSpec
from tlsweep.training import export_model, load_exported
from tlsweep.training.checkpoint import Checkpoint, changed_tensors, dump_checkpoint
from tlsweep.training.networks import new_network, trained_network
from tlsweep.training.transfer import Transfer

ALL = sorted(FAMILIES | {"efficientnet_v2_s", "mobilenet_v3_large", "resnext50_32x4d", "squeezenet1_0", "vgg11"})
"""One of each family, and siblings with blocks or arguments of their own; others repeat the same code for minutes."""
SLOW = {
    # Seconds for each, most of them in drawing random weights.
    "convnext_tiny", "efficientnet_v2_s", "maxvit_t", "regnet_x_400mf", "resnet50", "resnext50_32x4d", "swin_v2_t",
    "vgg11", "vgg11_bn", "vit_b_32",
}  # fmt: skip
SIZES = {"inception_v3": 96, "alexnet": 64, "maxvit_t": 224}
PATCHES = {"vit_b_32": 32}
"""Transformers that are told the size of their images in `model.args`, which spares them most of 224 x 224 pixels."""


def colours(size: int) -> Task:
    """Six coloured images in three classes."""
    images = np.random.default_rng(0).integers(0, 256, (6, size, size, 3), dtype=np.uint8)
    return Task(
        images=images,
        labels=np.array([0, 1, 2, 0, 1, 2]),
        splits={name: np.array([2 * at, 2 * at + 1]) for at, name in enumerate(("train", "val", "test"))},
        classes=("a", "b", "c"),
        mean=(0.5, 0.5, 0.5),
        std=(0.3, 0.3, 0.3),
        moments=np.zeros((6, 2, 3), np.int64),
        image_size=size,
        augment=Augment(),
        fingerprint="colours",
    )


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """With one thread torch 2.15 adds up in an order that depends on where tensors lie: nothing is equal bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random values that repeat: drawing those of the largest networks afresh takes many seconds a time."""
    block, draws = 10**6, count(1)
    pools = torch.randn(2 * block), torch.rand(2 * block)

    def fill(tensor: Tensor, pool: Tensor, scale: float, offset: float) -> Tensor:
        begin = 7919 * next(draws) % block  # no two tensors, and no two networks, get the same
        if tensor.is_meta or not tensor.numel():
            return tensor
        values = pool[begin : begin + min(block, tensor.numel())] * scale + offset
        for part in tensor.detach().view(-1).split(block):
            part.copy_(values[: part.numel()])
        return tensor

    def normal(tensor: Tensor, mean: float = 0, std: float = 1, **_: object) -> Tensor:
        return fill(tensor, pools[0], std, mean)

    def uniform(tensor: Tensor, low: float = 0, high: float = 1, **_: object) -> Tensor:
        return fill(tensor, pools[1], high - low, low)

    monkeypatch.setattr(Tensor, "normal_", normal)
    monkeypatch.setattr(Tensor, "uniform_", uniform)


def checkpoint_of(network: Any) -> bytes:
    """As after an epoch in which everything changed, statistics too."""
    for name, tensor in network.module.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            tensor += torch.rand_like(tensor) / 10
    tensors = changed_tensors(network, 0)
    return dump_checkpoint(
        Checkpoint(
            epoch=1, samples=6, step=1, untouched=0, tensors=tensors, optimizer="sgd", optimizer_state={},
            hyperparameters={},
        )
    )  # fmt: skip


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in ALL])
def test_networks_of_every_family_of_torchvision_come_back_with_and_without_tlsweep(name: str, tmp_path: Path) -> None:
    size = 3 * PATCHES[name] if name in PATCHES else SIZES.get(name, 32)
    # As in a sweep from a file of weights, of which some networks rescale their input; the file is not needed here.
    args = {"image_size": size} if name in PATCHES else {}
    model, task = ModelSpec(name=name, weights="weights.pth", args=args), colours(size)
    network = new_network(Transfer(task, model, weights=None, seed=1))
    checkpoint = checkpoint_of(network)
    images, _ = next(iter(Batches(task).evaluate("test", 2)))
    with torch.inference_mode():
        trained = network.module.eval()(images)
    del network  # what follows has several copies
    export_model(tmp_path, checkpoint, Transfer(task, model, weights=None, seed=1), metrics={})
    with torch.inference_mode():
        assert torch.equal(load_exported(tmp_path)[0](images), trained)
    stored = json.loads((tmp_path / "model.json").read_text())
    plain = models.get_model(stored["name"], weights=None, num_classes=stored["num_classes"], **stored["args"])
    tensors = load_file(tmp_path / "model.safetensors")
    if name.startswith("mnasnet"):  # tlsweep/training/README.md says so
        plain._load_from_state_dict = lambda *_: None  # type: ignore[method-assign]
    plain.load_state_dict(tensors)
    with torch.inference_mode():
        assert torch.equal(plain.eval()(images), trained)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@pytest.mark.parametrize(("weights", "args", "rescaled"), [
    ("w.pth", {}, True), (None, {}, False),
    ("w.pth", {"transform_input": False}, False), (None, {"dropout": 0.1}, False),
])  # fmt: skip
def test_the_arguments_are_complete_where_weights_decide_on_some(
    name: str, weights: str | None, args: dict[str, Any], rescaled: bool, tmp_path: Path
) -> None:
    task, model = colours(96), ModelSpec(name=name, weights=weights, args=args)
    network = new_network(Transfer(task, model, weights=None, seed=1))
    assert network.module.transform_input is rescaled
    export_model(tmp_path, checkpoint_of(network), Transfer(task, model, weights=None, seed=1), metrics={})
    module, info = load_exported(tmp_path)
    whole = {"aux_logits": False, "init_weights": False, "transform_input": rescaled} | args
    assert info.model["args"] == whole
    assert module.transform_input is rescaled


OWN = """
import torch
from torch import nn

class Own(nn.Module):
    count = 0

    def __init__(self, classes, size, kind):
        super().__init__()
        Own.count += 1
        self.kind, self.head = kind, nn.Linear(3 * size**2, classes)
        self.register_buffer("noise", torch.randn(classes), persistent=kind == "persistent buffer")
        self.drawn, self.number, self.steps = torch.randn(classes), Own.count, 0
        self.register_buffer("mean", torch.zeros(1), persistent=False)

    def forward(self, images):
        logits = self.head(images.flatten(1))
        if self.kind in ("buffer", "persistent buffer"):
            return logits + self.noise
        if self.kind == "attribute":
            return logits + self.drawn
        if self.kind == "global":
            return logits * self.number
        if self.kind == "dropout":
            return nn.functional.dropout(logits)
        if self.kind == "learned in training":
            if self.training:
                self.mean += 1
            return logits * (1 + self.mean)
        return logits

class Extra(Own):
    def get_extra_state(self):
        return {"a": 1}
    def set_extra_state(self, state):
        pass

def own(classes, inputs, size, kind="plain"):
    return Extra(classes, size, kind) if kind == "extra state" else Own(classes, size, kind)
"""


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_exported.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def own(kind: str) -> ModelSpec:
    return ModelSpec(name="own_exported:own", args={"kind": kind})


@pytest.mark.usefixtures("own_code")
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("buffer", "another network with the same arguments and state dict gives other outputs"),
        ("attribute", "another network with the same arguments and state dict gives other outputs"),
        ("global", "another network with the same arguments and state dict gives other outputs"),
        ("dropout", "in evaluation mode it gives other outputs for the same images; .* dropout self.training"),
        ("extra state", "'_extra_state' in its state dict is no tensor"),
    ],
)
def test_own_code_that_cannot_be_had_again_is_refused_before_a_sweep(kind: str, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        validate_model(own(kind), num_classes=3, channels=3, image_size=8)
    for fine in ("plain", "persistent buffer"):
        validate_model(own(fine), num_classes=3, channels=3, image_size=8)


@pytest.mark.usefixtures("own_code")
@pytest.mark.parametrize("kind", ["buffer", "attribute", "global"])
def test_what_would_be_loaded_differently_is_not_exported(kind: str, tmp_path: Path) -> None:
    task = colours(8)
    network = new_network(Transfer(task, own(kind), weights=None, seed=1))
    with pytest.raises(ModelError, match="is not exported: another network"):
        export_model(
            tmp_path / "best", checkpoint_of(network), Transfer(task, own(kind), weights=None, seed=1), metrics={}
        )
    assert not (tmp_path / "best").exists()


@pytest.fixture
def exported(digits: Task, train: Train, tmp_path: Path) -> Path:
    export_model(
        tmp_path / "best",
        train(epochs=1).checkpoints[-1],
        Transfer(digits, SMALL_CNN, weights=None, seed=1),
        metrics={},
    )
    return tmp_path / "best"


def rewrite(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    path = folder / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize(
    "name", ["subprocess:Popen", "os:system", "tlsweep.models.plain:cnn", "no_such_module_of_mine:f"]
)
def test_code_that_an_export_names_is_imported_only_if_the_caller_says_so(exported: Path, name: str) -> None:
    rewrite(exported, "model.json", lambda model: model | {"name": name})
    before = set(sys.modules)
    with pytest.raises(ResultsError, match=rf"own code, '{name}', .*load_exported\(folder, own_code=True\)"):
        load_exported(exported)
    assert set(sys.modules) == before


@pytest.mark.usefixtures("own_code")
def test_own_code_comes_back_where_it_is_asked_for(tmp_path: Path) -> None:
    task = colours(8)
    network = new_network(Transfer(task, own("persistent buffer"), weights=None, seed=1))
    content = checkpoint_of(network)
    export_model(tmp_path, content, Transfer(task, own("persistent buffer"), weights=None, seed=1), metrics={})
    images, _ = next(iter(Batches(task).evaluate("test", 2)))
    trained = trained_network(content, Transfer(task, own("persistent buffer"), weights=None, seed=1)).module.eval()
    with torch.inference_mode():
        assert torch.equal(load_exported(tmp_path, own_code=True)[0](images), trained(images))


def args(**values: Any) -> Callable[[Any], Any]:
    return lambda model: model | {"args": values}


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("model.json", lambda m: m | {"num_classes": 10**9}, r"model.json.num_classes = 1000000000: .*100000"),
        ("model.json", lambda m: m | {"num_classes": True}, "model.json.num_classes = True"),
        (
            "model.json",
            lambda m: m | {"num_classes": 11},
            "classes.json names 10 classes, model.json has num_classes 11",
        ),
        ("model.json", lambda m: m | {"channels": 10**6}, "model.json.channels"),
        ("model.json", lambda m: m | {"channels": 3}, "preprocessing.json is not for images of 3 channels"),
        ("model.json", lambda m: m | {"name": "x" * 10**6}, "model.json.name"),
        ("model.json", lambda m: m | {"name": "resnet\x1b]0;x"}, r"unknown network 'resnet\\x1b"),
        ("model.json", lambda m: m | {"name": "resnet18"}, "a larger network than"),
        ("model.json", lambda m: m | {"name": "resnet18", "args": {"width_per_group": [[]]}}, "a larger network"),
        ("model.json", lambda m: m | {"name": "vit_b_16", "args": {"num_layers": 10**9}}, "a larger network than"),
        ("model.json", lambda m: m | {"name": "vit_b_16", "args": {"hidden_dim": 12 * 10**8}}, "a larger network than"),
        ("model.json", lambda m: [m], "model.json"),
        ("model.json", lambda m: {}, "model.json.name"),
        ("model.json", args(channels=[10**9]), "a larger network than the one that is stored"),
        ("model.json", args(channels=[1] * 10**5), "a larger network than the one that is stored"),
        ("model.json", args(dense=[10**15]), "a larger network than the one that is stored"),
        ("model.json", args(channels="x"), "model.args.channels is 'x'"),
        ("model.json", args(nonsense=1), "nonsense"),
        ("model.json", args(dense=[7]), r"model.safetensors has '.*' with"),
        ("classes.json", lambda c: [*c[:9], 3], "classes.json.9 = 3"),
        ("classes.json", lambda c: [*c[:9], "x" * 10**6], "classes.json.9"),
        ("classes.json", lambda c: c[:9], "classes.json names 9 classes"),
        ("preprocessing.json", lambda p: p | {"image_size": 10**6}, "preprocessing.json.image_size = 1000000"),
        ("preprocessing.json", lambda p: p | {"image_size": 50}, "preprocessing.json cuts 50 pixels out of 8"),
        (
            "preprocessing.json",
            lambda p: p | {"image_size": 5000, "stored_size": 5000},
            "a larger network than the one that is stored",
        ),
        ("preprocessing.json", lambda p: p | {"mean": ["0"]}, "preprocessing.json.mean.0 = '0'"),
        ("preprocessing.json", lambda p: p | {"std": [0]}, "preprocessing.json.std.0 = 0"),
        ("preprocessing.json", lambda p: p | {"mean": [0.1] * 4}, "preprocessing.json.mean"),
        ("preprocessing.json", lambda p: p | {"mean": [float("nan")]}, "preprocessing.json.mean.0 = nan"),
        ("metrics.json", lambda m: 3, "metrics.json"),
    ],
)
def test_every_field_of_an_export_is_checked_before_memory_is_taken(
    exported: Path, name: str, change: Callable[[Any], Any], told: str
) -> None:
    rewrite(exported, name, change)
    with pytest.raises(ResultsError, match=rf"does not hold a model exported by tlsweep: .*{told}") as caught:
        load_exported(exported)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "1" * 10**5, "\x00", '"\\ud800"', ""])
@pytest.mark.parametrize("name", ["model.json", "metrics.json"])
def test_json_that_would_break_a_parser_is_one_message(exported: Path, name: str, text: str) -> None:
    (exported / name).write_text(text)
    with pytest.raises(ResultsError, match=rf"does not hold a model exported by tlsweep: {name}"):
        load_exported(exported)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {name: tensor for name, tensor in t.items() if name != "head.bias"},
        lambda t: t | {"more": torch.zeros(1)},
        lambda t: t | {"head.bias": torch.zeros(0)},
        lambda t: t | {"head.bias": torch.zeros(10, dtype=torch.float64)},
    ],
)
def test_weights_of_another_network_are_one_message(exported: Path, change: Callable[[Any], Any]) -> None:
    save_file(change(load_file(exported / "model.safetensors")), exported / "model.safetensors")
    with pytest.raises(ResultsError, match=r"model\.safetensors has '(head\.bias|more)' with"):
        load_exported(exported)
