"""What is taken for a network from its head on gives the logits of the whole, or is refused."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlsweep.models import Network, set_frozen
from tlsweep.models.groups import layer_groups
from tlsweep.models.tail import TailUnfitError, find_tail

IMAGES = torch.rand(2, 1, 4, 4)


class Odd(nn.Module):
    """Does something that its layers do not tell."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.body, self.drop, self.head = nn.Linear(16, 8), nn.Dropout(0.5), nn.Linear(8, 3)
        self.kind = kind

    def forward(self, images: Tensor) -> Tensor:
        values = self.body(images.flatten(1))
        if self.kind == "noise":
            values = values + torch.rand(8)
        if self.kind == "inline":
            values = F.dropout(values, 0.5, self.training)
        logits: Tensor = self.head(self.drop(values))
        if self.kind == "twice":
            logits = logits + self.head(values)
        return logits * 2 if self.kind == "scaled" else logits


def network(module: nn.Module, *heads: str) -> Network:
    found = Network(module, layer_groups(module, *heads))
    set_frozen(found, len(found.groups) - 1)
    return found


def seeded() -> None:
    torch.manual_seed(3)


@pytest.mark.parametrize("kind", ["plain", "twice", "scaled", "inline", "noise"])
def test_what_the_layers_do_not_tell_is_refused(kind: str) -> None:
    given = network(Odd(kind), "head")
    given.module.head.weight.data.zero_()  # type: ignore[union-attr, operator]  # from which nothing could be told
    values = given.module.body(IMAGES.flatten(1)).detach()  # type: ignore[operator]
    if kind == "plain":
        tail = find_tail(given, IMAGES, values, seeded)
        assert (tail.before, tail.head) == ((given.module.drop,), given.module.head)
        return
    with pytest.raises(TailUnfitError, match="head"):
        find_tail(given, IMAGES, values, seeded)


def test_features_of_other_images_are_refused() -> None:
    with pytest.raises(TailUnfitError, match="more than dropout"):
        find_tail(network(Odd("plain"), "head"), IMAGES, torch.rand(2, 8), seeded)


def test_of_several_heads_there_is_none() -> None:
    both = network(
        nn.ModuleDict({"body": nn.Linear(16, 8), "one": nn.Linear(8, 3), "two": nn.Linear(8, 3)}), "one", "two"
    )
    with pytest.raises(TailUnfitError, match="the mean of several heads"):
        find_tail(both, IMAGES, None, seeded)


def test_dropout_in_place_leaves_features_as_they_are_and_layers_behind_the_head_are_found() -> None:
    classifier = nn.Sequential(
        nn.Dropout(0.2), nn.Dropout(0.5, inplace=True), nn.Conv2d(4, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    )
    module = nn.Sequential(nn.Conv2d(1, 4, 3), classifier, nn.Flatten())
    given = network(module, "1.2")
    values = module[0](IMAGES).detach()
    kept = values.clone()
    tail = find_tail(given, IMAGES, values, seeded)
    assert [type(layer) for layer in tail.behind] == [nn.ReLU, nn.AdaptiveAvgPool2d, nn.Flatten]
    for forward in (partial(tail, values), partial(module, IMAGES)):
        seeded()
        logits = forward()
        seeded()
        assert torch.allclose(logits, forward())
    seeded()
    found = tail(values)
    seeded()
    assert torch.allclose(found, module(IMAGES), atol=1e-6)
    assert torch.equal(values, kept)
