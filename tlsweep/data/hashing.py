"""Difference hashes: 64 bits of a picture that survive another size, compression and brightness.

N. Krawetz, "Kind of Like That", hackerfactor.com, 2013: the picture as 9 × 8 grey levels, and for each whether its
right neighbour is brighter. Not by the package imagehash: it takes
pictures one by one through Pillow, and brings PyWavelets, for what is four lines on an array that is in memory already.
"""

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]
Pairs = npt.NDArray[np.int64]

SMALLEST_SIDE = 64
"""Pixels. Of smaller pictures (MNIST) hashes tell little: hundreds of different ones have the same."""
DISTANCE = 5
"""Bits that the hashes of two pictures may differ in; who has fewer may still be another picture."""
_BANDS = ((0, 11), (11, 11), (22, 11), (33, 11), (44, 10), (54, 10))
"""First bit and width. One more than DISTANCE: of two hashes so near, one band at least is the same."""
_CHUNK = 256
_NEIGHBOURS = 1000
"""How many of a band's bucket are compared with each, at most: flat pictures must not make it quadratic."""


def difference_hashes(pixels: Pixels) -> Hashes:
    """The hash of each picture: (N, S, S, C) to (N,)."""
    hashes = np.empty(len(pixels), np.uint64)
    for start in range(0, len(pixels), _CHUNK):
        grey = shrunk(pixels[start : start + _CHUNK], 8, 9)
        brighter = (grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(grey), 64)
        hashes[start : start + _CHUNK] = np.packbits(brighter, axis=1).view(np.uint64)[:, 0]
    return hashes


def shrunk(pixels: Pixels, rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Mean grey levels of `rows` × `columns` fields of each picture: (N, S, S, C) to (N, rows, columns)."""
    # Some pixels of a large field are enough, as the picture was resized with an antialiasing filter.
    step = max(1, pixels.shape[1] // (4 * max(rows, columns)))
    # Channel by channel, as numpy adds up an axis of 3 seven times slower.
    channels = [pixels[:, ::step, ::step, channel].astype(np.float32) for channel in range(pixels.shape[3])]
    sums = np.sum(channels, axis=0)
    side = sums.shape[1]
    for axis, count in ((1, rows), (2, columns)):
        starts = np.arange(count) * side // count
        widths = np.maximum(np.diff([*starts, side]), 1).astype(np.float32)
        sums = np.add.reduceat(sums, starts, axis=axis) / widths.reshape((-1, 1) if axis == 1 else (1, -1))
    return np.asarray(sums / np.float32(len(channels)))


def near_pairs(hashes: Hashes) -> Pairs:
    """Indices of all pairs of hashes that differ in at most DISTANCE bits: shape (M, 2), each once."""
    found = [_pairs_in_band(hashes, hashes >> np.uint64(first) & np.uint64(2**width - 1)) for first, width in _BANDS]
    return np.unique(np.concatenate(found), axis=0)


def _pairs_in_band(hashes: Hashes, band: Hashes) -> Pairs:
    """Pairs with the same value of a band: each with its next one in sorted order, the one after that, and so on."""
    # By the whole hash within a bucket, so that the nearest are neighbours where there are too many.
    order = np.lexsort((hashes, band))
    band, hashes = band[order], hashes[order]
    left, pairs = np.arange(len(order)), [np.empty((0, 2), np.int64)]
    for offset in range(1, _NEIGHBOURS):
        left = left[left + offset < len(order)]
        left = left[band[left] == band[left + offset]]
        if not len(left):
            break
        near = left[np.bitwise_count(hashes[left] ^ hashes[left + offset]) <= DISTANCE]
        pairs.append(np.sort(np.stack([order[near], order[near + offset]], axis=1), axis=1))
    return np.concatenate(pairs)
