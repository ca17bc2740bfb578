import re

import pytest
import torch
from torch import nn
from torchvision import models

from tlsweep.errors import ModelError
from tlsweep.models import Weights, build_network, read_weights, validate_model
from tlsweep.models.loading import load_backbone
from tlsweep.spec import ModelSpec


def network(name, *, seed=0, weights=None, spec_weights=None, args=None, channels=3, image_size=64, num_classes=5):
    spec = ModelSpec(name=name, weights=spec_weights, args=args or {})
    return build_network(
        spec, num_classes=num_classes, channels=channels, image_size=image_size, seed=seed, weights=weights
    )


def weights_of(module):
    return Weights.from_state_dict(module.state_dict(), "test")


def jitter(module):
    """Statistics and scales away from their initial values, so that losing them shows."""
    for key, tensor in module.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensor += 3
        elif tensor.is_floating_point() and tensor.ndim == 1:
            tensor += torch.rand_like(tensor) / 10
    return module


@pytest.mark.parametrize(
    ("name", "image_size"),
    [("cnn", 8), ("mlp", 8), ("squeezenet1_1", 64), ("regnet_y_400mf", 64), ("mnasnet0_5", 64), ("resnet18", 32),
     ("shufflenet_v2_x0_5", 64), ("swin_t", 64), ("inception_v3", 96)],
)  # fmt: skip
def test_backbone_is_taken_over_bit_for_bit(name, image_size):
    source = jitter(network(name, image_size=image_size, num_classes=9).module)
    target = network(name, image_size=image_size, seed=1, weights=weights_of(source))
    head = set(target.groups[-1].parameters)
    state = target.module.state_dict()
    assert state.keys() == source.state_dict().keys()
    for key, tensor in source.state_dict().items():
        assert key in head or torch.equal(tensor, state[key]), key
    assert all(p.requires_grad and p.device.type == "cpu" for p in target.module.parameters())

    # The same answers, so nothing that a state dict leaves out was lost either.
    prefix = target.groups[-1].name
    target.module.set_submodule(prefix, source.get_submodule(prefix))
    images = torch.rand(2, 3, image_size, image_size)
    with torch.no_grad():
        assert torch.equal(target.module.eval()(images), source.eval()(images))


def test_training_does_not_change_the_weights():
    weights = weights_of(network("cnn", image_size=8).module)
    first = network("cnn", image_size=8, weights=weights)
    with torch.no_grad():
        for parameter in first.module.parameters():
            parameter.zero_()
    second = network("cnn", image_size=8, weights=weights)
    assert second.module.get_parameter("conv1.weight").abs().sum() > 0
    assert weights_of(network("cnn", image_size=8).module).sha256 == weights.sha256


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_left_out_and_inputs_rescaled_as_torchvision_does(name):
    options = {"init_weights": False, "transform_input": True, "num_classes": 5}
    source = jitter(models.get_model(name, weights=None, aux_logits=True, **options)).eval()
    target = network(name, weights=weights_of(source), spec_weights="DEFAULT", image_size=96).module
    target.fc = source.fc
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(target.eval()(images), source(images))
        assert target.train()(images).shape == (2, 5)


def test_old_names_of_densenet_are_understood():
    source = jitter(network("densenet121").module)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): tensor
        for key, tensor in source.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    target = network("densenet121", seed=1, weights=Weights.from_state_dict(old, "old file")).module
    assert not old.keys() <= source.state_dict().keys()
    name = "features.denseblock4.denselayer16.conv2.weight"
    assert torch.equal(target.get_parameter(name), source.get_parameter(name))


def test_old_names_of_vision_transformers_are_understood():
    def vit():
        return models.VisionTransformer(32, 16, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=16, num_classes=3)

    source, target = jitter(vit()), vit()
    old = {
        key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): tensor
        for key, tensor in source.state_dict().items()
    }
    load_backbone(target, "vit_b_16", "heads.head", Weights.from_state_dict(old, "old file"))
    for key in ("encoder.layers.encoder_layer_0.mlp.0.weight", "encoder.layers.encoder_layer_0.mlp.3.bias"):
        assert torch.equal(target.state_dict()[key], source.state_dict()[key])


def test_half_precision_files_make_float32_networks():
    source = network("cnn", image_size=8).module
    half = Weights.from_state_dict({key: tensor.half() for key, tensor in source.state_dict().items()}, "half")
    target = network("cnn", image_size=8, weights=half).module
    assert {parameter.dtype for parameter in target.parameters()} == {torch.float32}
    assert torch.equal(target.conv2.weight, source.conv2.weight.half().float())


def test_counters_of_batch_norm_may_be_absent():
    source = jitter(network("resnet18", image_size=32).module)
    state = {key: tensor for key, tensor in source.state_dict().items() if "num_batches_tracked" not in key}
    target = network("resnet18", image_size=32, weights=Weights.from_state_dict(state, "test")).module
    assert torch.equal(target.bn1.running_var, source.bn1.running_var)


# Our own network draws a first layer for one channel as torch does.
@pytest.mark.parametrize(
    ("name", "from_weights"), [("cnn", True), ("resnet18", True), ("resnet18", False), ("squeezenet1_1", False)]
)
def test_a_grey_image_gives_what_its_rgb_copy_gave(name, from_weights):
    weights = weights_of(network(name, image_size=32).module) if from_weights else None
    colour = network(name, image_size=32, seed=1, weights=weights).module.eval()
    grey = network(name, image_size=32, seed=1, weights=weights, channels=1).module.eval()
    images = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_weights_from_grey_images_work_on_colour(name):
    weights = weights_of(network(name, image_size=32, channels=1).module)
    grey = network(name, image_size=32, seed=1, weights=weights, channels=1).module.eval()
    colour = network(name, image_size=32, seed=1, weights=weights).module.eval()
    images = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(colour(images.expand(-1, 3, -1, -1)), grey(images), rtol=1e-4, atol=1e-5)


def test_weights_of_another_network_are_refused_with_three_differences():
    weights = weights_of(network("cnn", image_size=8).module)
    with pytest.raises(ModelError, match=r"test\) do not fit mlp: .*missing dense2\.weight.* and \d+ more;") as caught:
        network("mlp", image_size=8, weights=weights)
    assert len(re.findall(r"missing|unexpected|has shape", str(caught.value))) == 3
    with pytest.raises(ModelError, match=r"conv1\.weight has shape \(32, 3, 3, 3\), not \(16, 3, 3, 3\)"):
        network("cnn", image_size=8, weights=weights, args={"channels": [16, 64, 64]})
    with pytest.raises(ModelError, match=r"dense1\.weight has shape .*, not .*; give weights"):
        network("cnn", image_size=16, weights=weights)


def test_a_backbone_with_a_gap_is_refused():
    state = network("cnn", image_size=8).module.state_dict()
    state.pop("conv2.bias")
    with pytest.raises(ModelError, match=r"do not fit cnn: missing conv2\.bias; give"):
        network("cnn", image_size=8, weights=Weights.from_state_dict(state, "test"))


def test_check_reads_a_file_and_compares_it(tmp_path):
    torch.save(network("cnn", image_size=8).module.state_dict(), tmp_path / "w.pth")
    spec = ModelSpec(name="cnn", weights=str(tmp_path / "w.pth"))
    validate_model(spec, num_classes=7, channels=1, image_size=8)
    with pytest.raises(ModelError, match="do not fit cnn"):
        validate_model(spec, num_classes=7, channels=1, image_size=16)
    with pytest.raises(ModelError, match="neither"):
        validate_model(ModelSpec(name="cnn", weights="none.pth"), num_classes=7, channels=1, image_size=8)


def test_check_downloads_nothing(monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", pytest.fail)
    monkeypatch.setattr(torch.hub, "download_url_to_file", pytest.fail)
    validate_model(ModelSpec(name="resnet18", weights="DEFAULT"), num_classes=3, channels=3, image_size=32)


def test_parameters_that_own_code_ties_stay_tied(tmp_path, monkeypatch):
    (tmp_path / "own_tied.py").write_text(
        "from torch import nn\n"
        "def tied(classes, inputs, size):\n"
        "    a, b = nn.Linear(size, size), nn.Linear(size, size)\n"
        "    b.weight = a.weight\n"
        "    return nn.Sequential(a, b, nn.Flatten(), nn.Linear(inputs * size**2, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    weights = weights_of(network("own_tied:tied", image_size=8).module)
    module = network("own_tied:tied", image_size=8, seed=1, weights=weights).module
    assert module[0].weight is module[1].weight
    assert torch.equal(module[0].weight, torch.from_numpy(weights.tensors["0.weight"].copy()))


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module.", "model.", "net.", "backbone.", "encoder.", "student.", "ema.", "module._orig_mod.net."],
)
@pytest.mark.parametrize(("name", "image_size"), [("cnn", 8), ("resnet18", 32)])
def test_whatever_a_wrapper_puts_before_each_name_is_taken_away(name, image_size, prefix):
    source = jitter(network(name, image_size=image_size, num_classes=9).module)
    beside = {"projector.0.weight": torch.ones(2), "criterion.weight": torch.ones(2)} if prefix != "module." else {}
    state = {prefix + key: tensor for key, tensor in source.state_dict().items()} | beside
    target = network(name, image_size=image_size, seed=1, weights=Weights.from_state_dict(state, "wrapped"))
    head = set(target.groups[-1].parameters)
    assert all(torch.equal(t, source.state_dict()[k]) for k, t in target.module.state_dict().items() if k not in head)


def test_a_network_that_is_there_twice_is_refused_by_name():
    state = network("cnn", image_size=8).module.state_dict()
    twice = {f"{who}.{key}": tensor for who in ("student", "teacher") for key, tensor in state.items()}
    with pytest.raises(ModelError, match=r"in them 2 times, under student\., teacher\.; save the one"):
        network("cnn", image_size=8, weights=Weights.from_state_dict(twice, "test"))


def test_own_code_may_call_its_network_module(tmp_path, monkeypatch):
    (tmp_path / "own_module.py").write_text(
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.module = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, classes))\n"
        "    def forward(self, images):\n"
        "        return self.module(images)\n"
        "def own(classes, inputs, size):\n"
        "    return Own(classes)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    source = network("own_module:own", image_size=8).module
    torch.save(source.state_dict(), tmp_path / "w.pth")
    target = network("own_module:own", image_size=8, seed=1, weights=read_weights(tmp_path / "w.pth")).module
    assert torch.equal(target.module[1].weight, source.module[1].weight)


def test_missing_and_unexpected_names_are_both_told_with_the_nearest():
    state = network("cnn", image_size=8).module.state_dict()
    renamed = {key.replace("conv2.", "conv2x."): tensor for key, tensor in state.items()}
    told = r"missing conv2\.weight \(there is conv2x\.weight\); unexpected conv2x\.weight; .* and 1 more; give"
    with pytest.raises(ModelError, match=told):
        network("cnn", image_size=8, weights=Weights.from_state_dict(renamed, "test"))


def spoil(key, values, value):
    def apply(state):
        state[key].view(-1)[:values] = value
        return state

    return apply


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("cnn", spoil("conv2.weight", 3, torch.nan), r"'conv2.weight' has 3 of 18,432 values that are NaN or infinite"),
        ("cnn", spoil("conv2.bias", 1, -torch.inf), r"'conv2.bias' has 1 of 64 values that are NaN or infinite, with"),
        ("resnet18", spoil("bn1.running_var", 2, -1), r"'bn1.running_var' has 2 of 64 variances below 0"),
        ("resnet18", spoil("bn1.running_mean", 64, torch.inf), r"'bn1.running_mean' has 64 of 64 values"),
        ("cnn", lambda s: {k: v.double() * 1e300 for k, v in s.items()}, r"NaN or infinite \(and \d more tensors\)"),
        ("cnn", lambda s: s | {"conv2.weight": s["conv2.weight"].to(torch.int8)}, "conv2.weight is of int8, not"),
    ],
)
def test_weights_that_give_no_numbers_are_found_before_a_sweep(tmp_path, name, change, told):
    state = network(name, image_size=32).module.state_dict()
    torch.save(change(state), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=told):
        validate_model(ModelSpec(name=name, weights=str(tmp_path / "w.pth")), num_classes=3, channels=3, image_size=32)


def test_a_spoilt_head_and_a_layer_of_zeros_do_no_harm(tmp_path):
    state = network("cnn", image_size=32).module.state_dict()
    state["head.weight"].fill_(torch.nan)
    state["conv2.weight"].zero_()
    torch.save(state, tmp_path / "w.pth")
    validate_model(ModelSpec(name="cnn", weights=str(tmp_path / "w.pth")), num_classes=3, channels=3, image_size=32)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("squeezenet1_1", "squeezenet1_1_imagenet1k_v1_fp16rounded.pth"),
        ("mobilenet_v2", "mobilenet_v2_imagenet_tfqat_dequant.pth"),
    ],
)
def test_real_weights_give_torchvisions_features(test_data, name, file):
    path = test_data / "weights" / file
    reference = models.get_model(name, weights=None)
    reference.load_state_dict(torch.load(path, weights_only=True), strict=True)
    spec = ModelSpec(name=name, weights=str(path))
    validate_model(spec, num_classes=2, channels=3, image_size=96)
    ours = build_network(spec, num_classes=2, channels=3, image_size=96, seed=0, weights=read_weights(path)).module
    images = torch.randn(4, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(ours.eval().features(images), reference.eval().features(images))
        assert ours(images).shape == (4, 2)
    assert isinstance(ours.classifier[1], nn.Conv2d | nn.Linear)
