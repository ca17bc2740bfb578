"""scikit-learn's 1,797 digits of 8x8 pixels as a transfer problem: two disjoint halves, one of them shifted."""

import numpy as np

from tlsweep.data.items import ArrayItems, Found, Pixels
from tlsweep.spec import DigitsData

_SOURCE_SIZE = 900
_SEED = 0
_TILT_DEGREES = (5, 20)
_NOISE = 0.08


def find_digits(data: DigitsData) -> Found:
    """Make 900 clean digits, or the other 897, each tilted by 5 to 20 degrees with noise of 8 % of the range.

    The same everywhere and always, whatever the seed of the sweep.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    # RandomState, because its stream is frozen for good (NEP 19), and a default_rng's is not.
    halves = train_test_split(
        np.arange(len(labels)), train_size=_SOURCE_SIZE, stratify=labels, random_state=np.random.RandomState(_SEED)
    )
    chosen = np.sort(halves[0 if data.domain == "source" else 1])
    images = np.round(digits.images[chosen] * (255 / 16)).astype(np.uint8)
    if data.domain == "target":
        images = _shift(images)
    return Found(ArrayItems(images[..., None], labels[chosen]), {"train": len(chosen)}, tuple("0123456789"))


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
