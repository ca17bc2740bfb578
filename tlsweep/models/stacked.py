"""Small networks of one shape, computed together: each layer once for all, with the parameters behind one another.

Everything is a product of matrices in batches or works on single values, in which a network's numbers depend neither on
how many others are computed with it nor on its place among them: bit for bit on a CPU (`tests/models/test_stacked.py`).
`torch.func.vmap` promises no such thing, nor do the grouped convolutions that it makes.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Intel's MKL adds up in another order where a matrix does not begin at a multiple of 64 bytes, as one in a stack may
# not, unless it was told before its first call ("Conditional Numerical Reproducibility"). No slower for
# matrices of small networks (measured).
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

Parameters = Mapping[str, Tensor]
"""By their names in each of the networks: shape (K, …) for K networks, of a convolution (K, O, H, W, C)."""
Masks = Callable[[str, Tensor], Tensor | None]
"""Makes what the dropout of this name multiplies values (K, B, D) with; None: it drops nothing."""

Form = Literal["maps", "images", "rows"]
"""How values lie: images channels last (K, B, H, W, C), images as they are (K, B, C, H, W), vectors (K, B, D)."""

_ELEMENTWISE = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU)
"""Not those with an exponential in them: torch computes the last few values of a tensor by another function than those
before, which come in vectors, so that a value would depend on its place."""


@dataclass(frozen=True)
class Layer:
    """A layer of K networks."""

    apply: Callable[[Parameters, Tensor, Masks], Tensor]
    shape: tuple[Any, ...]
    """What must be equal in networks that are computed together."""
    weights: int = 0
    """How many it multiplies with, at each place of an image."""
    side: Callable[[int], int] = lambda side: side
    """That of the maps it makes of maps of this side."""


@dataclass(frozen=True)
class StackedLayers:
    """What makes the logits of K networks, from input to output."""

    layers: tuple[Layer, ...]
    maps: bool
    """Whether the first layer sees images channels last: (K, B, H, W, C), else (K, B, …) as they are."""

    def multiplications(self, side: int) -> int:
        """How many one image of this side takes in a forward pass."""
        count, places = 0, side if self.maps else 1
        for layer in self.layers:
            count += layer.weights * places**2
            places = layer.side(places)
        return count

    @property
    def shape(self) -> tuple[Any, ...]:
        """What must be equal in networks that are computed together."""
        return tuple(layer.shape for layer in self.layers)

    def __call__(self, parameters: Parameters, inputs: Tensor, masks: Masks) -> Tensor:
        """The logits (K, B, classes)."""
        values = inputs
        for layer in self.layers:
            values = layer.apply(parameters, values, masks)
        return values.flatten(2)


def stack_layers(layers: Sequence[tuple[str, nn.Module]], *, rows: bool) -> StackedLayers | None:
    """How layers that follow one another are computed for several networks at once; None where one of them cannot be.

    Args:
        layers: from input to output, each with the name that its parameters begin with.
        rows: whether the first sees vectors (B, D); else images.
    """
    inner = [part for name, layer in layers for part in _unfolded(name, layer)]
    if not all(_is_plain(layer) for _, layer in [*layers, *inner]) or _shares_parameters(inner):
        return None
    maps = any(isinstance(layer, nn.Conv2d | nn.MaxPool2d) for _, layer in inner)
    found: list[Layer] = []
    form: Form = "maps" if maps else "images"
    if rows:
        form = "rows"
    for name, layer in inner:
        made = _stacked(name, layer, form)
        if made is None:
            return None
        form = "rows" if isinstance(layer, nn.Flatten) else form
        found += made
    return StackedLayers(tuple(found), maps)


def weight_view(leaf: Tensor) -> Tensor:
    """A parameter as its module has it, of one network's part of the parameters in a stack."""
    return leaf.permute(0, 3, 1, 2) if leaf.ndim == 4 else leaf


def as_leaf(parameter: Tensor) -> Tensor:
    """The other way round; a view."""
    return parameter.permute(0, 2, 3, 1) if parameter.ndim == 4 else parameter


def _unfolded(name: str, layer: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers in a sequence, and in those in it."""
    if type(layer) is not nn.Sequential or not _is_plain(layer):
        return [(name, layer)]
    # Not `named_children`, which names a layer once that stands in several places.
    children = [(child, inner) for child, inner in layer._modules.items() if inner is not None]
    return [part for child, inner in children for part in _unfolded(f"{name}.{child}".lstrip("."), inner)]


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer does no more than its class says: it has no hooks, no forward of its own, and no parameters that
    others compute (weight norm)."""
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    watched = any(parameter._backward_hooks for parameter in layer.parameters())
    return not (any(hooks) or watched or "forward" in vars(layer) or hasattr(layer, "parametrizations"))


def _shares_parameters(layers: Sequence[tuple[str, nn.Module]]) -> bool:
    """Whether a parameter is used in two places."""
    used = [parameter for _, layer in layers for parameter in layer.parameters(recurse=False)]
    return len(set(map(id, used))) < len(used)


def _stacked(name: str, layer: nn.Module, form: Form) -> list[Layer] | None:
    """A layer of several networks that sees values of this form; None where it is none that is known here."""
    if type(layer) is nn.Linear and form == "rows":
        return [_linear(name, layer)]
    if type(layer) is nn.Conv2d and form == "maps" and _visits_each_place(layer):
        return [_convolution(name, layer)]
    if type(layer) is nn.MaxPool2d and form == "maps" and not (layer.return_indices or layer.ceil_mode):
        return [_pool(layer)]
    if type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
        return [_flatten(maps=form == "maps")]
    if type(layer) is nn.Dropout and form == "rows":
        return [_dropout(name)]
    if type(layer) is nn.Identity or (type(layer) is nn.Dropout and layer.p == 0):
        return []
    if type(layer) in _ELEMENTWISE:
        return [_elementwise(layer)]
    return None


def _dropout(name: str) -> Layer:
    def apply(_: Parameters, values: Tensor, masks: Masks) -> Tensor:
        mask = masks(name, values)
        return values if mask is None else values * mask

    return Layer(apply, ("dropout", name))


def _linear(name: str, layer: nn.Linear) -> Layer:
    weight, bias = f"{name}.weight", None if layer.bias is None else f"{name}.bias"

    def apply(parameters: Parameters, values: Tensor, _: Masks) -> Tensor:
        return _products(values, parameters[weight].mT, None if bias is None else parameters[bias])

    return Layer(apply, ("linear", layer.in_features, layer.out_features, bias), layer.weight.numel())


def _visits_each_place(layer: nn.Conv2d) -> bool:
    """Whether a convolution visits each place of its images once, alike in both directions, and adds zeros around."""
    height, width = layer.kernel_size
    padding = (height // 2, width // 2) if layer.padding == "same" else layer.padding
    return (
        layer.stride == (1, 1)
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and height % 2 == width % 2 == 1
        and padding == (height // 2, width // 2)
    )


def _convolution(name: str, layer: nn.Conv2d) -> Layer:
    weight, bias = f"{name}.weight", None if layer.bias is None else f"{name}.bias"

    def apply(parameters: Parameters, values: Tensor, _: Masks) -> Tensor:
        made: Tensor = _Convolution.apply(values, parameters[weight], None if bias is None else parameters[bias])
        return made

    return Layer(apply, ("convolution", tuple(layer.weight.shape), bias), layer.weight.numel())


def _pool(layer: nn.MaxPool2d) -> Layer:
    def apply(_: Parameters, values: Tensor, __: Masks) -> Tensor:
        networks, images = values.shape[:2]
        # As channels last, in which torch's kernel works on many channels at a time.
        pooled: Tensor = layer(values.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return pooled.view(networks, images, *pooled.shape[1:])

    size, stride, padding = (_of_both(getattr(layer, name)) for name in ("kernel_size", "stride", "padding"))
    return Layer(apply, ("pool", repr(layer)), side=lambda side: (side + 2 * padding - size) // stride + 1)


def _of_both(value: int | tuple[int, ...]) -> int:
    """A size of images' rows and columns; of two the larger."""
    return value if isinstance(value, int) else max(value)


def _flatten(*, maps: bool) -> Layer:
    def apply(_: Parameters, values: Tensor, __: Masks) -> Tensor:
        return (values.permute(0, 1, 4, 2, 3) if maps else values).flatten(2)

    return Layer(apply, ("flatten",), side=lambda _: 1)


def _elementwise(layer: nn.Module) -> Layer:
    # A layer that works in place would overwrite what a convolution has to remember.
    function = F.relu if type(layer) is nn.ReLU else layer
    inplace = getattr(layer, "inplace", False) and type(layer) is not nn.ReLU
    return Layer(lambda _, values, __: function(values.clone() if inplace else values), (repr(layer),))


class _Convolution(torch.autograd.Function):
    """A convolution as a product of matrices (im2col; Chellapilla et al. 2006), for images (K, B, H, W, C)."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Shape (K, B, H, W, O), of `weight` (K, O, height, width, C)."""
        patches = _patches(images, weight.shape[2:4])
        turned = weight.flatten(2).mT
        made = _products(patches, turned, bias)
        ctx.save_for_backward(patches, weight)
        ctx.has_bias = bias is not None
        return made.view(*images.shape[:4], weight.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Of images (where they want one), weight and bias."""
        patches, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        rows = gradient.flatten(1, 3)
        of_weight = torch.bmm(rows.mT, patches).view(weight.shape)
        of_bias = rows.sum(1) if ctx.has_bias else None
        of_images = None
        if ctx.needs_input_grad[0]:
            # The convolution of the gradient with the weight turned around.
            kernel = weight.flip(2, 3).permute(0, 2, 3, 1, 4).flatten(1, 3)
            of_images = _products(_patches(gradient, weight.shape[2:4]), kernel)
            of_images = of_images.view(*gradient.shape[:4], weight.shape[4])
        return of_images, of_weight, of_bias


def _products(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Of matrices (K, M, D) and (K, D, N), and a vector (K, N) added to each row: (K, M, N)."""
    if left.shape[1] == 1:
        # A second row, of zeros: on Intel's processors MKL adds up a single one in another order where there are
        # several products than where there is one.
        return _products(F.pad(left, (0, 0, 0, 1)), right, bias)[:, :1]
    return torch.bmm(left, right) if bias is None else torch.baddbmm(bias[:, None], left, right)


def _patches(images: Tensor, kernel: tuple[int, ...] | torch.Size) -> Tensor:
    """What the kernel sees at each place: (K, B, H, W, C) to (K, B·H·W, height·width·C)."""
    networks, count, height, width, channels = images.shape
    rows, columns = kernel
    padded = F.pad(images, (0, 0, columns // 2, columns // 2, rows // 2, rows // 2))
    strides = padded.stride()
    windows = padded.as_strided((networks, count, height, width, rows, columns, channels), (*strides[:4], *strides[2:]))
    return windows.reshape(networks, count * height * width, rows * columns * channels)
