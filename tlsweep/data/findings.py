"""What is odd about decoded images without being a mistake: single colours, pictures that the crop cuts in half."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tlsweep.text import one_line

if TYPE_CHECKING:
    from tlsweep.data.decode import Survey
    from tlsweep.data.items import Items

_NAMED = 3
_LOST = 0.5
"""Part of a picture that the crop may cut away without a word."""
_DARK = 16
"""A grey level of 256: below, a picture has 4 bits. One picture in 16 bits does that to others in 12; masks hold class
numbers."""


@dataclass(frozen=True)
class Some:
    """How many images, and the names of the first of them."""

    count: int = 0
    examples: tuple[str, ...] = ()

    def in_words(self, text: str) -> str:
        """Say it in words: `3 images TEXT (cat/1.png, cat/2.png, …)`."""
        more = ", …" if self.count > len(self.examples) else ""
        return f"{self.count:,} {'image' if self.count == 1 else 'images'} {text} ({', '.join(self.examples)}{more})"


@dataclass(frozen=True)
class Findings:
    """Images that are worth a look."""

    single_colour: Some = field(default=Some())
    """All pixels the same, to within one grey level."""
    dark: Some = field(default=Some())
    """No pixel is brighter than 15 of 255, and some differ."""
    cropped: Some = field(default=Some())
    """More than half of the picture is cut away by `data.fit: crop`."""

    def in_words(self) -> tuple[str, ...]:
        """List a line for each kind that occurs: how many, some names, and what may be done."""
        lines = {
            "of a single colour, once decoded": self.single_colour,
            "with no pixel brighter than 15 of 255, so nearly black": self.dark,
            "cut by more than half; data.fit: pad or squash keeps the whole": self.cropped,
        }
        return tuple(some.in_words(text) for text, some in lines.items() if some.count)


def find_oddities(items: "Items", survey: "Survey", pixels_per_image: int, fit: str) -> Findings:
    """What a survey shows, of the images that decode."""
    good = survey.labels >= 0
    flat = is_single_colour(survey.moments, pixels_per_image)
    short, long = survey.sizes.min(axis=1), survey.sizes.max(axis=1)
    lost = (1 - short / np.maximum(long, 1) > _LOST) & (fit == "crop")
    dark = (survey.brightest < _DARK) & ~flat
    return Findings(_some(items, flat & good), _some(items, dark & good), _some(items, lost & good))


def is_single_colour(moments: npt.NDArray[np.int64], pixels_per_image: int) -> npt.NDArray[np.bool_]:
    """Tell for each image whether its standard deviation is below one grey level in every channel. Shape (N, 2, C) to
    (N,).

    Not 0: what is left of a picture whose range was misread is noise of the last bit.
    """
    mean = moments[:, 0] / pixels_per_image
    variance = moments[:, 1] / pixels_per_image - mean**2
    return np.asarray((variance < 1).all(axis=1))


def _some(items: "Items", which: npt.NDArray[np.bool_]) -> Some:
    indices: Sequence[int] = np.flatnonzero(which).tolist()
    return Some(len(indices), tuple(one_line(items.name(index)) for index in indices[:_NAMED]))
