"""What happens to training images: the same for a sample whatever the batch size, and only what is switched on."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tlsweep.data import Task
from tlsweep.data.augmentation import mixing
from tlsweep.data.batches import Batches
from tlsweep.data.contact_sheet import contact_sheet
from tlsweep.data.moments import moments_of
from tlsweep.spec import Augment, Hyperparameters

COUNT, SIDE, SIZE = 40, 16, 14
EACH: dict[str, dict[str, Any]] = {
    "trivial": {"auto_augment": "trivial"},
    "rand": {"auto_augment": "rand", "rand_augment_ops": 3, "rand_augment_magnitude": 15},
    "color_jitter": {"color_jitter": 0.4},
    "vertical_flip": {"vertical_flip": 0.5},
    "rotation": {"rotation": 20},
    "random_erasing": {"random_erasing": 0.5},
    "mixup": {"mixup": 0.4},
    "cutmix": {"cutmix": 1.0},
    "mixup and cutmix": {"mixup": 0.4, "cutmix": 1.0},
}
EVERYTHING = {name: value for fields in EACH.values() for name, value in fields.items()}


def _task(augment: Augment, channels: int = 3) -> Task:
    """Random images; the label of each is its number, so that batches tell whom they hold."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT + 2, SIDE, SIDE, channels), dtype=np.uint8)
    return Task(
        images=images,
        labels=np.arange(COUNT + 2),
        splits={"train": np.arange(COUNT), "val": np.array([COUNT]), "test": np.array([COUNT + 1])},
        classes=tuple(map(str, range(COUNT + 2))),
        mean=(0.3, 0.4, 0.5)[:channels],
        std=(0.2, 0.3, 0.1)[:channels],
        image_size=SIZE,
        augment=augment,
        moments=moments_of(images),
        fingerprint="x",
    )


def _epoch(task: Task, strengths: dict[str, Any], batch_size: int = 16, epoch: int = 0) -> tuple[Tensor, Tensor]:
    return _all(Batches(task, Hyperparameters(**strengths)).train(epoch, batch_size, 5))


def _all(batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize("crop", ["none", "shift", "resized"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strengths", [*EACH.values(), EVERYTHING], ids=[*EACH, "everything"])
def test_a_sample_is_the_same_whatever_the_batch_size(strengths: dict[str, Any], channels: int, crop: Any) -> None:
    task = _task(Augment(crop=crop, flip=True), channels)
    images, labels = _epoch(task, strengths, COUNT)
    for batch_size in (1, 7, 16):
        others, other_labels = _epoch(task, strengths, batch_size)
        torch.testing.assert_close(others, images, atol=1e-5, rtol=1e-5)
        assert torch.equal(other_labels, labels)


@pytest.mark.parametrize("crop", ["none", "shift", "resized"])
@pytest.mark.parametrize("strengths", [{}, *EACH.values(), EVERYTHING], ids=["nothing", *EACH, "everything"])
def test_a_sample_is_the_same_in_either_memory_format(strengths: dict[str, Any], crop: Any) -> None:
    task, chosen = _task(Augment(crop=crop, flip=True)), Hyperparameters(**strengths)
    images, last = (_all(Batches(task, chosen, channels_last=form).train(0, 16, 5))[0] for form in (False, True))
    torch.testing.assert_close(last, images, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("strengths", [*EACH.values(), EVERYTHING], ids=[*EACH, "everything"])
def test_each_changes_images_anew_each_epoch_and_evaluation_never(strengths: dict[str, Any]) -> None:
    task = _task(Augment(crop="none", flip=False))
    plain, order = _epoch(task, {})
    images, labels = _epoch(task, strengths)
    assert images.shape == plain.shape
    assert torch.equal(labels.argmax(1) if labels.ndim == 2 else labels, order)
    assert (images != plain).flatten(1).any(1).float().mean() > 0.2
    assert torch.isfinite(images).all()
    again, _ = _epoch(task, strengths, epoch=1)
    assert not torch.equal(images, again)
    for split in ("val", "test"):
        changed = Batches(task, Hyperparameters(**strengths)).evaluate(split, 4)
        assert torch.equal(_all(changed)[0], _all(Batches(task).evaluate(split, 4))[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("strengths", [*EACH.values(), EVERYTHING], ids=[*EACH, "everything"])
def test_a_gpu_changes_images_alike(strengths: dict[str, Any]) -> None:
    task, chosen = _task(Augment(crop="shift", flip=True)), Hyperparameters(**strengths)
    images, labels = _all(Batches(task, chosen, device="cuda").train(0, 16, 5))
    wanted, wanted_labels = _epoch(task, strengths)
    # A grey level more or less, where a GPU rounds a sum of pixels differently.
    assert (torch.isclose(images.cpu(), wanted, atol=1e-3).float().mean()) > 0.98
    torch.testing.assert_close(labels.cpu(), wanted_labels)


def test_what_one_draws_does_not_depend_on_what_else_is_on() -> None:
    """So a strength that is searched, or mutated, changes nothing but what it is about."""
    task = _task(Augment(crop="shift", flip=True))
    erased, _ = _epoch(task, {"random_erasing": 0.5})
    both, _ = _epoch(task, {"random_erasing": 0.5, "vertical_flip": 1.0})
    plain, _ = _epoch(task, {})
    hidden = erased != plain
    assert torch.equal(both, torch.where(hidden, 0.0, plain.flip(2)))


def test_vertical_flips_are_as_many_as_asked_for() -> None:
    task = _task(Augment(crop="none", flip=False))
    plain, _ = _epoch(task, {})
    changed, _ = _epoch(task, {"vertical_flip": 0.25})
    turned = (changed != plain).flatten(1).any(1)
    assert torch.equal(changed[turned], plain[turned].flip(2))
    assert 0.05 < turned.float().mean() < 0.45


def test_rotation_turns_about_the_middle_and_shows_no_border() -> None:
    """Seen on an image of one colour, which stays as it is, and at its middle, which stays where it is."""
    task = _task(Augment(crop="shift", flip=False), 1)
    task.images[:] = 100
    task.images[:, 7:9, 7:9] = 200
    images, _ = _epoch(task, {"rotation": 180})
    pixels = (images * 0.2 + 0.3) * 255
    assert pixels.min() > 99
    assert pixels.mean() > 100.5


@pytest.mark.parametrize("strengths", [EACH["mixup"], EACH["cutmix"], EACH["mixup and cutmix"]], ids=str)
def test_mixtures_are_of_two_neighbours_and_so_are_their_labels(strengths: dict[str, Any]) -> None:
    task = _task(Augment(crop="none", flip=False))
    plain, order = _epoch(task, {})
    images, targets = _epoch(task, strengths)
    torch.testing.assert_close(targets.sum(1), torch.ones(COUNT))
    others = torch.roll(order, -1)
    shares = targets[torch.arange(COUNT), order]
    torch.testing.assert_close(shares + targets[torch.arange(COUNT), others], torch.ones(COUNT))
    assert shares.min() >= 0.5 - 1e-6
    partner = torch.roll(plain, -1, 0)
    # What is left of an image is its share of all pixels, be it a part of each or each of a part.
    expected = torch.lerp(partner.double(), plain.double(), shares.view(-1, 1, 1, 1).double())
    blended = torch.isclose(images.double(), expected, atol=1e-4).flatten(1).all(1) & (shares < 1)
    own = torch.isclose(images, plain).all(1).flatten(1)
    pasted = (own | torch.isclose(images, partner).all(1).flatten(1)).all(1)
    assert (blended | pasted).all()
    torch.testing.assert_close(own.float().mean(1)[pasted], shares[pasted], atol=1e-5, rtol=0)
    both = len(strengths) == 2
    assert blended.any() == ("mixup" in strengths)
    assert pasted.any() == (both or "cutmix" in strengths)


@pytest.mark.parametrize("alpha", [1e-9, 0.2, 1.0, 100.0])
def test_the_larger_shares_are_those_of_a_beta_distribution(alpha: float) -> None:
    shares = mixing.larger_shares(alpha, 20000, 3).double()
    assert shares.min() >= 0.5
    assert shares.max() <= 1
    # Of X from Beta(a, a): E (X - 1/2)^2 = 1 / (4 (2a + 1)), which taking the larger of X and 1 - X leaves as it is.
    assert ((shares - 0.5) ** 2).mean() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_erased_boxes_have_the_promised_areas_and_lie_inside() -> None:
    side = 100
    boxes = mixing.erased_boxes(torch.rand(5000, 5, generator=torch.Generator().manual_seed(0)), 0.4, side)
    erased = boxes[boxes[:, 1] > 0]
    assert len(erased) / 5000 == pytest.approx(0.4, abs=0.03)
    assert erased.min() >= 0
    assert erased.max() <= side
    height, width = (erased[:, 1] - erased[:, 0]).float(), (erased[:, 3] - erased[:, 2]).float()
    areas = height * width / side**2
    assert areas.min() > 0.01
    assert areas.max() < 0.34
    assert areas.mean() == pytest.approx(0.177, abs=0.01)
    assert (height / width).log().mean() == pytest.approx(0, abs=0.05)
    left = mixing.outside(boxes, torch.zeros(len(boxes), 1, side, side))
    torch.testing.assert_close(1 - left.flatten(1).mean(1), mixing.areas_of(boxes, side))


def test_a_single_image_is_mixed_with_itself() -> None:
    task = _task(Augment(crop="none", flip=False))
    alone = Batches(Task(**{**task.__dict__, "splits": {**task.splits, "train": np.array([3])}}),
                    Hyperparameters(mixup=1.0, cutmix=1.0))  # fmt: skip
    (images, targets), = alone.train(0, 8, 0)  # fmt: skip
    torch.testing.assert_close(images, _all(alone.train(1, 8, 0))[0])
    assert targets[0, 3] == 1


def test_a_contact_sheet_shows_what_training_makes_of_images() -> None:
    task = _task(Augment(crop="none", flip=False))
    plain = contact_sheet(task)
    assert contact_sheet(task, Hyperparameters(), seed=1) == plain
    assert contact_sheet(task, Hyperparameters(**EVERYTHING), seed=1) != plain
