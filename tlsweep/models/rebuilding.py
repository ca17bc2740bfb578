"""Whether a network can be had again from its arguments and its state dict, which is all that is kept of it."""

import torch
from torch import Tensor, nn

from tlsweep.errors import ModelError
from tlsweep.models.architectures import construct
from tlsweep.spec import ModelSpec

_WAY = (
    "register what training or chance changes as a buffer or parameter, take everything else from model.args, and give "
    "dropout self.training"
)


def check_rebuilding(model: ModelSpec, module: nn.Module, num_classes: int, channels: int, image_size: int) -> None:
    """Compare the user's own network, in evaluation mode, with another one that is given its state dict.

    Raises:
        ModelError: it gives other outputs, or the state dict holds something else than tensors.
    """
    state = module.state_dict()
    if other := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise ModelError(f"model.name {model.name}: '{other[0]}' in its state dict is no tensor, and cannot be kept")
    with torch.random.fork_rng(devices=[]):
        # Another seed than the first network had: what only chance made equal shall differ.
        torch.default_generator.manual_seed(1)
        twin = construct(model, num_classes, channels, image_size, without_values=False)
        try:
            twin.load_state_dict(state)
        except RuntimeError:
            raise ModelError(
                f"model.name {model.name}: called twice with the same arguments, it gave two networks; {_WAY}"
            ) from None
        images = torch.rand((2, channels, image_size, image_size))
        if not same_outputs(module, module, images):
            raise ModelError(
                f"model.name {model.name}: in evaluation mode it gives other outputs for the same images; {_WAY}"
            )
        if not same_outputs(module, twin, images):
            raise ModelError(f"model.name {model.name}: {DIFFERENT}; {_WAY}")


DIFFERENT = "another network with the same arguments and state dict gives other outputs, so it could not be handed back"


@torch.inference_mode()
def same_outputs(first: nn.Module, second: nn.Module, images: Tensor) -> bool:
    """Whether two networks give the same in evaluation mode; their own mode is left as it was."""
    found = []
    for module in (first, second):
        mode = {layer: layer.training for layer in module.modules()}
        found.append(module.eval()(images))
        for layer, training in mode.items():
            layer.training = training
    # Another order of the same sums may differ in the last digits.
    return torch.allclose(found[0], found[1], rtol=1e-3, atol=1e-4, equal_nan=True)
