"""scikit-learn's 1,797 digits of 8x8 pixels as a transfer problem: two disjoint halves, one of them shifted."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlsweep.data.items import ArrayItems, Found, Pixels
from tlsweep.data.splits import stratified
from tlsweep.data.task import Indices
from tlsweep.spec import DigitsData

Numbers = NDArray[np.float64]
_SOURCE_SIZE = 900
_SEED = 0
_TILT_DEGREES = (5, 20)
_NOISE = 0.08


def find_digits(data: DigitsData) -> Found:
    """Make 900 clean digits, or the other 897, each tilted by 5 to 20 degrees with noise of 8 % of the range.

    The same everywhere and always, whatever the seed of the sweep.
    """
    pixels, labels = _read()
    # RandomState, because its stream is frozen for good (NEP 19), and a default_rng's is not.
    halves = stratified(labels, _SOURCE_SIZE, np.random.RandomState(_SEED))
    chosen = halves[0 if data.domain == "source" else 1]
    images = np.round(pixels[chosen] * (255 / 16)).astype(np.uint8)
    if data.domain == "target":
        images = _shift(images)
    return Found(ArrayItems(images[..., None], labels[chosen]), {"train": len(chosen)}, tuple("0123456789"))


def _read() -> tuple[Numbers, Indices]:
    """Read pixels from 0 to 16, (1797, 8, 8), and labels, from scikit-learn's file.

    As its `load_digits` does, without an import of all that stands beside it, which takes a second and more.
    """
    package = find_spec("sklearn")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(path, delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)


def _shift(images: Pixels) -> Pixels:
    """Every image tilted by an angle of its own, and noisy: (N, 8, 8)."""
    from PIL import Image

    random = np.random.RandomState(_SEED)
    angles = random.uniform(*_TILT_DEGREES, size=len(images))
    tilted = [
        np.asarray(Image.fromarray(image).rotate(angle, Image.Resampling.BILINEAR))
        for image, angle in zip(images, angles, strict=True)
    ]
    noisy = np.stack(tilted) + random.normal(0, 255 * _NOISE, images.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)
