"""Sets too large for memory and disk: decoded again, batch by batch, whenever they are asked for."""

from dataclasses import dataclass, field

import numpy as np

from tlsweep.data.decode import in_threads, to_square
from tlsweep.data.image_files import odd_metadata
from tlsweep.data.items import Items, Pixels
from tlsweep.data.rendering import Rendering
from tlsweep.data.task import Indices


@dataclass(frozen=True)
class Streamed:
    """Looks like the array of all decoded images, but decodes what it is asked for; pickles if its items do."""

    items: Items
    shape: tuple[int, int, int, int]
    rendering: Rendering = field(default=Rendering())

    def load(self, indices: Indices, threads: int = 1) -> Pixels:
        """Decode the images at `indices`: (len(indices), side, side, C), the same pixels as the array would hold."""
        _, side, _, channels = self.shape
        batch = np.empty((len(indices), side, side, channels), np.uint8)

        def decode(at: int) -> None:
            with self.items.open(int(indices[at]))[0] as image:
                batch[at] = to_square(image, side, channels, self.rendering)

        with odd_metadata():
            for _ in in_threads(decode, range(len(batch)), threads if self.items.thread_safe else 1):
                pass
        return batch
