"""The head of a network: the layer that makes the classes."""

import torch
from torch import nn

from tlsweep.errors import ModelError


def outputs(layer: nn.Module) -> int:
    """How many values a layer makes of each image or place."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    if isinstance(layer, nn.Conv2d):
        return layer.out_channels
    return 0


def last_in_use(module: nn.Module, names: list[str], images: torch.Tensor) -> str | None:
    """Find the last of the layers `names` that is called for these images, and on which the output depends.

    In evaluation mode, so that a head that only helps in training is none. A layer whose weights are used without
    calling it comes after those that are called; None where no layer has part in the output.
    """
    layers = {name: module.get_submodule(name) for name in names}
    called: list[str] = []
    hooks = [layer.register_forward_hook(lambda *_, name=name: called.append(name)) for name, layer in layers.items()]
    mode = module.training
    try:
        # Whatever holds for the caller: the gradient shows what the output depends on.
        with torch.enable_grad():
            output = module.eval()(images)
    finally:
        module.train(mode)
        for hook in hooks:
            hook.remove()
    used = _in_output(output, layers)
    in_turn = [name for name in called if name in used] or [name for name in names if name in used]
    return in_turn[-1] if in_turn else None


def _in_output(output: object, layers: dict[str, nn.Module]) -> set[str]:
    """Find those whose parameters the output has a gradient for; all whose parameters have none in any case.

    Not its `weight` alone, which is no parameter where it is normalised (torch.nn.utils.parametrizations).
    """
    owners = [
        (name, parameter)
        for name, layer in layers.items()
        for parameter in layer.parameters()
        if parameter.requires_grad
    ]
    if not isinstance(output, torch.Tensor) or not output.requires_grad or not owners:
        return set(layers)
    found = torch.autograd.grad(output.sum(), [parameter for _, parameter in owners], allow_unused=True)
    used = {name for (name, _), gradient in zip(owners, found, strict=True) if gradient is not None}
    return used | set(layers) - {name for name, _ in owners}


def check_logits(found: object, images: int, num_classes: int, when: str) -> None:
    """Refuse what is no tensor of logits.

    Raises:
        ModelError: what a network gave for a number of images is no tensor of their logits.
    """
    if isinstance(found, torch.Tensor):
        if found.shape == (images, num_classes):
            return
        what = f"a tensor of shape {tuple(found.shape)}"
    else:
        parts = f" of {', '.join(type(item).__name__ for item in found)}" if isinstance(found, tuple | list) else ""
        what = f"a {type(found).__name__}{parts}"
    raise ModelError(
        f"in {when} the network gives {what} for {images} images; it must give a tensor of shape ({images}, "
        f"{num_classes}), the logits alone, in training as in evaluation"
    )
