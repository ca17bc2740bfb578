"""Checkpoints: plain, small, and refused with a message when they do not fit."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
import torch
from training_trials import SMALL_CNN, Train, same_checkpoint

from tlsweep.data import Task
from tlsweep.errors import ModelError, ResultsError
from tlsweep.spec import Hyperparameters, ModelSpec
from tlsweep.training import evaluate_checkpoint
from tlsweep.training.checkpoint import Checkpoint, copied, dump_checkpoint, load_checkpoint
from tlsweep.training.devices import Compute
from tlsweep.training.transfer import Transfer

OPTIMIZERS = get_args(Hyperparameters.model_fields["optimizer"].annotation)


@pytest.fixture
def checkpoint(train: Train) -> bytes:
    return train(epochs=1).checkpoints[0]


def test_it_reads_back_as_it_was_written(checkpoint: bytes) -> None:
    assert same_checkpoint(dump_checkpoint(load_checkpoint(checkpoint)), checkpoint)
    assert load_checkpoint(checkpoint).hyperparameters == Hyperparameters(lr=0.05).model_dump()


def test_a_stranger_needs_torch_alone_to_read_it(checkpoint: bytes) -> None:
    content = torch.load(io.BytesIO(checkpoint), weights_only=True)
    assert content["format"] == 4
    assert all(isinstance(tensor, torch.Tensor) for tensor in content["tensors"].values())


def test_it_holds_weights_and_momentum_and_little_more(checkpoint: bytes) -> None:
    tensors = load_checkpoint(checkpoint).tensors
    values = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    assert len(checkpoint) < 2 * values + 1200 * len(tensors)


@pytest.mark.parametrize("damage", [lambda b: b[:500], lambda b: b"", lambda b: b"not a checkpoint", lambda b: b[9:]])
def test_damaged_bytes_are_one_message(damage: object, digits: Task, checkpoint: bytes) -> None:
    with pytest.raises(ResultsError, match=r"cannot be read \(.+\); remove it"):
        load_checkpoint(damage(checkpoint))  # type: ignore[operator]


def test_code_in_a_checkpoint_is_not_run() -> None:
    buffer = io.BytesIO()
    torch.save({"format": 1, "hook": print}, buffer)
    with pytest.raises(ResultsError, match="cannot be read"):
        load_checkpoint(buffer.getvalue())


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def deflated(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as stored, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    return buffer.getvalue()


WIDE = torch.zeros(1).expand(10**12)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c | {"tensors": {"head.weight": WIDE}}, r"its tensors claim 4,000,000,0"),
        (lambda c: c | {"optimizer_state": {"head.weight": {"momentum_buffer": WIDE}}}, "its tensors claim 4,0"),
        (lambda c: c | {"optimizer_groups": [[{"k": WIDE}]]}, "its tensors claim 4,0"),
        (lambda c: c | {"epoch": "1"}, "holds something else"),
        (lambda c: c | {"tensors": {"head.weight": torch.eye(2).to_sparse()}}, "holds something else"),
        (lambda c: c | {"tensors": {"head.weight": 3}}, "holds something else"),
        (lambda c: c | {"optimizer_state": {"head.weight": 3}}, "holds something else"),
        (lambda c: c | {"server": {"m": 3}}, "holds something else"),
        (lambda c: c | {"server": {"m": {"head.weight": 3}}}, "holds something else"),
        (lambda c: c | {"server": {"m": {"head.weight": WIDE}}}, "its tensors claim 4,0"),
        (lambda c: c | {"server": {"m": {"head.weight": torch.zeros(3)}}}, "holds something else"),
        (lambda c: c | {"server": {"m": {"nowhere": torch.zeros(3)}}}, "holds something else"),
        (lambda c: c | {"more": 1}, "holds something else"),
        (lambda c: {"format": 4}, "holds something else"),
        (lambda c: [c], "holds something else"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_strangers_checkpoint_takes_no_memory_and_gives_one_message(
    change: Callable[[object], object], told: str, checkpoint: bytes
) -> None:
    content = saved(change(torch.load(io.BytesIO(checkpoint), weights_only=True)))
    with pytest.raises(ResultsError, match=rf"cannot be read \(it .*{told}.*\); remove it"):
        load_checkpoint(content)


def test_a_compressed_checkpoint_is_refused(checkpoint: bytes) -> None:
    with pytest.raises(ResultsError, match="a compressed archive"):
        load_checkpoint(deflated(checkpoint))


def test_an_unknown_format_is_refused(checkpoint: bytes) -> None:
    content = torch.load(io.BytesIO(checkpoint), weights_only=True) | {"format": 99}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with pytest.raises(ResultsError, match="format 99"):
        load_checkpoint(buffer.getvalue())


@pytest.mark.parametrize(
    ("version", "lacks"),
    [
        (1, ("optimizer_groups", "strategy", "noise", "trained", "scaling", "server")),
        (2, ("trained", "scaling", "server")),
        (3, ("server",)),
    ],
)
def test_a_checkpoint_of_an_earlier_format_goes_on(train: Train, version: int, lacks: tuple[str, ...]) -> None:
    """What the trial was made with has no use for what later formats added."""
    whole = train().checkpoints
    content = torch.load(io.BytesIO(whole[0]), weights_only=True)
    for later in lacks:
        del content[later]
    buffer = io.BytesIO()
    torch.save(content | {"format": version}, buffer)
    assert train(resume=buffer.getvalue()).checkpoints == whole[1:]


@pytest.mark.parametrize(
    "other",
    [SMALL_CNN.model_copy(update={"args": {"channels": [8, 8], "dense": [24]}}), ModelSpec(name="mlp")],
    ids=["other sizes", "other network"],
)
def test_a_checkpoint_of_another_network_is_refused(digits: Task, checkpoint: bytes, other: ModelSpec) -> None:
    with pytest.raises(ModelError, match=r"does not fit the network: '.+' has shape"):
        evaluate_checkpoint(
            checkpoint, Transfer(digits, other, weights=None, seed=1), split="val", compute=Compute("cpu")
        )


def test_fields_are_stored_by_name(checkpoint: bytes) -> None:
    assert set(torch.load(io.BytesIO(checkpoint), weights_only=True)) == {"format", *Checkpoint.__dataclass_fields__}


def test_a_copy_stays_as_it_is_and_tied_tensors_stay_one(checkpoint: bytes) -> None:
    weight = torch.ones(2, 3)
    state = replace(load_checkpoint(checkpoint), tensors={"in": weight, "out": weight}, trained={})
    before = dump_checkpoint(state)
    copy = copied(state)
    weight.zero_()
    assert dump_checkpoint(copy) == before


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_equal_states_give_equal_bytes_whether_restored_or_not(train: Train, optimizer: str) -> None:
    """The digest of a checkpoint must not tell whether its trial was interrupted."""
    hyperparameters = Hyperparameters.model_validate({"lr": 0.01, "optimizer": optimizer})
    whole = train(hyperparameters).checkpoints
    assert train(hyperparameters, resume=whole[0]).checkpoints == whole[1:]
