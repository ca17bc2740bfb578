"""How pictures are made smaller, and how much of them is seen, as it was when weights were trained.

Images are decoded once for a sweep, whatever weights its trials start from. So there is one rule for all of them: what
the first of the weights says that says anything.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from tlsweep.models.statistics import preprocessing_beside
from tlsweep.models.timm_networks import is_timm
from tlsweep.models.timm_weights import HUB, hub_settings
from tlsweep.models.weights import weights_names
from tlsweep.spec import DataSpec, ModelSpec, SourceTask
from tlsweep.spec.data import CROP_FRACTION, SMALLEST_FRACTION, Interpolation


@dataclass(frozen=True)
class Resizing:
    """What `data.interpolation: auto` and `data.crop_fraction: auto` come to."""

    interpolation: str
    crop_fraction: float
    reason: str
    """How they are known, as the rest of a sentence."""


PLAIN: Final = Resizing("bilinear", CROP_FRACTION, "as weights mostly expect")


def resized_for(data: DataSpec, model: ModelSpec) -> DataSpec:
    """The section with what `auto` comes to.

    Raises:
        ModelError: an unknown network; a `config.json` on timm's hub that cannot be had.
    """
    names = automatic(data)
    found = expected_resizing(model) if names else PLAIN
    return data.model_copy(update={name: getattr(found, name) for name in names})


def automatic(data: DataSpec) -> list[str]:
    """The fields that are left to the weights."""
    return [name for name in ("interpolation", "crop_fraction") if getattr(data, name) == "auto"]


def expected_resizing(model: ModelSpec) -> Resizing:
    """What the weights of a network were trained with: of several the first that say so; else `PLAIN`."""
    found = (_expected(model.starting_from(origin), origin) for origin in model.origins.values())
    return next((resizing for resizing in found if resizing is not None), PLAIN)


def _expected(model: ModelSpec, origin: str | SourceTask | None) -> Resizing | None:
    if isinstance(origin, SourceTask):
        given = resized_for(origin.data, ModelSpec())
        return Resizing(str(given.interpolation), float(given.crop_fraction), "as for the source task")
    if origin is None:
        return None
    known = weights_names(model)
    if origin in known:
        return _said(model, known[origin], "as {} says of its weights")
    if origin.startswith(HUB):
        settings = hub_settings(model, origin)
        return _fraction(
            settings.get("interpolation"), settings.get("crop_pct"), _side(settings.get("input_size")),
            f"as the config.json of {origin} says",
        )  # fmt: skip
    if written := preprocessing_beside(Path(os.path.expanduser(origin))):
        return _exported(written)
    return _said(model, known["DEFAULT"], "as for {}'s weights, which the file fits") if known else None


def _said(model: ModelSpec, entry: Any, reason: str) -> Resizing | None:
    """What torchvision or timm says of one of its weights."""
    if is_timm(model.name):
        return _fraction(entry.interpolation, entry.crop_pct, _side(entry.input_size), reason.format("timm"))
    transforms = entry.transforms()
    fraction = transforms.crop_size[0] / transforms.resize_size[0]
    return _checked(transforms.interpolation.value, fraction, reason.format("torchvision"))


def _side(shape: Any) -> Any:
    return shape[-1] if isinstance(shape, list | tuple) and shape else None


def _fraction(interpolation: Any, crop_pct: Any, side: Any, reason: str) -> Resizing | None:
    """What timm says: it rounds the side that is resized to down (timm/data/transforms_factory.py), and so do we at the
    size of the weights."""
    try:
        return _checked(interpolation, side / int(side / crop_pct), reason)
    except (TypeError, ValueError, ArithmeticError):
        return None


def _exported(written: dict[str, Any]) -> Resizing | None:
    """What an exported model was trained with; those of earlier versions were bilinear."""
    try:
        fraction = written["image_size"] / written["stored_size"]
    except (LookupError, TypeError, ArithmeticError):
        return None
    return _checked(written.get("interpolation", PLAIN.interpolation), fraction, "as for the exported model")


def _checked(interpolation: Any, crop_fraction: float, reason: str) -> Resizing | None:
    """None where the field could not say it: what somebody wrote on the hub may be anything."""
    if interpolation in get_args(Interpolation) and SMALLEST_FRACTION <= crop_fraction <= 1:
        return Resizing(interpolation, crop_fraction, reason)
    return None
