import pytest
from torch import nn

from tlsweep.models.architectures import construct
from tlsweep.models.groups import MAX_GROUPS, LayerGroup, layer_groups
from tlsweep.spec import ModelSpec


def groups_of(name, head, image_size=224):
    return layer_groups(construct(ModelSpec(name=name), 3, 3, image_size, without_values=True), head)


@pytest.mark.parametrize(
    ("name", "head", "names"),
    [
        ("cnn", "head", ["conv1", "conv2", "conv3", "dense1", "head"]),
        ("mlp", "head", ["dense1", "dense2", "head"]),
        ("resnet18", "fc", ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]),
        ("resnet50", "fc", ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]),
        ("efficientnet_b0", "classifier.1", [*(f"features.{i}" for i in range(9)), "classifier.1"]),
        ("alexnet", "classifier.6", [*(f"features.{i}" for i in (0, 3, 6, 8, 10)), "classifier", "classifier.6"]),
    ],
)
def test_groups_are_the_steps_that_the_author_made(name, head, names):
    assert [group.name for group in groups_of(name, head)] == names


def test_transformers_go_block_by_block_with_embeddings_at_the_input():
    groups = groups_of("vit_b_32", "heads.head")
    assert {"class_token", "conv_proj.weight", "encoder.pos_embedding"} <= set(groups[0].parameters)
    assert groups[1].name.startswith("encoder.layers.encoder_layer_")
    assert groups[-2].parameters[-1] == "encoder.ln.bias"
    assert len(groups) == MAX_GROUPS


def test_norms_join_the_layer_before_them():
    stem = groups_of("resnet18", "fc")[0]
    assert stem == LayerGroup("conv1", ("conv1.weight", "bn1.weight", "bn1.bias"))


def test_many_layers_are_merged_evenly():
    module = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(31)))
    groups = layer_groups(module, "30")
    assert [len(group.parameters) for group in groups] == [2, 3, 3, 2, 3, 3, 3, 2, 3, 3, 3, 1]
    assert [name for group in groups for name in group.parameters] == [f"{i}.weight" for i in range(31)]
    assert (groups[0].name, groups[-1].name) == ("0..1", "30")


def test_a_head_alone_is_one_group():
    assert layer_groups(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "1") == (LayerGroup("1", ("1.weight", "1.bias")),)
