"""The mean and standard deviation with which images were normalised when weights were trained, where that is known."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from tlsweep.spec import Normalisation

PREPROCESSING: Final = "preprocessing.json"
"""The file of an exported model that says how a picture becomes the network's input."""

_MOST_BYTES = 2**20


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, pixels scaled to 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    reason: str
    """How they are known, as the rest of a sentence: `as torchvision says of …`."""

    def seen_in(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation for images of another number of channels.

        For grey images the mean over the colours: the first convolution, summed over them, then sees nearly what a grey
        picture in three channels would have given. For images in colour what the grey ones had, for each channel.
        """
        if len(self.mean) == channels:
            return self.mean, self.std
        return _spread(self.mean, channels), _spread(self.std, channels)


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return (sum(values) / len(values),) * channels


def torchvision_statistics(entry: Any, reason: str) -> Statistics:
    """What torchvision says of one of its weights (ImageNet's for all but a few)."""
    transforms = entry.transforms()
    mean, std = (tuple(float(value) for value in values) for values in (transforms.mean, transforms.std))
    return Statistics(mean, std, reason)


def preprocessing_beside(weights: Path) -> dict[str, Any]:
    """What stands beside the weights of an exported model; empty where nothing does, or what is no mapping."""
    path = weights.parent / PREPROCESSING
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return {}
        written = json.loads(path.read_text(encoding="utf-8"))
    # The file may be anybody's: of another shape, or nested too deeply.
    except (OSError, ValueError, RecursionError):
        return {}
    return written if isinstance(written, dict) else {}


def exported_statistics(weights: Path) -> Statistics | None:
    """The statistics of an exported model, from beside its weights; None where nothing is, or what is no export's."""
    written = preprocessing_beside(weights)
    return statistics_as_given(written.get("mean"), written.get("std"), f"as the {PREPROCESSING} beside the file says")


def statistics_as_given(mean: Any, std: Any, reason: str) -> Statistics | None:
    """What somebody wrote down; None where it is something else, such as numbers of pixels from 0 to 255."""
    try:
        given = Normalisation(mean=mean, std=std)
    except ValidationError:
        return None
    return Statistics(given.mean, given.std, reason)
