"""Which layer of the user's own network is the head: the one that makes the classes, wherever it was defined."""

import pytest
import torch

from tlsweep.errors import ModelError
from tlsweep.models import Weights, build_network, validate_model
from tlsweep.models.features import head_inputs
from tlsweep.spec import ModelSpec

OWN = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self, classes, size, kind):
        super().__init__()
        width = 3 * size**2
        self.kind = kind
        if kind == "defined first":
            self.classify = nn.Linear(8, classes)
        self.body = nn.Linear(width, 8)
        if kind != "defined first":
            self.classify = nn.Linear(8, classes)
        if kind == "unused last":
            self.extra = nn.Linear(8, classes)
        elif kind == "unused last of another width":
            self.extra = nn.Linear(8, 50)
        elif kind == "for training only":
            self.extra = nn.Linear(8, classes)
        elif kind == "thrown away":
            self.extra = nn.Linear(classes, classes)
        elif kind == "two in a row":
            self.again = nn.Linear(classes, classes)

    def forward(self, images):
        features = self.body(images.flatten(1)).relu()
        logits = self.classify(features)
        if self.kind == "for training only" and self.training:
            return logits + self.extra(features)
        if self.kind == "thrown away":
            self.extra(logits)
        if self.kind == "two in a row":
            return self.again(logits)
        if self.kind == "no head":
            return torch.zeros(len(images), logits.shape[1]) + features.mean()
        return logits

def own(classes, inputs, size, kind):
    return Own(classes, size, kind)

class Scaled(nn.Linear):
    # with a parameter more than reset_parameters() knows

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.scale = nn.Parameter(torch.full((), 10.0))

    def forward(self, features):
        return self.scale * super().forward(features)

WITH_MORE = {
    "weight norm": lambda inputs, classes: nn.utils.parametrizations.weight_norm(nn.Linear(inputs, classes)),
    "spectral norm": lambda inputs, classes: nn.utils.parametrizations.spectral_norm(nn.Linear(inputs, classes)),
    "orthogonal": lambda inputs, classes: nn.utils.parametrizations.orthogonal(nn.Linear(inputs, classes)),
    "weight norm of old": lambda inputs, classes: nn.utils.weight_norm(nn.Linear(inputs, classes)),
    "scaled": Scaled,
}

def more(classes, inputs, size, kind):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs * size**2, 8), nn.ReLU(), WITH_MORE[kind](8, classes))

class Odd(nn.Sequential):
    def __init__(self, classes, inputs, size, kind):
        super().__init__(nn.Flatten(), nn.Linear(inputs * size**2, classes))
        self.kind = kind

    def forward(self, images):
        logits = super().forward(images)
        if self.kind == "squeezed":
            return logits.squeeze()
        if self.kind == "of the first image":
            return logits[:1].repeat(2, 1)
        if self.kind == "softmax":
            return logits.softmax(1)
        return {"logits": logits}

def lazy(classes, inputs, size):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))
"""


@pytest.fixture(autouse=True)
def own_code(tmp_path, monkeypatch):
    (tmp_path / "own_heads.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("plain", "classify"),
        ("defined first", "classify"),
        ("unused last", "classify"),
        ("unused last of another width", "classify"),
        ("for training only", "classify"),
        ("thrown away", "classify"),
        ("two in a row", "again"),
    ],
)
def test_the_head_is_the_last_layer_in_use_and_everything_that_asks_is_told_the_same(kind, head):
    spec, shape = ModelSpec(name="own_heads:own", args={"kind": kind}), {"channels": 3, "image_size": 4}
    validate_model(spec, num_classes=5, **shape)
    network = build_network(spec, num_classes=5, seed=1, **shape)
    assert network.groups[-1].name == head
    with torch.no_grad(), head_inputs(network) as extract:  # as `rank` reads features
        assert extract(torch.rand(2, 3, 4, 4)).shape == (2, 5 if head == "again" else 8)
    trained = Weights.from_state_dict(network.module.state_dict(), "test")
    again = build_network(spec, num_classes=5, seed=2, weights=trained, **shape)
    same = torch.equal(again.module.get_parameter(f"{head}.weight"), network.module.get_parameter(f"{head}.weight"))
    assert not same
    assert torch.equal(again.module.body.weight, network.module.body.weight)


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("own", {"kind": "no head"}, r"\(classify\) has no part in what the network gives"),
        ("lazy", {}, "1.weight is of a lazy layer, which has no size yet"),
        (
            "Odd",
            {"kind": "squeezed"},
            r"maps images of shape \(1, 3, 4, 4\) to \(5,\); it must give a tensor of shape \(1, 5",
        ),
        (
            "Odd",
            {"kind": "of the first image"},
            r"shape \(1, 3, 4, 4\) to \(2, 5\); it must give a tensor of shape \(1, 5",
        ),
        ("Odd", {"kind": "dict"}, r"to dict; it must give a tensor of shape \(2, 5\)"),
        ("Odd", {"kind": "softmax"}, "gives probabilities.*leave the softmax behind its head out"),
    ],
)
def test_a_network_without_a_head_that_could_be_renewed_is_refused(name, args, told):
    with pytest.raises(ModelError, match=told):
        validate_model(ModelSpec(name=f"own_heads:{name}", args=args), num_classes=5, channels=3, image_size=4)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize("kind", ["weight norm", "spectral norm", "orthogonal", "weight norm of old", "scaled"])
def test_a_head_with_more_than_weight_and_bias_is_new_and_begins_as_it_was_made(kind):
    spec, shape = ModelSpec(name="own_heads:more", args={"kind": kind}), {"channels": 3, "image_size": 4}
    validate_model(spec, num_classes=5, **shape)
    first, second = (build_network(spec, num_classes=5, seed=seed, **shape) for seed in (1, 2))
    trained = Weights.from_state_dict(first.module.state_dict(), "test")
    again = build_network(spec, num_classes=5, seed=2, weights=trained, **shape)
    assert again.groups[-1].name == "3"
    for (name, one), other, before in zip(
        again.module[3].named_parameters(), second.module[3].parameters(), first.module[3].parameters(), strict=True
    ):
        assert one.isfinite().all()
        assert torch.equal(one, other)
        if name == "scale":
            assert one.item() == 10
        elif kind not in ("orthogonal",):
            assert not torch.equal(one, before)
    images = torch.rand(2, 3, 4, 4)
    assert 0 < again.module(images).abs().max() < 100


@pytest.mark.parametrize(("name", "image_size"), [("resnet18", 32), ("mobilenet_v3_small", 32), ("densenet121", 32)])
def test_a_single_image_that_batch_norm_cannot_normalise_is_found_in_shapes(name, image_size):
    shape = {"num_classes": 3, "channels": 3, "image_size": image_size}
    with pytest.raises(ModelError, match=rf"train.batch_size = 1: .* {image_size} pixels .*batches of at least 2"):
        validate_model(ModelSpec(name=name), **shape, smallest_batch=1)
    validate_model(ModelSpec(name=name), **shape, smallest_batch=2)
    validate_model(ModelSpec(name="squeezenet1_1"), **shape, smallest_batch=1)
