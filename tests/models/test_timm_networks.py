"""Networks of timm, one of each family with random weights: head, groups, features, weights, export."""

import sys
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm_families import LARGE, SMALL
from torch import Tensor, nn

from tlsweep.errors import ModelError
from tlsweep.models import Network, Weights, build_network, set_frozen, validate_model
from tlsweep.models.architectures import construct
from tlsweep.models.features import head_inputs
from tlsweep.models.groups import MAX_GROUPS
from tlsweep.spec import ModelSpec

CLASSES = 3


def built(name: str, args: dict[str, Any], side: int, *, seed: int = 0, weights: Weights | None = None) -> Network:
    model = ModelSpec(name=f"timm/{name}", args=args)
    return build_network(model, num_classes=CLASSES, channels=3, image_size=side, seed=seed, weights=weights)


def as_weights(state: dict[str, Tensor]) -> Weights:
    """Random weights as if they had been found somewhere; nothing is spent on their hash."""
    return Weights({name: tensor.numpy() for name, tensor in state.items()}, "elsewhere", "")


@pytest.mark.parametrize(
    ("name", "args", "side"),
    [
        pytest.param(name, *values, id=name, marks=pytest.mark.slow if name in LARGE else ())
        for name, values in (SMALL | LARGE).items()
    ],
)
def test_every_family_has_a_head_groups_features_and_takes_weights(name: str, args: dict[str, Any], side: int) -> None:
    network = built(name, args, side)
    module = network.module
    parameters = dict(module.named_parameters())
    grouped = [parameter for group in network.groups for parameter in group.parameters]
    assert sorted(grouped) == sorted(parameters)
    assert 3 <= len(network.groups) <= MAX_GROUPS

    # What timm's own reset_classifier replaces is what depends on the number of classes: the head, and nothing else.
    size = {"img_size": side} if module.pretrained_cfg["fixed_input_size"] else {}
    trunk = {"use_aux_head": False} if name.startswith("volo") else {}
    plain = timm.create_model(name, num_classes=7, **size, **trunk, **args)
    before = plain.state_dict()
    plain.reset_classifier(CLASSES)
    after = plain.state_dict()
    state = module.state_dict()
    assert all(state[key].shape == value.shape for key, value in after.items())
    changed = {key for key in state if state[key].shape != before[key].shape}
    assert changed == set(network.groups[-1].parameters)

    # The backbone of weights that were made for other classes, bit by bit, and a head that only the seed decides.
    loaded = built(name, args, side, weights=as_weights(before))
    own = loaded.module.state_dict()
    assert all(torch.equal(own[key], before[key]) for key in own if key not in changed)
    assert all(torch.equal(own[key], state[key]) for key in changed)
    buffers = dict(plain.named_buffers())
    assert all(torch.equal(value, buffers[key]) for key, value in loaded.module.named_buffers() if key not in own)

    learns(loaded, side)


def learns(network: Network, side: int) -> None:
    """Features through the heads are what the network gives, and a step changes what is not frozen."""
    images = torch.rand((2, 3, side, side), generator=torch.Generator().manual_seed(0))
    module = network.module.eval()
    with torch.no_grad(), head_inputs(network) as extract:
        found, logits = extract(images), module(images)
        assert logits.shape == (2, CLASSES)
        heads: list[Any] = list(network.heads.values())
        parts = found.split([head.weight.shape[1] for head in heads], dim=1)
        made = [part @ head.weight.flatten(1).T + head.bias for part, head in zip(parts, heads, strict=True)]
        assert len(heads) > 2 or torch.allclose(sum(made) / len(made), logits, atol=1e-4, rtol=1e-3)
        if len(heads) == 1 and not isinstance(heads[0], nn.Conv2d):
            before_head = module.forward_head(module.forward_features(images), pre_logits=True)  # type: ignore[operator]
            assert before_head.shape != found.shape or torch.allclose(before_head, found, atol=1e-4, rtol=1e-3)

    set_frozen(network, 1, batch_norm="frozen")
    optimizer = torch.optim.SGD([value for value in module.parameters() if value.requires_grad], lr=0.1)
    before = {key: value.detach().clone() for key, value in module.named_parameters()}
    nn.functional.cross_entropy(module(images), torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    moved = {key for key, value in module.named_parameters() if not torch.equal(value, before[key])}
    assert moved & set(network.groups[-1].parameters)
    assert not moved & set(network.groups[0].parameters)


def test_families_are_thirty_and_more() -> None:
    modules = {timm.models.model_entrypoint(name).__module__ for name in SMALL | LARGE}
    assert len(modules) >= 30


@pytest.mark.parametrize(
    ("name", "args", "side", "told"),
    [
        ("vit_smal_patch16_224", {}, 224, r"unknown network 'timm/vit_smal_patch16_224'; did you mean timm/vit_small"),
        ("zzz", {}, 224, "nothing of a similar name is known; timm .* has 1,"),
        ("test_vit.r160_in1k", {}, 160, "names weights too; write model.name: timm/test_vit and model.weights: r160"),
        ("test_vit", {"pretrained": True}, 160, "pretrained cannot be set"),
        ("test_vit", {"checkpoint_path": "x"}, 160, "checkpoint_path cannot be set"),
        ("test_vit", {"dept": 1}, 160, "unexpected keyword argument 'dept'; known: .*depth"),
        ("test_vit", {}, 100, r"patches of 16 pixels, which 100 is no multiple of; set data.image_size: 96 or 112"),
        ("efficientformer_l1", {}, 96, r"does not take images of 96x96 .* timm trained it at 224"),
        (
            "twins_svt_small",
            {},
            56,
            r"cannot be built for images of 56x56 .*; set data.image_size; timm trained it at 224",
        ),
    ],
)
def test_what_timm_has_not_is_refused(name: str, args: dict[str, Any], side: int, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        validate_model(ModelSpec(name=f"timm/{name}", args=args), num_classes=3, channels=3, image_size=side)


def test_without_timm_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"needs timm, which cannot be imported .*: pip install 'tlsweep\[timm\]'"):
        validate_model(ModelSpec(name="timm/test_vit"), num_classes=3, channels=3, image_size=160)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "beit_base_patch16_224"])
def test_grey_images_and_other_sizes_take_the_weights_of_colour_and_of_another_size(name: str) -> None:
    args, side = SMALL[name]
    state = timm.create_model(
        name, **({"img_size": 2 * side} if name not in ("test_resnet", "test_convnext") else {}), **args
    ).state_dict()
    model = ModelSpec(name=f"timm/{name}", args=args)
    network = build_network(model, num_classes=3, channels=1, image_size=side, seed=0, weights=as_weights(state))
    first = network.module.pretrained_cfg["first_conv"]  # type: ignore[index]
    found = network.module.get_submodule(first).weight
    assert torch.allclose(found, state[f"{first}.weight"].sum(1, keepdim=True), atol=1e-6)
    assert network.module(torch.rand(2, 1, side, side)).shape == (2, 3)


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "_orig_mod.", "module.encoder."])
def test_weights_of_any_prefix_are_found(prefix: str) -> None:
    args, side = SMALL["test_vit"]
    state = timm.create_model("test_vit", img_size=side, **args).state_dict()
    named = as_weights({prefix + key: value for key, value in state.items()} | {"loss.scale": torch.ones(1)})
    own = built("test_vit", args, side, weights=named).module.state_dict()
    assert all(torch.equal(own[key], value) for key, value in state.items() if not key.startswith("head."))


def test_weights_of_another_network_or_another_size_are_refused() -> None:
    args, side = SMALL["pit_ti_distilled_224"]  # timm does not convert PiT's
    larger = as_weights(timm.create_model("pit_ti_distilled_224", img_size=128, **args).state_dict())
    with pytest.raises(ModelError, match=r"pos_embed has shape .*, or set data.image_size to the side that they were"):
        built("pit_ti_distilled_224", args, side, weights=larger)
    with pytest.raises(ModelError, match=r"do not fit timm/test_vit: .*missing"):
        built("test_vit", {}, 160, weights=as_weights(timm.create_model("test_resnet").state_dict()))


def test_drawn_networks_are_the_seed_s_and_those_without_values_have_their_tables() -> None:
    args, side = SMALL["swin_tiny_patch4_window7_224"]
    first, again, other = (built("swin_tiny_patch4_window7_224", args, side, seed=seed) for seed in (1, 1, 2))
    states = [network.module.state_dict() for network in (first, again, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["head.fc.weight"], states[2]["head.fc.weight"])
    model = ModelSpec(name="timm/swin_tiny_patch4_window7_224", args=args)
    lean = dict(construct(model, 3, 3, side, without_values=True).named_buffers())
    assert all(np.array_equal(value, lean[key]) for key, value in first.module.named_buffers())
