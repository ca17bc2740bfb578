"""Which networks are transformers, whose lower layers are fine-tuned with a lower learning rate."""

from typing import Final

from torch import nn

from tlsweep.models.architectures import construct
from tlsweep.spec import ModelSpec

LAYER_DECAY: Final = 0.75
"""What a layer group of a transformer learns with, of the lr of the group above it: the default with which masked
autoencoders are fine-tuned (He et al. 2022, main_finetune.py), who have it from ELECTRA and BEiT."""
SHARE: Final = 0.2
"""The least part of a transformer's parameters that attention has. Of 161 networks, one of each family of timm 1.0,
ViT, Swin and their kin have more (torchvision's from 0.31), CNNs with some attention in them (ResNeSt, SKNet, BoTNet,
EdgeNeXt) less than 0.15, and so do a few that are called transformers (XCiT, TinyViT)."""


def usual_layer_decay(model: ModelSpec, *, num_classes: int, channels: int, image_size: int) -> float:
    """What `train.layer_decay: auto` is for a network that begins with weights; it is built without values for that.

    Raises:
        ModelError: unknown network or arguments. What the user's own code raises passes unchanged.
    """
    module = construct(model, num_classes, channels, image_size, without_values=True)
    return LAYER_DECAY if is_transformer(module) else 1.0


def is_transformer(module: nn.Module) -> bool:
    """Whether at least a fifth of the parameters is attention's."""
    attention = {
        parameter
        for part in module.modules()
        if _is_attention(part)
        for layer in part.modules()
        # In CNNs such modules weigh the results of convolutions that they hold.
        if not isinstance(layer, nn.Conv2d) or layer.kernel_size == (1, 1)
        for parameter in layer.parameters(recurse=False)
    }
    whole = sum(parameter.numel() for parameter in module.parameters())
    return sum(parameter.numel() for parameter in attention) >= SHARE * whole


def _is_attention(module: nn.Module) -> bool:
    # They have no base class in common, not even in torchvision; but all are called so. timm's blocks have the name of
    # what is in them, and the pooling of CLIP's ResNet is no part of the backbone.
    name = type(module).__name__.lower()
    return ("attention" in name or "attn" in name) and "block" not in name and "pool" not in name
