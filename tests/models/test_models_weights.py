import os
import pickle
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tlsweep.errors import ModelError
from tlsweep.models import Weights, read_weights, resolve_weights
from tlsweep.spec import ModelSpec

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1, 2]), "count": torch.tensor(3)}


class Marker:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def equal(weights, state=STATE):
    return weights.tensors.keys() == state.keys() and all(
        np.array_equal(weights.tensors[name], tensor.numpy()) for name, tensor in state.items()
    )


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "args": [1]},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
    ],
    ids=["bare", "state_dict", "model", "parallel", "both"],
)
def test_state_dicts_are_read_in_their_usual_wrappings(tmp_path, wrap):
    torch.save(wrap(STATE), tmp_path / "w.pth")
    weights = resolve_weights(ModelSpec(weights=str(tmp_path / "w.pth")))
    assert equal(weights)
    assert weights.origin == "file w.pth"


def test_safetensors_hold_the_same(tmp_path):
    torch.save(STATE, tmp_path / "w.pt")
    save_file(STATE, tmp_path / "w.safetensors")
    torch_file, safe_file = read_weights(tmp_path / "w.pt"), read_weights(tmp_path / "w.safetensors")
    assert equal(safe_file)
    assert torch_file.sha256 == safe_file.sha256


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_bfloat16_becomes_float32_and_half_stays(tmp_path, suffix):
    state = {"b": torch.tensor([1.5, -2.25], dtype=torch.bfloat16), "h": torch.tensor([0.1], dtype=torch.float16)}
    path = tmp_path / f"w.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    tensors = read_weights(path).tensors
    assert tensors["b"].dtype == np.float32
    assert tensors["b"].tolist() == [1.5, -2.25]
    assert tensors["h"].dtype == np.float16


def test_code_in_a_file_is_refused_and_never_runs(tmp_path):
    torch.save({"a": torch.ones(1), "b": Marker(tmp_path / "ran")}, tmp_path / "w.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Marker(tmp_path / "ran")))
    with pytest.raises(ModelError, match="holds Python objects, which are never executed"):
        read_weights(tmp_path / "w.pth")
    with pytest.raises(ModelError, match="save the tensors alone"):
        read_weights(tmp_path / "plain.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, suffix, kept):
    path = tmp_path / f"w.{suffix}"
    state = {"a": torch.rand(100, 100)}
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(ModelError, match=rf"weights file .*w\.{suffix} cannot be read"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "holds a list"),
        (torch.ones(2), "holds a Tensor"),
        ({}, "must hold a state dict"),
        ({"a": torch.ones(1), "epoch": 3}, "'epoch' is a int, not a tensor"),
        ({"state_dict": {"a": {"b": torch.ones(1)}}}, "'a' is a dict"),
        ({1: torch.ones(1)}, "no state dict: 1"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(tmp_path, content, told):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=told):
        read_weights(tmp_path / "w.pth")


def test_a_name_that_is_neither_known_nor_a_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"neither a name of resnet50's weights \(.*IMAGENET1K_V2.*\) nor a \.pth"):
        resolve_weights(ModelSpec(name="resnet50", weights="IMAGENET1K_V3"))
    with pytest.raises(ModelError, match=r"'DEFAULT' is neither a name \(cnn has none\)"):
        resolve_weights(ModelSpec(name="cnn", weights="DEFAULT"))
    with pytest.raises(ModelError, match="neither"):
        resolve_weights(ModelSpec(name="cnn", weights=str(tmp_path)))


def test_no_weights_and_weights_of_a_source_task():
    assert resolve_weights(ModelSpec()) is None
    with pytest.raises(TypeError, match="made by training"):
        resolve_weights(ModelSpec(weights={"data": {"source": "digits"}}))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch.hub's folder of downloads, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_torchvision_weights_come_from_its_cache(hub):
    torch.save(STATE, hub / "squeezenet1_1-b8a52dc0.pth")
    for name in ("DEFAULT", "IMAGENET1K_V1"):
        weights = resolve_weights(ModelSpec(name="squeezenet1_1", weights=name))
        assert equal(weights)
        assert weights.origin == "torchvision SqueezeNet1_1_Weights.IMAGENET1K_V1"


def test_a_file_in_the_cache_does_not_run(hub, tmp_path):
    torch.save({"b": Marker(tmp_path / "ran")}, hub / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(ModelError):
        resolve_weights(ModelSpec(name="squeezenet1_1", weights="DEFAULT"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("fault", [URLError("no route"), TimeoutError("no route"), RuntimeError("no route: bad hash")])
@pytest.mark.usefixtures("hub")
def test_a_failed_download_tells_the_way_out(monkeypatch, fault):
    def fail(url, path, hash_prefix, progress):
        assert hash_prefix == "b8a52dc0"
        raise fault

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(ModelError, match=r"squeezenet1_1-b8a52dc0\.pth .*no route.*give model\.weights the path"):
        resolve_weights(ModelSpec(name="squeezenet1_1", weights="DEFAULT"))


def test_checksum_follows_names_types_shapes_and_bytes_but_not_order():
    def checksum(**state):
        return Weights.from_state_dict(state, "test").sha256

    a, b = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.0])
    others = [
        checksum(a=a), checksum(c=a, b=b), checksum(a=a.double(), b=b), checksum(a=a.reshape(2, 2), b=b),
        checksum(a=a + 1e-6, b=b), checksum(a=b, b=a), checksum(a=a.view(torch.int32), b=b),
    ]  # fmt: skip
    assert checksum(a=a, b=b) == checksum(b=b.clone(), a=a.clone())
    assert len({checksum(a=a, b=b), *others}) == len(others) + 1


def test_weights_are_a_read_only_copy_that_pickles():
    layer = torch.nn.Linear(2, 2)
    weights = Weights.from_state_dict(layer.state_dict(), "test")
    before = weights.tensors["weight"].copy()
    with torch.no_grad():
        layer.weight.zero_()
    assert np.array_equal(weights.tensors["weight"], before)
    with pytest.raises(ValueError, match="read-only"):
        weights.tensors["weight"][0] = 1
    again = pickle.loads(pickle.dumps(weights))
    assert again.sha256 == weights.sha256
    assert np.array_equal(again.tensors["weight"], before)
