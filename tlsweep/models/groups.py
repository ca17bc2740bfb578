"""Layer groups: a network's parameters from input to head, in a handful of steps.

Gradual unfreezing and layer-wise learning rates (Howard & Ruder 2018) go through a network group by group, so groups
follow what its author made a step: ResNet's `layer1` to `layer4`, the entries of `features`, a transformer's blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

from torch import nn

MAX_GROUPS = 12
BETWEEN = ".."
"""What stands between the first and the last of a group's modules in its name."""


@dataclass(frozen=True)
class LayerGroup:
    """Parameters that are frozen, thawed and scaled together."""

    name: str
    """The first of its modules, or `first..last`."""
    parameters: tuple[str, ...]
    """Names as in `module.named_parameters()`."""


def layer_groups(
    module: nn.Module, *heads: str, layers: Sequence[Sequence[str]] | None = None
) -> tuple[LayerGroup, ...]:
    """Make at most `MAX_GROUPS` groups, from input to head, that hold every parameter once; the last is the head.

    Args:
        heads: the layers that make the classes, mostly one.
        layers: the parameters of each layer from input to output, where the author of the network says so. Without it
            the order is the one in which the modules were defined, which in torchvision is the order of computation.
    """
    names = [name for name, _ in module.named_parameters()]
    in_head = tuple(name for name in names if _inside(name, heads))
    backbone = [name for name in names if not _inside(name, heads)]
    steps = _split(module, "", backbone, most=len(backbone) / 2) if layers is None else _as_given(layers, heads)
    return (*_merge(_join_layers(module, steps), MAX_GROUPS - 1), LayerGroup(BETWEEN.join(heads), in_head))


def _inside(name: str, prefixes: Sequence[str]) -> bool:
    return any(not prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _as_given(layers: Sequence[Sequence[str]], heads: Sequence[str]) -> list[LayerGroup]:
    groups = [tuple(name for name in layer if not _inside(name, heads)) for layer in layers]
    return [LayerGroup(_common(group), group) for group in groups if group]


def _common(names: Sequence[str]) -> str:
    """The innermost module that holds all of these, or the first one's."""
    parts = [name.split(".")[:-1] or [name] for name in names]
    together = [part[0] for part in takewhile(lambda some: len(set(some)) == 1, zip(*parts, strict=False))]
    return ".".join(together or parts[0])


def _split(module: nn.Module, prefix: str, names: list[str], *, most: float) -> list[LayerGroup]:
    """The children of `prefix`; those that hold more than `most` parameter tensors are split into their own."""
    depth = prefix.count(".") + 1 if prefix else 0
    groups: list[LayerGroup] = []
    for parts, members in groupby(names, key=lambda name: name.split(".")[: depth + 1]):
        child, inside = ".".join(parts), list(members)
        container = inside != [child] and any(True for _ in module.get_submodule(child).children())
        if container and len(inside) > most:
            groups += _split(module, child, inside, most=most)
        else:
            groups.append(LayerGroup(child, tuple(inside)))
    return groups


def _join_layers(module: nn.Module, groups: list[LayerGroup]) -> list[LayerGroup]:
    """Norms, position embeddings and the like join the layer before them, or the first one."""
    shapes = {name: parameter.ndim for name, parameter in module.named_parameters()}
    layers: list[LayerGroup] = []
    waiting: tuple[str, ...] = ()
    for group in groups:
        if any(name.endswith("weight") and shapes[name] > 1 for name in group.parameters):
            layers.append(LayerGroup(group.name, waiting + group.parameters))
            waiting = ()
        elif layers:
            layers[-1] = LayerGroup(layers[-1].name, layers[-1].parameters + group.parameters)
        else:
            waiting += group.parameters
    if not waiting:
        return layers
    return [LayerGroup(groups[0].name, waiting)]


def _merge(groups: list[LayerGroup], most: int) -> list[LayerGroup]:
    count = min(len(groups), most)
    merged = []
    for number in range(count):
        some = groups[number * len(groups) // count : (number + 1) * len(groups) // count]
        name = some[0].name if len(some) == 1 else f"{some[0].name}{BETWEEN}{some[-1].name}"
        merged.append(LayerGroup(name, tuple(name for group in some for name in group.parameters)))
    return merged
