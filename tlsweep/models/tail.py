"""What a network does from its head on, for training a head on features that were computed before."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tlsweep.errors import ModelError
from tlsweep.models.dropping import dropouts
from tlsweep.models.network import Network


class TailUnfitError(ModelError):
    """From its head on a network does something that cannot be told from its layers: the message says what."""


@dataclass(frozen=True)
class Tail:
    """The layers behind the frozen ones: dropout in front of the head, the head, and what stands behind it."""

    before: tuple[nn.Module, ...]
    """Dropout in front of the head."""
    head: nn.Module
    behind: tuple[nn.Module, ...]
    dtype: torch.dtype
    """What the frozen layers give: under autocast not float32."""

    def __call__(self, values: Tensor) -> Tensor:
        """The logits (N, classes) of what the frozen layers give, which is left as it is."""
        given = values.to(self.dtype)
        # Dropout may work in place (MobileNetV3), and a batch is passed through more than once where memory divides it.
        if given is values and any(getattr(layer, "inplace", False) for layer in self.before):
            given = given.clone()
        for layer in self.layers:
            given = layer(given)
        return given.flatten(1)

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """All of them, in their order."""
        return (*self.before, self.head, *self.behind)


def find_tail(network: Network, images: Tensor, values: Tensor | None, seeded: Callable[[], object]) -> Tail:
    """Find what the network does from its head on, in the mode in which it is.

    It is compared with the whole network on some images, with the very numbers that dropout draws.

    Args:
        network: on its device.
        images: shape (N, C, S, S).
        values: what the frozen layers gave for them before; None: as they give it now.
        seeded: puts torch's generators where its last call has put them.

    Raises:
        TailUnfitError: something else stands between the frozen layers and the head, or behind it.
    """
    (name, head), *others = network.heads.items()
    if others:
        raise TailUnfitError("its logits are the mean of several heads")
    with torch.no_grad():
        seeded()
        with _watched(network.module, head) as seen:
            expected = network.module(images)
        if len(seen.given) != 1 or not isinstance(expected, Tensor):
            raise TailUnfitError(f"its head ({name}) is called {len(seen.given)} times for a batch")
        before, given = seen.before_head()
        tail = Tail(before, head, _behind(network.module, name), given.dtype)
        seeded()
        with _watched(network.module, head) as again:
            try:
                found = tail(given if values is None else values)
            except RuntimeError as error:  # layers that are called otherwise than they stand there
                raise TailUnfitError(f"its layers from the head on ({name}) do not follow one another") from error
    if not (_same(again.given[0].copy, seen.given[0].copy) and _same(found, expected)):
        raise TailUnfitError(f"more than dropout stands between the frozen layers and its head ({name}), or behind it")
    return tail


@dataclass(frozen=True)
class _Input:
    """What a layer was given."""

    tensor: Tensor
    copy: Tensor
    """As a layer that works in place overwrites it."""

    @classmethod
    def of(cls, inputs: tuple[Any, ...]) -> "_Input":
        return cls(inputs[0], inputs[0].clone())


@dataclass
class _Seen:
    """What passed through the head, and through the dropout layers."""

    dropped: list[tuple[nn.Module, _Input, Tensor]] = field(default_factory=list)
    """Each such layer with its input and its output, in the order of their calls."""
    given: list[_Input] = field(default_factory=list)
    """The input of the head, at each of its calls."""

    def before_head(self) -> tuple[tuple[nn.Module, ...], Tensor]:
        """Follow the input of the head back through the layers that made it of one another; and what the first got."""
        layers: list[nn.Module] = []
        (given,) = self.given
        for layer, here, output in reversed(self.dropped):
            if output is given.tensor:
                layers, given = [layer, *layers], here
        return tuple(layers), given.copy


@contextmanager
def _watched(module: nn.Module, head: nn.Module) -> Iterator[_Seen]:
    """Note down what passes, and let the head give numbers of both signs: zeros would hide what stands behind it."""
    seen = _Seen()
    waiting: dict[nn.Module, _Input] = {}

    def enter(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        waiting[layer] = _Input.of(inputs)

    def leave(layer: nn.Module, _: Any, output: Tensor) -> None:
        seen.dropped.append((layer, waiting.pop(layer), output))

    def leave_head(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        pattern = torch.linspace(-1, 1, output.numel(), device=output.device).to(output.dtype)
        return pattern.view(output.shape)

    hooks = [
        head.register_forward_pre_hook(lambda _, inputs: seen.given.append(_Input.of(inputs))),
        head.register_forward_hook(leave_head),
    ]
    for layer, attribute in dropouts(module):
        if attribute == "p":  # others drop within their own forward
            hooks += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _behind(module: nn.Module, head: str) -> tuple[nn.Module, ...]:
    """The layers that follow the head in the sequences that it is in."""
    layers: list[nn.Module] = []
    name = head
    while name:
        parent, _, child = name.rpartition(".")
        container = module.get_submodule(parent)
        if not isinstance(container, nn.Sequential):
            break
        children = list(container.named_children())
        at = [own for own, _ in children].index(child)
        layers += [layer for _, layer in children[at + 1 :]]
        name = parent
    return tuple(layers)


_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Kernels add up in another order where a batch has another size; what is mistaken is wrong by far more."""


def _same(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    allowed = _TOLERANCE.get(found.dtype, 0.03) * (1 + float(expected.abs().max()))
    return float((found - expected).abs().max()) <= allowed
