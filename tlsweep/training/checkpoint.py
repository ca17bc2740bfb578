"""A trial on disk: what training changed, and nothing that can be had again from the base weights.

Random generators are not in it: those of an epoch are seeded from (seed, epoch), so a member that takes over another's
checkpoint keeps its own randomness.
"""

import io
import sys
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, get_origin, get_type_hints

import torch
from torch import Tensor

from tlsweep.errors import ModelError, ResultsError
from tlsweep.models import Network
from tlsweep.models.archives import NotReadable, load_archive
from tlsweep.models.loading import load_state
from tlsweep.text import one_line
from tlsweep.training.optimization.optimizers import GroupMemory, OptimizerState

FORMAT = 4
READABLE = (1, 2, 3, FORMAT)
"""Format 1 lacks what has a default below, format 2 the last three, format 3 the last."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a trial at the end of an epoch."""

    epoch: int
    """Epochs completed."""
    samples: int
    """Training images seen by these weights."""
    step: int
    """Steps of the optimizer taken by these weights."""
    untouched: int
    """How many layer groups, from the input, are as in the base weights: always frozen. 0 without base weights."""
    tensors: dict[str, Tensor]
    """Parameters and buffers of all other layer groups: those that are evaluated and exported."""
    optimizer: str
    """Kind of the optimizer whose state this is."""
    optimizer_state: OptimizerState
    hyperparameters: dict[str, Any]
    """The hyperparameters in force when it was made."""
    optimizer_groups: list[GroupMemory] = field(default_factory=list)
    """What the optimizer remembers of each of its parameter groups."""
    strategy: dict[str, Any] = field(default_factory=dict)
    """State of the learning-rate schedule."""
    noise: dict[str, float] = field(default_factory=dict)
    """The moving averages of the noise scale, where it is measured."""
    trained: dict[str, Tensor] = field(default_factory=dict)
    """The weights that training goes on with, where `tensors` are their average."""
    scaling: dict[str, float] = field(default_factory=dict)
    """The scale of the loss, where it is computed in float16."""
    server: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """What the server of a federation keeps from round to round, by its kind and the name of the parameter."""


def copied(checkpoint: Checkpoint) -> Checkpoint:
    """The same state in memory of its own, on the CPU: training goes on in the other one.

    Tensors that are one stay one, as those of tied layers.
    """
    tensors: dict[Hashable, Tensor] = {}

    def copy(value: Any) -> Any:
        if isinstance(value, Tensor):
            which = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
            if which not in tensors:
                tensors[which] = value.detach().to("cpu", copy=True)
            return tensors[which]
        if isinstance(value, dict):
            return {name: copy(item) for name, item in value.items()}
        return [copy(item) for item in value] if isinstance(value, list) else value

    return Checkpoint(**copy(vars(checkpoint)))


def dump_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The checkpoint as bytes, readable with `torch.load(weights_only=True)`; equal states give equal bytes."""
    # Into memory: torch.save writes the name of a file into each record of its archive (torch/serialization.py), and
    # equal states are to give equal bytes.
    buffer = io.BytesIO()
    torch.save(_interned({"format": FORMAT, **vars(checkpoint)}), buffer)
    return buffer.getvalue()


def _interned(value: Any) -> Any:
    """The same value with equal strings being one object.

    Pickle writes an object that it has met before as a reference, so the bytes would tell whether two equal names are
    the same object, as they are after a restore and are not before it.
    """
    if isinstance(value, dict):
        return {_interned(key): _interned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_interned(item) for item in value]
    return sys.intern(value) if isinstance(value, str) else value


def load_checkpoint(content: bytes) -> Checkpoint:
    """Read what `dump_checkpoint` wrote; all tensors are on the CPU.

    Raises:
        ResultsError: damaged bytes, or a format that this version does not know.
    """
    try:
        fields = load_archive(io.BytesIO(content), len(content))
        if not isinstance(fields, dict):
            raise TypeError("fields")
        version = fields.pop("format")
        if isinstance(version, int) and version in READABLE:
            return _checked(Checkpoint(**fields))
    except (NotReadable, KeyError, TypeError) as error:
        reason = f"it {error}" if isinstance(error, NotReadable) else "it holds something else"
        raise ResultsError(
            f"a checkpoint of {len(content)} bytes cannot be read ({reason}); remove it, and its trial begins again"
        ) from error
    raise ResultsError(
        f"a checkpoint has format {one_line(str(version))[:20]}, this version of tlsweep reads {READABLE[0]} to "
        f"{FORMAT}; resume with the version that wrote it, or start the sweep again"
    )


def _checked(checkpoint: Checkpoint) -> Checkpoint:
    """Check the types of all fields.

    Raises:
        TypeError: a field holds something else than what `dump_checkpoint` writes.
    """
    for name, kind in get_type_hints(Checkpoint).items():
        if not isinstance(getattr(checkpoint, name), get_origin(kind) or kind):
            raise TypeError(name)
    # torch.load(weights_only=True) makes sparse tensors too, whose few bytes can stand for any size.
    if not all(isinstance(memory, dict) for memory in checkpoint.server.values()):
        raise TypeError("server")
    beside = [checkpoint.trained, *checkpoint.server.values()]
    for tensor in (tensor for tensors in (checkpoint.tensors, *beside) for tensor in tensors.values()):
        if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided:
            raise TypeError("tensors")
    if checkpoint.scaling and not all(
        isinstance(checkpoint.scaling.get(name), float | int) for name in ("scale", "steps")
    ):
        raise TypeError("scaling")
    for name, tensor in (item for tensors in beside for item in tensors.items()):
        if name not in checkpoint.tensors or checkpoint.tensors[name].shape != tensor.shape:
            raise TypeError("trained or server")
    if not all(isinstance(memory, dict) for memory in checkpoint.optimizer_state.values()):
        raise TypeError("optimizer_state")
    return checkpoint


def changed_tensors(network: Network, untouched: int) -> dict[str, Tensor]:
    """Parameters and buffers of `network`, without those of its first `untouched` layer groups; views, not copies."""
    frozen = {name for group in network.groups[:untouched] for name in group.parameters}
    trained = {name for group in network.groups[untouched:] for name in group.parameters}
    # A buffer (batch norm's statistics) belongs to the group of its module's parameters, and is frozen with them.
    frozen_modules = {_module(name) for name in frozen} - {_module(name) for name in trained}
    return {
        name: tensor.detach()
        for name, tensor in network.module.state_dict().items()
        if name not in frozen and (name in trained or _module(name) not in frozen_modules)
    }


def restore_network(network: Network, checkpoint: Checkpoint) -> None:
    """Put what training changed into a network built from the same base weights.

    Raises:
        ModelError: the checkpoint is of another network.
    """
    here = {name: tuple(tensor.shape) for name, tensor in changed_tensors(network, checkpoint.untouched).items()}
    there = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    if here != there:
        name = min(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
        raise ModelError(
            f"the checkpoint does not fit the network: '{name}' has shape {there.get(name, 'none')} in the checkpoint, "
            f"{here.get(name, 'none')} in the network; use the model section and the data that it was made with"
        )
    load_state(network.module, checkpoint.tensors, assign=False, strict=False)


def _module(name: str) -> str:
    return name.rpartition(".")[0]
