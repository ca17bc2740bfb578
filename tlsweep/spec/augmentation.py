"""Augmentation in a spec: what the presets of `data.augment` stand for, and how strong it is in words."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import PydanticCustomError

STRENGTHS: Final = (
    "auto_augment",
    "rand_augment_ops",
    "rand_augment_magnitude",
    "color_jitter",
    "vertical_flip",
    "rotation",
    "random_erasing",
    "mixup",
    "cutmix",
)
"""The hyperparameters that say how training images are changed, beside crop and flip."""

PRESETS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = MappingProxyType(
    {
        "none": {"data": {"crop": "none", "flip": False}, "train": {}},
        "light": {"data": {"crop": "shift", "flip": True}, "train": {}},
        "medium": {
            "data": {"crop": "shift", "flip": True},
            "train": {"auto_augment": "trivial", "random_erasing": 0.1},
        },
        "strong": {
            "data": {"crop": "resized", "flip": True},
            # What torchvision's own recipe of 2021 for ImageNet has (references/classification), but for the epochs.
            "train": {"auto_augment": "trivial", "random_erasing": 0.1, "mixup": 0.2, "cutmix": 1.0},
        },
    }
)
"""The values that each name of `data.augment` stands for; those in `train` unless they are written there."""


def presets_in_words() -> str:
    """The presets as `tlsweep fields` prints them."""
    return "; ".join(
        f"`{name}`: {', '.join(_settings({**meant['data'], **meant['train']}))}" for name, meant in PRESETS.items()
    )


def crop_and_flip(name: str) -> Mapping[str, Any]:
    """What a preset says of crop and flip.

    Raises:
        PydanticCustomError: there is no such preset.
    """
    if name not in PRESETS:
        hint = {"names": ", ".join(PRESETS)}
        raise PydanticCustomError("augment", "must be a preset ({names}) or a mapping of fields", hint)
    return PRESETS[name]["data"]


def with_preset(spec: Any, train: Mapping[str, Any] | None = None) -> Any:
    """A spec, or a source task, with what the preset that `data.augment` names stands for written out in its sections.

    Args:
        spec: as it was written, before validation.
        train: what its section `train` is where it is not written.
    """
    if not isinstance(spec, Mapping) or not isinstance(data := spec.get("data"), Mapping):
        return spec
    name, written = data.get("augment"), spec.get("train", train or {})
    if not isinstance(name, str) or name not in PRESETS or not isinstance(written, Mapping):
        return spec
    meant = PRESETS[name]
    return {**spec, "data": {**data, "augment": dict(meant["data"])}, "train": {**meant["train"], **written}}


def strengths_in_words(values: Iterable[tuple[str, Any]], defaults: Mapping[str, Any]) -> str:
    """What happens to training images beside crop and flip, from hyperparameters or what a spec says of them; empty
    where nothing does."""
    return ", ".join(
        _settings({name: value for name, value in values if name in STRENGTHS and value != defaults[name]})
    )


def _settings(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} {_written(value)}" for name, value in values.items()]


def _written(value: Any) -> str:
    if hasattr(value, "values"):
        return " or ".join(map(_written, value.values))
    if hasattr(value, "extremes"):
        return " to ".join(f"{extreme:g}" for extreme in value.extremes)
    return str(value).lower()
