import argparse
import gzip
import os
import pickle
import struct
import tarfile
import zipfile
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
    with pytest.raises(ModelError, match="holds Python objects .*, which is code and not run"):
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
        ({1: torch.ones(1)}, "no state dict: its name 1 is no text"),
        ({("a", 0): torch.ones(1)}, r"no state dict: its name \('a', 0\) is no text"),
        ({"model": {}}, "holds nothing; it must hold a state dict"),
        ({"teacher": {"a": torch.ones(1)}}, r"'teacher' is a dict, not a tensor \(there is 'teacher'\)"),
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


def sub_class(tensor):
    return torch.nested.nested_tensor([tensor, tensor[:1]])


def wide(tensor):
    return tensor[:1, :1].expand(10**6, 10**6)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda one: one.to_sparse(), "'a.weight' is sparse"),
        (lambda one: one.to_sparse_csr(), "'a.weight' is sparse"),
        (lambda one: torch.quantize_per_tensor(one, 0.1, 0, torch.qint8), "'a.weight' is quantised"),
        (lambda one: torch.quantize_per_channel(one, one[0], one[0], 1, torch.qint8), "'a.weight' is quantised"),
        (lambda one: one.to("meta"), r"'a.weight' is without values \(on the meta device\)"),
        (lambda one: one.to(torch.complex64), r"'a.weight' is complex \(torch.complex64\)"),
        (lambda one: one.to(torch.complex64).conj(), r"'a.weight' is complex \(torch.complex64\)"),
        # Which of the two depends on the release of torch.
        (sub_class, r"holds Python objects \(torch.*\), which is code and|'a.weight' is nested"),
        (wide, "bytes, but its tensors claim 4,000,000,000,000: they are expanded; clone them before saving"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*:DeprecationWarning")
def test_a_tensor_that_is_no_plain_one_is_named(tmp_path, make, told):
    torch.save({"a.weight": make(torch.rand(3, 3))}, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").stat().st_size < 3000
    with pytest.raises(ModelError, match=told):
        read_weights(tmp_path / "w.pth")


def test_a_view_of_negated_values_and_shared_memory_are_read(tmp_path):
    one = torch.rand(300, 300)
    torch.save({"a": torch._neg_view(one), "b": one, "c": one.t()}, tmp_path / "w.pth")
    tensors = read_weights(tmp_path / "w.pth").tensors
    assert np.array_equal(tensors["a"], -one.numpy())
    assert np.array_equal(tensors["c"], one.numpy().T)


def header(text):
    """The header of a safetensors file, and nothing behind it but room for one value."""
    return struct.pack("<Q", len(text)) + text.encode() + bytes(8)


def zipped(path, names=("w/data.pkl",), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in names:
            archive.writestr(name, bytes(10**6))


def deflated(path):
    """What torch.save wrote, with a gigabyte's worth of zeros in a megabyte."""
    torch.save({"a": torch.zeros(10**6)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, record in records.items():
            archive.writestr(name, record)


def tarred(path):
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "w.pth")


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"),
        (lambda path: path.write_text("\n<!DOCTYPE html>\n<html>404</html>"), "is a web page"),
        (lambda path: path.write_text("<html><body>sign in</body></html>"), "is a web page"),
        (lambda path: path.write_bytes(gzip.compress(b"weights")), "is compressed with gzip: unpack it"),
        (tarred, "is a tar file: unpack it"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "is HDF5, as Keras writes it"),
        (lambda path: path.touch(), "it is empty"),
        (
            lambda path: path.write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'),
            "is JSON, such as the",
        ),
        (lambda path: path.write_bytes(b"\x10" + bytes(7) + b'{"__metadata__":{' + bytes(99)), "safetensors"),
        (
            lambda path: path.write_bytes(header('{"a":{"dtype":"Q4","shape":[2],"data_offsets":[0,8]}}')),
            "unknown variant",
        ),
        (lambda path: path.write_bytes(header("{}")[:-8]), "holds nothing"),
        (lambda path: torch.save({"model": torch.nn.Linear(2, 2)}, path), "which is code and not run"),
        (lambda path: path.write_text("hello"), "it is damaged, or was not written by torch.save"),
        (lambda path: zipped(path, ["word/document.xml"]), "is a zip file, but none of torch.save's"),
        (deflated, r"is a compressed archive of 4,00\d,\d+ bytes, which torch.save does not write"),
        (
            lambda path: torch.save(torch.nn.Linear(2, 2), path),
            r"holds a whole network \(torch.nn.modules.linear.Linear\), wh",
        ),
        (lambda path: torch.save({"a": np.ones(2)}, path), r"holds Python objects \(numpy.*\), which is code and"),
        (lambda path: os.mkfifo(path), "is no file"),
    ],
)
def test_a_file_of_another_kind_is_named_without_a_word_of_weights_only(tmp_path, write, told):
    write(tmp_path / "w.pth")
    with pytest.raises(ModelError, match=told) as caught:
        read_weights(tmp_path / "w.pth")
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.filterwarnings("ignore")
def test_a_program_is_named(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "w.pt")
    with pytest.raises(ModelError, match="is a TorchScript archive"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "model_ema", "ema", "ema_state_dict", "net",
                                 "weights", "params"])  # fmt: skip
def test_every_usual_key_is_looked_under_also_two_deep(tmp_path, key):
    torch.save({"epoch": 3, key: {"state_dict": STATE}}, tmp_path / "w.pth")
    assert equal(read_weights(tmp_path / "w.pth"))


def test_of_several_state_dicts_the_networks_own_comes_before_its_average(tmp_path):
    averaged = {"n_averaged": torch.tensor(3)} | {f"module.{name}": tensor + 1 for name, tensor in STATE.items()}
    torch.save({"model_ema": averaged, "model": STATE}, tmp_path / "w.pth")
    weights = read_weights(tmp_path / "w.pth")
    assert equal(weights)
    assert weights.origin == "file w.pth, model (of model, model_ema)"
    torch.save({"model_ema": averaged}, tmp_path / "w.pth")
    assert equal(read_weights(tmp_path / "w.pth"), {name: tensor + 1 for name, tensor in STATE.items()})


def test_the_arguments_that_scripts_keep_beside_the_weights_are_let_be(tmp_path):
    """timm's and torchvision's own training scripts store those of the command line so."""
    torch.save({"model": STATE, "args": argparse.Namespace(lr=0.1, opt=["sgd", None]), "epoch": 3}, tmp_path / "w.pth")
    assert equal(read_weights(tmp_path / "w.pth"))


@pytest.mark.parametrize("length", [0x3C20, 0x7B20, 0x3C])
def test_a_length_that_reads_like_another_format_does_not_make_it_one(tmp_path, length):
    """A file of safetensors begins with the length of its header: 0x3C20 is ' <' in ASCII, 0x7B20 is ' {'."""
    text = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    (tmp_path / "w.safetensors").write_bytes(header(text.ljust(length)))
    assert read_weights(tmp_path / "w.safetensors").tensors["a"].tolist() == [0, 0]
