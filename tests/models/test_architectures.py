import pytest
import torch
from families import FAMILIES
from torchvision import models

from tlsweep.errors import ModelError
from tlsweep.models import build_network, validate_model
from tlsweep.models.architectures import construct
from tlsweep.models.groups import MAX_GROUPS, layer_groups
from tlsweep.models.network import _check_output, _find_head
from tlsweep.spec import ModelSpec

ALL = models.list_models(module=models)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAMILIES else pytest.mark.slow) for n in ALL])
def test_every_torchvision_network_gets_a_head_and_groups(name):
    spec = ModelSpec(name=name)
    module = construct(spec, 7, 1, 224, without_values=True)
    _check_output(spec, module, 7, 1, 224)
    groups = layer_groups(module, _find_head(spec, module, 7))

    parameters = dict(module.named_parameters())
    assert sorted(p for group in groups for p in group.parameters) == sorted(parameters)
    assert 3 <= len(groups) <= MAX_GROUPS
    assert all(any(parameters[p].ndim > 1 for p in group.parameters) for group in groups)

    # What depends on the number of classes is the head, and nothing else is.
    other = dict(construct(spec, 11, 1, 224, without_values=True).named_parameters())
    assert {p for p in parameters if parameters[p].shape != other[p].shape} == set(groups[-1].parameters)


def test_families_are_networks_of_torchvision():
    assert set(ALL) >= FAMILIES


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet81", r"unknown network 'resnet81'; did you mean .*resnet18"),
        ("ResNet18", "did you mean resnet18"),
        ("fcn_resnet50", "unknown network"),
        ("zzz", "package.module:function"),
    ],
)
def test_unknown_network_is_refused_with_near_names(name, told):
    with pytest.raises(ModelError, match=told):
        validate_model(ModelSpec(name=name), num_classes=3, channels=3, image_size=64)


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("cnn", {"width": 3}, r"unexpected keyword argument 'width'; known: channels, dense, dropout"),
        ("mlp", {"channels": [3]}, "known: hidden, dropout"),
        ("squeezenet1_1", {"width": 3}, r"unexpected keyword argument 'width'; known: dropout, version"),
        ("googlenet", {"aux_logits": True}, "aux_logits cannot be set; known: .*transform_input"),
        ("resnet18", {"num_classes": 5}, "num_classes cannot be set"),
        ("resnet18", {"norm_layer": "batch"}, "not callable"),
        ("vit_b_32", {"image_size": 100}, "indivisible"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_known_ones(name, args, told):
    with pytest.raises(ModelError, match=told):
        construct(ModelSpec(name=name, args=args), 3, 3, 64, without_values=True)


@pytest.mark.parametrize(
    ("name", "args", "image_size", "told"),
    [
        ("alexnet", {}, 32, r"alexnet does not take images of 32x32 .*torchvision trained it at 224"),
        ("inception_v3", {}, 64, "trained it at 299"),
        ("vit_b_32", {}, 64, "trained it at 224"),
        ("maxvit_t", {}, 96, "trained it at 224"),
    ],
)
def test_images_that_a_network_cannot_take_are_refused(name, args, image_size, told):
    spec = ModelSpec(name=name, args=args)
    with pytest.raises(ModelError, match=told):
        validate_model(spec, num_classes=3, channels=3, image_size=image_size)


def test_torchvision_arguments_reach_the_network():
    validate_model(ModelSpec(name="vit_b_32", args={"image_size": 64}), num_classes=3, channels=3, image_size=64)
    dropout = construct(ModelSpec(name="squeezenet1_1", args={"dropout": 0.125}), 3, 3, 64, without_values=True)
    assert [m.p for m in dropout.modules() if isinstance(m, torch.nn.Dropout)] == [0.125]


def test_grey_images_and_a_network_that_rescales_colours_do_not_go_together():
    spec = ModelSpec(name="googlenet", weights="DEFAULT")
    with pytest.raises(ModelError, match="transform_input: false"):
        validate_model(spec, num_classes=3, channels=1, image_size=64)
    lenient = ModelSpec(name="googlenet", weights="DEFAULT", args={"transform_input": False})
    validate_model(lenient, num_classes=3, channels=1, image_size=64)


OWN_CODE = """
import torch
from torch import nn

def good(classes, inputs, size, *, width=4):
    return nn.Sequential(nn.Conv2d(inputs, width, 3), nn.Flatten(), nn.Linear(width * (size - 2) ** 2, classes))

def headless(classes, inputs, size):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs * size**2, classes + 1))

def no_layers(classes, inputs, size):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

def no_module(classes, inputs, size):
    return torch.zeros(classes)

class Broken(nn.Linear):
    def __init__(self, classes, inputs, size):
        super().__init__(inputs * size**2, classes)

    def forward(self, images):
        raise ZeroDivisionError("mine")
"""


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(OWN_CODE)
    (tmp_path / "own_broken.py").write_text("1 / 0")
    (tmp_path / "own_needs.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own_code")
def test_own_code_is_called_with_classes_channels_size_and_arguments():
    spec = ModelSpec(name="own_nets:good", args={"width": 5})
    network = build_network(spec, num_classes=3, channels=1, image_size=8, seed=0)
    assert network.module(torch.rand(4, 1, 8, 8)).shape == (4, 3)
    assert [(group.name, len(group.parameters)) for group in network.groups] == [("0", 2), ("2", 2)]
    assert network.module[0].out_channels == 5


@pytest.mark.usefixtures("own_code")
@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("__main__:good", {}, "model.name __main__:good: no worker can import from the script or notebook that is run"),
        ("own_nets:bad", {}, "has no function 'bad'"),
        ("own_missing:good", {}, "model.name own_missing:good: there is no module 'own_missing'; start tlsweep in"),
        ("own_nets.py:good", {}, "own_nets.py is a file's name, and a module's is needed: write own_nets:good"),
        ("own_nets:", {}, "not of the form"),
        (".own_nets:good", {}, "not of the form"),
        ("own_nets:torch", {}, "'torch' is no function, but of type module"),
        ("own_nets:good", {"height": 3}, r"unexpected keyword argument 'height'; known: width"),
        ("own_nets:headless", {}, "to .2, 4.; it must give a tensor of shape .2, 3."),
        ("own_nets:no_layers", {}, "last Linear or Conv2d .none. has 0 outputs"),
        ("own_nets:no_module", {}, "returned Tensor"),
    ],
)
def test_own_code_that_is_no_network_is_refused(name, args, told):
    with pytest.raises(ModelError, match=told):
        validate_model(ModelSpec(name=name, args=args), num_classes=3, channels=3, image_size=8)


@pytest.mark.usefixtures("own_code")
@pytest.mark.parametrize(
    ("name", "raised"),
    [
        ("own_broken:good", ZeroDivisionError),
        ("own_nets:Broken", ZeroDivisionError),
        ("own_needs:good", ModuleNotFoundError),
    ],
)
def test_what_own_code_raises_passes_unchanged(name, raised):
    with pytest.raises(raised) as caught:
        validate_model(ModelSpec(name=name), num_classes=3, channels=3, image_size=8)
    assert caught.traceback[-1].path.name == f"{name.partition(':')[0]}.py"
