import pytest
import torch
from torch import nn

from tlsweep.errors import ModelError
from tlsweep.models.plain import cnn, mlp


@pytest.mark.parametrize("image_size", [4, 8, 9, 28, 32])
@pytest.mark.parametrize("factory", [cnn, mlp])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_images_of_any_size_become_logits(factory, image_size, in_channels):
    module = factory(7, in_channels, image_size)
    assert module(torch.rand(2, in_channels, image_size, image_size)).shape == (2, 7)


def test_cnn_is_the_network_of_the_tutorial():
    kinds = [type(layer).__name__ for layer in cnn(10, 3, 32)]
    convolutions = ["Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU"]
    assert kinds == [*convolutions, "Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    weights = [tuple(p.shape) for name, p in cnn(10, 3, 32).named_parameters() if name.endswith("weight")]
    assert weights == [(32, 3, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (64, 64 * 8 * 8), (10, 64)]


def test_arguments_set_widths_and_dropout():
    module = cnn(3, 1, 8, channels=[4], dense=[], dropout=0.25)
    assert [type(layer) for layer in module] == [nn.Conv2d, nn.ReLU, nn.Flatten, nn.Dropout, nn.Linear]
    assert module.get_submodule("dropout").p == 0.25
    assert [layer.out_features for layer in mlp(3, 1, 8, hidden=[5, 6]) if isinstance(layer, nn.Linear)] == [5, 6, 3]


@pytest.mark.parametrize(
    ("factory", "args", "told"),
    [
        (cnn, {"channels": []}, r"model\.args\.channels is \[\]"),
        (cnn, {"channels": 32}, "channels is 32"),
        (cnn, {"channels": [32, 0]}, r"channels is \[32, 0\]"),
        (cnn, {"dense": [True]}, r"dense is \[True\]"),
        (cnn, {"dropout": 1.0}, r"dropout is 1\.0"),
        (mlp, {"hidden": "128"}, "hidden is '128'"),
        (mlp, {"dropout": "much"}, "dropout is 'much'"),
    ],
)
def test_impossible_arguments_are_refused(factory, args, told):
    with pytest.raises(ModelError, match=told):
        factory(3, 1, 8, **args)
