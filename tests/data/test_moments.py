import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlsweep.data.moments import channel_statistics, moments_of


@given(count=st.integers(1, 600), side=st.integers(1, 6), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_agrees_with_numpy(count: int, side: int, channels: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    mean, std = channel_statistics(moments_of(images), side * side)
    scaled = images.astype(np.float64) / 255
    assert mean == pytest.approx(scaled.mean(axis=(0, 1, 2)), abs=1e-12)
    assert std == pytest.approx(np.maximum(scaled.std(axis=(0, 1, 2)), 1 / 255), abs=1e-7)


def test_a_constant_channel_can_be_divided_by() -> None:
    images = np.full((3, 4, 4, 3), 255, np.uint8)
    assert channel_statistics(moments_of(images), 16) == ((1.0, 1.0, 1.0), (1 / 255,) * 3)


def test_moments_are_exact_for_large_white_images() -> None:
    images = np.full((1, 2000, 2000, 1), 255, np.uint8)
    assert moments_of(images).ravel().tolist() == [255 * 4_000_000, 255**2 * 4_000_000]
