"""Networks of timm (https://github.com/huggingface/pytorch-image-models): built, and what it knows of their parts."""

import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from tlsweep.errors import ModelError
from tlsweep.models.archives import first_line
from tlsweep.models.heads import outputs
from tlsweep.spec import ModelSpec
from tlsweep.spec.model import TIMM
from tlsweep.text import did_you_mean, one_line

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

INSTALL: Final = "pip install 'tlsweep[timm]'"

_RESERVED = {
    "num_classes", "in_chans", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict",
    "pretrained_filter_fn", "pretrained_model_args", "checkpoint_path", "cache_dir", "features_only", "out_indices",
    "feature_cls", "kwargs_filter", "scriptable", "exportable", "no_jit", "device", "dtype",
}  # fmt: skip
"""What decides where weights come from, or makes something else than a classifier: no business of `model.args`, which
an exported model brings along too."""

_ONE_TRUNK = {"volo": {"use_aux_head": False}}
"""Arguments of families whose logits would else be made of more than the head's, by the name of timm's module: VOLO
adds the best of its patches."""

_FILTERS = (
    "checkpoint_filter_fn", "checkpoint_filter_fn_classifier", "_filter_fn", "_filter_torchvision_pretrained",
)  # fmt: skip
"""What timm's modules call the function that makes a checkpoint fit the network: its names, and its tables of
positions, which depend on the size of the images (grep pretrained_filter_fn timm/models)."""


def is_timm(name: str) -> bool:
    """Whether `name` says that the network is timm's; not whether it has it."""
    return name.startswith(TIMM)


def timm_name(name: str) -> str:
    """What timm calls the network `name`.

    Raises:
        ModelError: timm is not installed, or has no such network.
    """
    timm = _timm()
    wanted = name.removeprefix(TIMM)
    architecture, _, tag = wanted.partition(".")
    if not tag and timm.is_model(wanted):
        return wanted
    if tag and timm.is_model(architecture):
        raise ModelError(
            f"model.name '{one_line(name)}' names weights too; write model.name: {TIMM}{architecture} and "
            f"model.weights: {one_line(tag)}"
        )
    known = timm.list_models()
    near = did_you_mean(name, [TIMM + found for found in known])
    raise ModelError(
        f"unknown network '{one_line(name)}'; {near}; timm {timm.__version__} has {len(known):,}, which "
        "timm.list_models('*vit*') lists by a pattern"
    )


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        # One of what timm needs may be missing: huggingface_hub, for example.
        raise ModelError(
            f"model.name: {TIMM}… needs timm, which cannot be imported ({first_line(error)}); install it: {INSTALL}"
        ) from None
    return timm


def pretrained_settings(name: str) -> "dict[str, PretrainedCfg]":
    """What timm says of each of its weights of a network, by their tags, and as `DEFAULT` of those that it prefers.

    Raises:
        ModelError: as `timm_name`.
    """
    architecture = timm_name(name)
    from timm.models import get_arch_pretrained_cfgs

    found = {
        tagged.partition(".")[2]: settings
        for tagged, settings in get_arch_pretrained_cfgs(architecture).items()
        if settings.has_weights
    }
    # Its first one is the one that timm takes for pretrained=True.
    return {"DEFAULT": next(iter(found.values())), **found} if found else {}


def settings_of(name: str) -> "PretrainedCfg":
    """What timm says of a network, whether there are weights or not."""
    architecture = timm_name(name)
    from timm.models import PretrainedCfg, get_pretrained_cfg

    return get_pretrained_cfg(architecture) or PretrainedCfg()


def timm_arguments(model: ModelSpec, image_size: int) -> dict[str, Any]:
    """Complete `model.args` by what timm has to be told so that the network takes such images, and has one head."""
    architecture, settings = timm_name(model.name), settings_of(model.name)
    from timm.models import model_entrypoint

    family = model_entrypoint(architecture).__module__.rpartition(".")[2]
    # Those of a fixed size have tables of positions, or windows, that are made for it.
    size = {"img_size": image_size} if settings.fixed_input_size else {}
    return {**size, **_ONE_TRUNK.get(family, {}), **model.args}


def construct_timm(model: ModelSpec, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """The network of timm that `model` names, for such images.

    Raises:
        ModelError: timm has it not, or not with these arguments, or not for images of this size.
    """
    timm, architecture = _timm(), timm_name(model.name)
    if reserved := sorted(_RESERVED & set(model.args)):
        raise ModelError(
            f"model.args {model.args} do not fit {model.name}: {', '.join(reserved)} cannot be set; the images, "
            "model.weights and the classes decide that"
        )
    try:
        module = timm.create_model(
            architecture, num_classes=num_classes, in_chans=channels, **timm_arguments(model, image_size)
        )
    except ModelError:  # of limits
        raise
    except Exception as error:  # whatever a constructor says to a size, or to arguments of the user's
        raise ModelError(_unfit(model, image_size, error)) from error
    if not isinstance(module, nn.Module) or not hasattr(module, "get_classifier"):
        raise ModelError(f"model.name {model.name} is no network with a classifier; choose another one of timm")
    _check_patches(model, module, image_size)
    return module


def _unfit(model: ModelSpec, image_size: int, error: Exception) -> str:
    reason = one_line(first_line(error))
    trained = settings_of(model.name).input_size[-1]
    if model.args and _builds(model.model_copy(update={"args": {}}), image_size):
        return f"model.args {model.args} do not fit {model.name}: {reason}; known: {', '.join(_known(model))}"
    return (
        f"{model.name} cannot be built for images of {image_size}x{image_size} pixels ({reason}); set "
        f"data.image_size; timm trained it at {trained}"
    )


def _builds(model: ModelSpec, image_size: int) -> bool:
    try:
        _timm().create_model(timm_name(model.name), num_classes=2, **timm_arguments(model, image_size))
    except Exception:  # as in construct_timm
        return False
    return True


def _known(model: ModelSpec) -> list[str]:
    """The arguments of the network's class."""
    try:
        bare = _timm().create_model(timm_name(model.name), num_classes=2)
    except Exception:  # no help for a message can be worse than the message
        return ["see timm's documentation"]
    names = inspect.signature(type(bare)).parameters
    return sorted(set(names) - _RESERVED - {"args", "kwargs", "cfg"})


def _check_patches(model: ModelSpec, module: nn.Module, image_size: int) -> None:
    """Refuse a size at which the network would not see the right and the lower edge: the patches leave them out."""
    embed = getattr(module, "patch_embed", None)
    sides = getattr(embed, "patch_size", None)
    # PiT's and PVT's patches overlap, and some are padded: there is no edge that they leave out.
    apart = getattr(getattr(embed, "proj", None), "stride", None) == sides
    if not isinstance(sides, tuple) or not apart or getattr(embed, "dynamic_img_pad", False):
        return
    if rest := image_size % int(sides[0]):
        below = image_size - rest
        raise ModelError(
            f"{model.name} cuts images into patches of {sides[0]} pixels, which {image_size} is no multiple of; set "
            f"data.image_size: {below or sides[0]} or {below + sides[0]}"
        )


def timm_heads(module: nn.Module, num_classes: int) -> list[str]:
    """The layers of timm's classifier that make the classes, by name: more than one where the logits are the mean of
    several heads', as those of distilled networks are; none where it does not say."""
    named = getattr(module, "pretrained_cfg", {}).get("classifier") or ()
    layers = dict(module.named_modules())
    return [
        name
        for name in ((named,) if isinstance(named, str) else named)
        if name in layers and outputs(layers[name]) == num_classes
    ]


def timm_layers(module: nn.Module) -> list[list[str]] | None:
    """The parameters of each layer from input to output, as timm's own matcher for layer-wise learning rates has them;
    None for the few networks without one."""
    from timm.models import group_parameters

    matcher = getattr(module, "group_matcher", None)
    if matcher is None:
        return None
    groups = group_parameters(module, matcher(coarse=False))
    return [groups[number] for number in sorted(groups)]


def fitted_to(module: nn.Module, name: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict as timm would load it: its names, its tables of positions, its first convolution made to fit."""
    from timm.models import model_entrypoint

    source = inspect.getmodule(model_entrypoint(timm_name(name)))
    found = next((getattr(source, known) for known in _FILTERS if hasattr(source, known)), None)
    # Of how it computes: what torch deprecates, and memory that is not contiguous.
    with warnings.catch_warnings(action="ignore"):
        fitted = dict(found(dict(state), module)) if found else dict(state)
    _adapt_colours(module, fitted)
    return fitted


def _adapt_colours(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Convert the filters that see the image between grey and colour, as timm does."""
    from timm.models import adapt_input_conv

    first = getattr(module, "pretrained_cfg", {}).get("first_conv") or ()
    layers = dict(module.named_modules())
    for name in (first,) if isinstance(first, str) else first:
        key = f"{name}.weight"
        own, given = getattr(layers.get(name), "weight", None), state.get(key)
        if own is None or given is None or own.ndim != 4 or given.ndim != 4 or own.shape[1] == given.shape[1]:
            continue
        adapt: Callable[..., torch.Tensor] = adapt_input_conv
        channels = 1 if own.shape[1] < given.shape[1] else 3
        if channels == 1:
            state[key] = adapt(1, given)
        elif given.shape[1] == 1:
            state[key] = given.expand(-1, 3, -1, -1) / 3
