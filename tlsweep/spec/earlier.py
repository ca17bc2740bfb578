"""What a spec meant before there were fields for it: a sweep that began under earlier rules goes on under them."""

from collections.abc import Mapping
from typing import Any, Final

BEFORE: Final[Mapping[str, Mapping[str, Any]]] = {
    "data": {"normalize": "train", "interpolation": "bilinear", "crop_fraction": 0.875},
    "train": {"head": "random", "layer_decay": 1.0},
}
"""The values of fields that earlier versions did not write, by section: they do what those versions did."""


def as_it_was_meant(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a results folder, or of its recipe, with what the version that wrote it did without being asked."""
    meant = {
        section: {**values, **written}
        for section, values in BEFORE.items()
        if isinstance(written := spec.get(section, {}), Mapping)
    }
    return {**spec, **meant}
