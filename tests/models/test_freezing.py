from itertools import pairwise

import pytest
import torch
from torch import nn

from tlsweep.models import LayerGroup, Network, build_network, frozen_groups, parameter_groups, set_frozen, train_mode
from tlsweep.spec import ModelSpec


def build(name, image_size=32):
    return build_network(ModelSpec(name=name), num_classes=3, channels=3, image_size=image_size, seed=0)


@pytest.mark.parametrize("groups", [1, 2, 5, 12])
def test_gradual_thaws_one_group_after_another_by_half_of_the_training(groups):
    counts = [frozen_groups("gradual", groups, step / 1000) for step in range(1001)]
    assert counts[0] == groups - 1
    assert set(counts[500:]) == {0}
    assert groups == 1 or counts[499] == 1
    assert {before - after for before, after in pairwise(counts)} <= {0, 1}


def test_progress_that_was_added_up_reaches_its_steps():
    progress, counts = 0.0, []
    for _ in range(11):
        counts.append(frozen_groups("gradual", 6, progress))
        progress += 0.1
    assert counts == [5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_nothing_and_backbone_do_not_depend_on_progress(progress):
    assert frozen_groups("nothing", 6, progress) == 0
    assert frozen_groups("backbone", 6, progress) == 5


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5"])
@pytest.mark.parametrize("count", [2, -1])
def test_frozen_groups_do_not_move_and_the_others_do(name, count):
    network = build(name)
    count = count if count >= 0 else len(network.groups) - 1
    frozen = {parameter for group in network.groups[:count] for parameter in group.parameters}
    # What a norm counts moves with its scale.
    buffers = {key: key.rpartition(".")[0] + ".weight" in frozen for key, _ in network.module.named_buffers()}
    before = {key: tensor.clone() for key, tensor in network.module.state_dict().items()}

    set_frozen(network, count)
    optimizer = torch.optim.SGD([p for p in network.module.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        network.module.eval()
        network.module.train()
        train_mode(network, count)
        optimizer.zero_grad()
        network.module(torch.rand(4, 3, 32, 32)).square().sum().backward()
        optimizer.step()

    after = network.module.state_dict()
    still = {key for key in before if torch.equal(before[key], after[key])}
    assert {key for key, held in buffers.items() if held} | frozen <= still
    assert {key for key, held in buffers.items() if not held}.isdisjoint(still)
    assert {key for key, p in network.module.named_parameters() if p.grad is not None} == set(before) - frozen - set(
        buffers
    )


def test_thawing_makes_everything_learn_again():
    network = build("resnet18")
    set_frozen(network, 5)
    set_frozen(network, 0)
    assert all(parameter.requires_grad for parameter in network.module.parameters())
    assert all(module.training for module in network.module.modules())


def test_dropout_goes_with_the_layer_that_it_feeds():
    module = nn.Sequential(
        nn.Sequential(nn.Dropout(), nn.Linear(2, 2), nn.Linear(2, 2)),
        nn.Dropout(),
        nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Dropout())),
        nn.Dropout(),
        nn.Linear(2, 2),
    )
    inside = ("0.1.weight", "0.1.bias"), ("0.2.weight", "0.2.bias", "2.0.weight", "2.0.bias"), ("4.weight", "4.bias")
    network = Network(module, tuple(LayerGroup(str(i), names) for i, names in enumerate(inside)))

    def dropping():
        return [name for name, layer in module.named_modules() if isinstance(layer, nn.Dropout) and layer.training]

    train_mode(network, 1)
    assert dropping() == ["1", "2.1.1", "3"]
    train_mode(network, 2)
    assert dropping() == ["3"]
    train_mode(network, 0)
    assert dropping() == ["0.0", "1", "2.1.1", "3"]


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v2"])
def test_a_frozen_backbone_repeats_itself_while_the_heads_dropout_stays_on(name):
    network = build(name)
    images = torch.rand(4, 3, 32, 32)
    train_mode(network, len(network.groups) - 1)
    with torch.no_grad():
        assert torch.equal(network.module.features(images), network.module.features(images))
        features = torch.ones(4, 1280)
        assert not torch.equal(network.module.classifier(features), network.module.classifier(features))


def test_learning_rates_decay_from_the_head_down():
    network = build("cnn")
    scaled = parameter_groups(network, head_lr_multiplier=10.0, layer_decay=0.5)
    assert [group["lr_scale"] for group in scaled] == [0.0625, 0.125, 0.25, 0.5, 10.0]
    assert [group["params"] for group in scaled] == [group.parameters for group in network.groups]
    assert {group["lr_scale"] for group in parameter_groups(network, 1.0, 1.0)} == {1.0}
