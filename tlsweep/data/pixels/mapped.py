"""Sets too large for memory, decoded once into a file on the disk of each machine, which all of its processes map."""

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tlsweep.data.decode import Progress
from tlsweep.data.items import Items, Pixels
from tlsweep.data.pixels.cache import Decoded, decode_cached, default_cache, entry_of, open_pixels, read_entry
from tlsweep.data.pixels.streamed import Streamed
from tlsweep.data.task import Indices
from tlsweep.errors import UserError
from tlsweep.files import NoRoomError

Tell = Callable[[str], None]


class PixelFile:
    """The pixels of an entry of the cache, mapped: what is read stays in the page cache, for other processes too."""

    def __init__(self, entry: Path) -> None:
        pixels = open_pixels(entry)
        assert isinstance(pixels, np.memmap)
        # As a plain array, since each slice of a memmap takes 2 µs more; the map below it is what advice is given to.
        self._pixels, self._map = np.asarray(pixels), pixels.base
        self._offset, self._row = pixels.offset, math.prod(pixels.shape[1:])

    def load(self, indices: Indices) -> Pixels:
        """Copy the images at `indices`, in the order of the disk: (len(indices), side, side, C)."""
        rows = np.empty((len(indices), *self._pixels.shape[1:]), np.uint8)
        # Row by row into their place, which copies once: measured for 256 px 14 µs a row, 23 µs by torch's
        # index_select, and 150 µs where the batch is put back in order afterwards.
        for place in np.argsort(indices).tolist():
            rows[place] = self._pixels[indices[place]]
        return rows

    def announce(self, indices: Indices) -> None:
        """Let the system read these images from the disk meanwhile, unless they are in memory (3 µs each)."""
        if not isinstance(self._map, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):
            return
        for index in np.sort(indices).tolist():
            start = self._offset + index * self._row
            page = start - start % mmap.PAGESIZE  # from which madvise(2) wants to begin
            self._map.madvise(mmap.MADV_WILLNEED, page, start + self._row - page)


@dataclass(frozen=True)
class Mapped:
    """Looks like the array of all decoded images, and lies in a file of this machine; pickles if its items do.

    What travels is how to find the file, and how to make it: another node has none until somebody needs it.
    """

    source: Streamed
    """The same images as they are decoded."""
    entry: str
    """The folder of the cache that the survey left."""
    digest: str
    """Hash of all pixels and labels, which what another node makes must have too."""

    @property
    def items(self) -> Items:
        """What is decoded."""
        return self.source.items

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Images, side, side, channels."""
        return self.source.shape

    def load(self, indices: Indices) -> Pixels:
        """The images at `indices`: (len(indices), side, side, C)."""
        return self.open().load(indices)

    def open(self, tell: Tell = lambda line: None) -> PixelFile | Streamed:
        """Find the file, or make it; where it cannot be kept or comes out otherwise, the images are streamed.

        Args:
            tell: says what takes long, and what goes wrong.
        """
        key = self.entry, self.digest
        if key not in _opened:
            _opened[key] = self._found(Path(self.entry)) or self._made(tell)
        return _opened[key]

    def _found(self, entry: Path) -> PixelFile | None:
        decoded = read_entry(entry, self.source)
        return PixelFile(entry) if decoded and decoded.survey.digest == self.digest else None

    def _made(self, tell: Tell) -> PixelFile | Streamed:
        """In this machine's own cache: the folder of the survey may be another machine's."""
        try:
            cache = default_cache()
            entry = entry_of(self.source, cache, streamed=False)
            if found := self._found(entry):
                return found
            tell(f"decoding {len(self.items):,} images into '{entry}', once on this node")
            decode_cached(self.source, streamed=False, cache=cache, large=True, digest=self.digest)
            return self._found(entry) or self.source
        except UserError as error:
            tell(f"{_AGAIN}: {error}")
            return self.source


_AGAIN = "all images are decoded again in every epoch"
_opened: dict[tuple[str, str], PixelFile | Streamed] = {}
"""What this process has found already: a reused worker maps a file once."""


def decode_large(source: Streamed, *, limit: int, cache: Path, progress: Progress | None) -> Decoded:
    """Decode images that are too many for memory into a file, if that has at most `limit` bytes and the disk room.

    Raises:
        DataError: as `decode_cached`.
    """
    size = math.prod(source.shape)
    reason = f"decoded, they take {size / 2**30:.1f} GiB, above data.disk_limit: {limit / 2**30:.1f} GiB; raise it"
    if size <= limit:
        try:
            decoded = decode_cached(source, streamed=False, cache=cache, large=True, progress=progress)
        except NoRoomError as error:
            reason = str(error)
        else:
            rendering = replace(source.rendering, bits=decoded.survey.bits)
            entry = entry_of(source, cache, streamed=False)
            mapped = Mapped(replace(source, rendering=rendering), str(entry.absolute()), decoded.survey.digest)
            return replace(decoded, images=mapped)
    decoded = decode_cached(source, streamed=True, cache=cache, progress=progress)
    # With a limit of 0 that is what was asked for.
    return replace(decoded, notes=(f"{_AGAIN}: {reason}",) if limit else ())
