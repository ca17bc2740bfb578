"""What goes into the head, for every kind of network that has one."""

import pytest
import torch
from families import FAMILIES
from torch import nn

from tlsweep.errors import ModelError
from tlsweep.models import Network, build_network
from tlsweep.models.architectures import construct
from tlsweep.models.features import head_inputs
from tlsweep.models.groups import layer_groups
from tlsweep.models.network import _find_head
from tlsweep.spec import ModelSpec


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_gives_one_vector_an_image_as_wide_as_its_head(name):
    spec = ModelSpec(name=name)
    module = construct(spec, 7, 3, 224, without_values=True).to("meta").eval()
    head = _find_head(spec, module, 7)
    with head_inputs(Network(module, layer_groups(module, head))) as extract:
        found = extract(torch.empty(2, 3, 224, 224, device="meta"))
    layer = module.get_submodule(head)
    assert found.shape == (2, layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)


@pytest.mark.parametrize("name", ["cnn", "mlp", "resnet18", "mobilenet_v2"])
def test_the_head_makes_the_logits_of_the_features(name):
    network = build_network(ModelSpec(name=name), num_classes=5, channels=3, image_size=32, seed=1)
    network.module.eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad(), head_inputs(network) as extract:
        found = extract(images)
        logits = network.module(images)
        head = network.module.get_submodule(network.groups[-1].name)
        assert torch.equal(head(found), logits)
    assert not head._forward_pre_hooks  # nothing stays behind


def test_a_head_that_is_a_convolution_gives_the_mean_of_its_map():
    network = build_network(ModelSpec(name="squeezenet1_1"), num_classes=5, channels=3, image_size=64, seed=1)
    network.module.eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad(), head_inputs(network) as extract:
        assert torch.allclose(extract(images), network.module.features(images).mean((2, 3)))


class Positions(nn.Module):
    """A linear head on each row of an image, averaged after it; or not called at all."""

    def __init__(self, call_head: bool) -> None:
        super().__init__()
        self.head, self.call_head = nn.Linear(8, 3), call_head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images[:, 0]
        logits = self.head(rows) if self.call_head else nn.functional.linear(rows, self.head.weight, self.head.bias)
        return logits.mean(1)


def test_of_a_sequence_the_positions_are_averaged():
    module, images = Positions(call_head=True), torch.rand(2, 1, 6, 8)
    with torch.no_grad(), head_inputs(Network(module, layer_groups(module, "head"))) as extract:
        found = extract(images)
        assert torch.allclose(module.head(found), module(images), atol=1e-6)
    assert found.shape == (2, 8)


def test_a_head_that_is_never_called_is_told():
    module = Positions(call_head=False)
    with (
        head_inputs(Network(module, layer_groups(module, "head"))) as extract,
        pytest.raises(ModelError, match=r"weights of its head \(head\) without calling it"),
    ):
        extract(torch.rand(2, 1, 6, 8))
