"""The network of a trial: backbone, new head, layer groups; the same seed gives bitwise the same one."""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tlsweep.errors import ModelError
from tlsweep.models.architectures import construct, is_own_code, is_torchvision
from tlsweep.models.archives import first_line
from tlsweep.models.dropping import check_dropping
from tlsweep.models.groups import BETWEEN, LayerGroup, layer_groups
from tlsweep.models.heads import last_in_use, outputs
from tlsweep.models.loading import check_values, load_backbone
from tlsweep.models.rebuilding import check_rebuilding
from tlsweep.models.timm_networks import is_timm, settings_of, timm_heads, timm_layers
from tlsweep.models.weights import Weights, resolve_weights, weights_names
from tlsweep.spec import ModelSpec, derive_seed

_SMALL = 2**20
"""Values in a network, and in the images for it, that pass through it in milliseconds."""


@dataclass(frozen=True)
class Network:
    """A module to fine-tune, on the CPU, in training mode."""

    module: nn.Module
    """Maps float images (N, channels, image_size, image_size) to logits (N, num_classes)."""
    groups: tuple[LayerGroup, ...]
    """The layer groups from input to head, every parameter once; the last one is the head."""

    @property
    def heads(self) -> dict[str, nn.Module]:
        """The layers that make the classes, by name: one, but for networks whose logits are the mean of several."""
        return {name: self.module.get_submodule(name) for name in self.groups[-1].name.split(BETWEEN)}


def build_network(
    model: ModelSpec, *, num_classes: int, channels: int, image_size: int, seed: int, weights: Weights | None = None
) -> Network:
    """The network of `model` with a new head; the backbone has `weights`, or random values.

    The head depends on `seed` alone: it is the same whether the backbone was loaded or drawn. Torch's global generator
    is left as it was. Whether the network takes such images is for `validate_model` to find out, once: it costs
    up to 0.2 s, which each trial would pay.

    Raises:
        ModelError: unknown network or arguments, weights of another network. What the user's own code raises passes
            unchanged.
    """
    seeds = derive_seed(seed, "initialisation"), derive_seed(seed, "head")
    with _seeded(seeds[0]):
        module = construct(model, num_classes, channels, image_size, without_values=weights is not None)
    heads = _find_heads(model, module, num_classes, (1, channels, image_size, image_size))
    if weights is not None:
        load_backbone(module, model.name, heads, weights)
    for head in heads:
        _renew(module.get_submodule(head), seeds[1])
    layers = timm_layers(module) if is_timm(model.name) else None
    return Network(module.train(), layer_groups(module, *heads, layers=layers))


def validate_model(
    model: ModelSpec,
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    smallest_batch: int = 2,
    dropping: Collection[str] = (),
) -> None:
    """Check, in well under a second for most networks, that `build_network` will work; nothing is downloaded.

    Args:
        smallest_batch: the smallest that all layers are to be trained with; a single image can be too few.
        dropping: which of the hyperparameters `dropout` and `drop_path` are to have an effect.

    Raises:
        ModelError: what `build_network` and `resolve_weights` raise, or the network does not take the images; only a
            download can still fail after this.
    """
    with _seeded(0):
        module = construct(model, num_classes, channels, image_size, without_values=True)
        _check_output(model, module, num_classes, channels, image_size)
    for name in dropping:
        check_dropping(module, name)
    heads = _find_heads(model, module, num_classes, (1, channels, image_size, image_size))
    if is_own_code(model.name):
        _check_head(model, module, heads[0], (1, channels, image_size, image_size))
        check_rebuilding(model, module, num_classes, channels, image_size)
    if smallest_batch == 1:
        _check_single_images(model, module, channels, image_size)
    if not isinstance(model.weights, str) or model.weights in weights_names(model):
        return
    if weights := resolve_weights(model):
        load_backbone(module, model.name, heads, weights)
        check_values(module, heads, weights)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's CPU generator starts from `seed` inside, and goes on afterwards as if nothing had been drawn."""
    # Of no GPU: torch would start each one of the machine, only to remember its generator (torch/random.py).
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _find_heads(model: ModelSpec, module: nn.Module, num_classes: int, shape: tuple[int, ...]) -> tuple[str, ...]:
    """The layers that make the classes: one, but for some of timm's, which says of each network which they are."""
    heads = timm_heads(module, num_classes) if is_timm(model.name) else []
    return tuple(heads) or (_find_head(model, module, num_classes, shape),)


def _find_head(model: ModelSpec, module: nn.Module, num_classes: int, shape: tuple[int, ...] | None = None) -> str:
    """The last Linear or Conv2d: it makes the classes in all of torchvision's classification networks.

    In the user's own code, where more than one layer might do, the last that images of this shape come through.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    last = next(reversed(layers), "")
    fitting = [name for name, layer in layers.items() if outputs(layer) == num_classes]
    if is_own_code(model.name) and shape and fitting and fitting != [last]:
        with _seeded(0):
            last = last_in_use(module, fitting, torch.zeros(shape)) or last
    if last not in fitting:
        raise ModelError(
            f"model.name {model.name}: its last Linear or Conv2d ({last or 'none'}) has "
            f"{outputs(layers[last]) if last else 0} outputs for {num_classes} classes; that layer must be the head, "
            "with num_classes outputs"
        )
    return last


def _check_head(model: ModelSpec, module: nn.Module, head: str, shape: tuple[int, ...]) -> None:
    with _seeded(0):
        if last_in_use(module, [head], torch.zeros(shape)) is None:
            raise ModelError(
                f"model.name {model.name}: its only Linear or Conv2d with an output for each class ({head}) has no "
                "part in what the network gives; such a layer must be the head"
            )


def _renew(head: nn.Module, seed: int) -> None:
    """Torch's own initialisation for this kind of layer, whatever the architecture's author chose for 1000 classes.

    What it does not know, such as a scale or the parts of a normalised weight, stays as the user's code made it.
    """
    if any(parameter.is_meta for parameter in head.parameters()):
        # As `to_empty` does it, but for empty_like, for which torch imports sympy: a third of a second.
        head._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))  # type: ignore[no-untyped-call]
    with _seeded(seed):
        head.reset_parameters()  # type: ignore[operator]  # Linear and Conv2d have it


def _check_output(model: ModelSpec, module: nn.Module, num_classes: int, channels: int, image_size: int) -> None:
    """Pass two images through the network: shapes alone on the meta device, or for the user's own code in earnest."""
    module.eval()
    shape = (2, channels, image_size, image_size)
    if is_own_code(model.name):
        _check_own_output(model, module, num_classes, shape)
    else:
        try:
            output = _without_values(module, shape)
        # It depends on the layer that finds the images too small or too large: kernels raise RuntimeError, batch norm
        # ValueError, and a vision transformer asserts (torchvision/models/vision_transformer.py).
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            raise ModelError(
                f"{model.name} does not take images of {image_size}x{image_size} pixels ({first_line(error)}); "
                f"set data.image_size{_trained_at(model)}"
            ) from error
        _check_shape(model, output, shape, num_classes)


def _without_values(module: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """What the network gives for images of this shape, of which only the shape counts.

    A small network computes with zeros: for the meta device torch imports its compiler, which takes a second.
    """
    tensors = dict((*module.named_parameters(), *module.named_buffers()))
    small = sum(tensor.numel() for tensor in tensors.values()) <= _SMALL and math.prod(shape) <= _SMALL
    device = "cpu" if small else "meta"
    state = {name: torch.zeros(tensor.shape, dtype=tensor.dtype, device=device) for name, tensor in tensors.items()}
    with _seeded(0), torch.no_grad():
        output: Tensor = torch.func.functional_call(module, state, (torch.zeros(shape, device=device),))
    return output


def _check_own_output(model: ModelSpec, module: nn.Module, num_classes: int, shape: tuple[int, ...]) -> None:
    """Pass two images and one, as the last batch of a split may be: `squeeze()` is a common mistake."""
    for images in (2, 1):
        sizes = (images, *shape[1:])
        with torch.no_grad():
            output = module(torch.rand(sizes))
        _check_shape(model, output, sizes, num_classes)
        if num_classes > 1 and output.min() >= 0 and torch.allclose(output.sum(1), torch.ones(images).to(output)):
            raise ModelError(
                f"{model.name} gives probabilities, but is trained with the cross entropy of logits; leave the softmax "
                "behind its head out"
            )


def _check_shape(model: ModelSpec, output: object, shape: tuple[int, ...], num_classes: int) -> None:
    wanted = (shape[0], num_classes)
    if not isinstance(output, torch.Tensor) or output.shape != wanted:
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelError(
            f"{model.name} maps images of shape {shape} to {found}; it must give a tensor of shape {wanted}"
        )


def _check_single_images(model: ModelSpec, module: nn.Module, channels: int, image_size: int) -> None:
    """A training step with one image, in shapes alone; what the user's own code does in training is its own affair."""
    if is_own_code(model.name):
        return
    try:
        _without_values(module.train(), (1, channels, image_size, image_size))
    except ValueError as error:
        raise too_few_to_normalise(error, 1, image_size) from error


def too_few_to_normalise(error: Exception, batch_size: int, image_size: int) -> Exception:
    """What batch norm says to a single value for each channel, in the words of a spec; another error as it is."""
    if "Expected more than 1 value per channel" not in str(error):
        return error
    return ModelError(
        f"train.batch_size = {batch_size}: batch norm has a single value to normalise in images of {image_size} pixels "
        f"({first_line(error)}); use batches of at least 2, a larger data.image_size, or train.batch_norm: frozen"
    )


def _trained_at(model: ModelSpec) -> str:
    if is_timm(model.name):
        return f"; timm trained it at {settings_of(model.name).input_size[-1]}"
    if not is_torchvision(model.name):
        return ""
    from torchvision import models

    return f"; torchvision trained it at {models.get_model_weights(model.name).DEFAULT.transforms().crop_size[0]}"
