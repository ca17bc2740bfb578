"""The network of a trial: backbone, new head, layer groups; the same seed gives bitwise the same one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from tlsweep.errors import ModelError
from tlsweep.models.architectures import construct, is_own_code, is_torchvision
from tlsweep.models.groups import LayerGroup, layer_groups
from tlsweep.models.loading import load_backbone
from tlsweep.models.weights import Weights, first_line, resolve_weights, weights_names
from tlsweep.spec import ModelSpec, derive_seed


@dataclass(frozen=True)
class Network:
    """A module to fine-tune, on the CPU, in training mode."""

    module: nn.Module
    """Maps float images (N, channels, image_size, image_size) to logits (N, num_classes)."""
    groups: tuple[LayerGroup, ...]
    """From input to head, every parameter once; the last group is the head."""


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
    head = _find_head(model, module, num_classes)
    if weights is not None:
        load_backbone(module, model.name, head, weights)
    _renew(module.get_submodule(head), seeds[1])
    return Network(module.train(), layer_groups(module, head))


def validate_model(model: ModelSpec, *, num_classes: int, channels: int, image_size: int) -> None:
    """Check, in well under a second for most networks, that `build_network` will work; nothing is downloaded.

    Raises:
        ModelError: as `build_network` and `resolve_weights`, and for images that the network does not take; only a
            download can still fail after this.
    """
    with _seeded(0):
        module = construct(model, num_classes, channels, image_size, without_values=True)
        _check_output(model, module, num_classes, channels, image_size)
    head = _find_head(model, module, num_classes)
    if not isinstance(model.weights, str) or model.weights in weights_names(model):
        return
    if weights := resolve_weights(model):
        load_backbone(module, model.name, head, weights)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's CPU generator starts from `seed` inside, and goes on afterwards as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _find_head(model: ModelSpec, module: nn.Module, num_classes: int) -> str:
    """The last Linear or Conv2d: it makes the classes in all of torchvision's classification networks."""
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    name, head = layers[-1] if layers else ("", None)
    outputs = head.out_features if isinstance(head, nn.Linear) else head.out_channels if head else 0
    if outputs != num_classes:
        raise ModelError(
            f"model.name {model.name}: its last Linear or Conv2d ({name or 'none'}) has {outputs} outputs for "
            f"{num_classes} classes; that layer must be the head, with num_classes outputs"
        )
    return name


def _renew(head: nn.Module, seed: int) -> None:
    """Torch's own initialisation for this kind of layer, whatever the architecture's author chose for 1000 classes."""
    head.to_empty(device="cpu")
    with _seeded(seed):
        head.reset_parameters()  # type: ignore[operator]  # Linear and Conv2d have it


def _check_output(model: ModelSpec, module: nn.Module, num_classes: int, channels: int, image_size: int) -> None:
    """Two images through the network: shapes alone on the meta device, or for the user's own code in earnest."""
    module.eval()
    shape = (2, channels, image_size, image_size)
    if is_own_code(model.name):
        with torch.no_grad():
            output = module(torch.zeros(shape))
    else:
        state = {name: tensor.to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
        try:
            output = torch.func.functional_call(module, state, (torch.empty(shape, device="meta"),))
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            raise ModelError(
                f"{model.name} does not take images of {image_size}x{image_size} pixels ({first_line(error)}); "
                f"set data.image_size{_trained_at(model)}"
            ) from error
    if not isinstance(output, torch.Tensor) or output.shape != (2, num_classes):
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelError(
            f"{model.name} maps images of shape {shape} to {found}; it must give a tensor of shape (2, {num_classes})"
        )


def _trained_at(model: ModelSpec) -> str:
    if not is_torchvision(model.name):
        return ""
    from torchvision import models

    return f"; torchvision trained it at {models.get_model_weights(model.name).DEFAULT.transforms().crop_size[0]}"
