import pytest
import torch

from tlsweep.models import Weights, build_network, validate_model
from tlsweep.spec import ModelSpec


def build(name="cnn", seed=0, weights=None, num_classes=5):
    return build_network(
        ModelSpec(name=name), num_classes=num_classes, channels=3, image_size=32, seed=seed, weights=weights
    )


def same(first, second):
    first, second = first.module.state_dict(), second.module.state_dict()
    return {key for key in first if torch.equal(first[key], second[key])}


@pytest.mark.parametrize("name", ["cnn", "mlp", "resnet18", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_one_seed_gives_one_network_whatever_ran_before(name):
    torch.manual_seed(1)
    first = build(name)
    torch.manual_seed(2)
    torch.rand(5)
    again, other = build(name), build(name, seed=1)
    assert same(first, again) == set(first.module.state_dict())
    assert not any(key.endswith("weight") and first.module.state_dict()[key].ndim > 1 for key in same(first, other))


@pytest.mark.parametrize("name", ["cnn", "squeezenet1_1"])
def test_the_global_generator_goes_on_as_if_nothing_was_drawn(name):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    built = build(name)
    build(name, weights=Weights.from_state_dict(built.module.state_dict(), "test"))
    validate_model(ModelSpec(name=name), num_classes=3, channels=3, image_size=32)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("name", ["cnn", "squeezenet1_1"])
def test_the_head_is_the_same_over_a_loaded_and_a_random_backbone(name):
    random = build(name)
    weights = Weights.from_state_dict(build(name, seed=7).module.state_dict(), "test")
    loaded = build(name, weights=weights)
    head = set(random.groups[-1].parameters)
    assert head <= same(random, loaded)
    assert not [key for key in same(random, loaded) - head if key.endswith("weight")]


def test_a_head_of_the_same_size_is_new_too():
    source = build(seed=7)
    loaded = build(seed=0, weights=Weights.from_state_dict(source.module.state_dict(), "test"))
    assert same(source, loaded) == set(source.module.state_dict()) - set(source.groups[-1].parameters)


def test_the_head_is_drawn_as_torch_draws_such_layers():
    head = build("squeezenet1_1", num_classes=400).module.classifier[1]
    limit = 512**-0.5
    for parameter in head.parameters():
        assert 0.95 * limit < parameter.abs().max() <= limit
        assert parameter.std().item() == pytest.approx(limit / 3**0.5, rel=0.1)


def test_networks_come_in_training_mode_on_the_cpu():
    network = build("resnet18")
    assert all(module.training for module in network.module.modules())
    assert {parameter.device.type for parameter in network.module.parameters()} == {"cpu"}
