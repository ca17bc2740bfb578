"""Sets too large for memory: decoded again, batch by batch, whenever they are asked for."""

from dataclasses import dataclass

import numpy as np

from tlsweep.data.decode import to_square
from tlsweep.data.items import Items, Pixels
from tlsweep.data.task import Indices


@dataclass(frozen=True)
class Streamed:
    """Looks like the array of all decoded images, but decodes what it is asked for; pickles if its items do."""

    items: Items
    shape: tuple[int, int, int, int]

    def load(self, indices: Indices) -> Pixels:
        """The images at `indices`: (len(indices), side, side, C), the same pixels as the array would hold."""
        _, side, _, channels = self.shape
        batch = np.empty((len(indices), side, side, channels), np.uint8)
        for at, index in enumerate(indices):
            with self.items.open(int(index))[0] as image:
                batch[at] = to_square(image, side, channels)
        return batch
