"""Who has which image: each exactly once, whatever the split, the labels and the seed."""

import random
from dataclasses import replace

import numpy as np
import pytest

from tlsweep.data import Task, load_task
from tlsweep.data.federation import clients_of
from tlsweep.data.federation.partition import MIN_IMAGES, divide
from tlsweep.data.task import Federation
from tlsweep.errors import DataError
from tlsweep.spec import DigitsData
from tlsweep.spec.federation import Split

SPLITS = [
    Split(),
    *(Split(dirichlet=alpha) for alpha in (0.001, 0.1, 1.0, 1e6)),
    *(Split(classes=k) for k in (1, 2, 3)),
]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """10 of each class to train on."""
    return load_task(DigitsData(source="digits", labels_per_class=10), 0, cache=tmp_path_factory.mktemp("digits"))


def labels_of(draw: random.Random) -> np.ndarray:
    """Training labels of three to six classes, some of them rare."""
    counts = [draw.choice([30, 60, 200]) for _ in range(draw.randint(3, 6))]
    found = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(draw.randrange(100)).shuffle(found)
    return found


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.in_words)
@pytest.mark.parametrize("seed", range(8))
def test_every_image_has_one_client_and_every_client_enough(split: Split, seed: int) -> None:
    draw = random.Random(seed)
    labels, clients = labels_of(draw), draw.randint(6, 12)
    owners = divide(labels, Federation(clients, split, seed))
    assert owners.shape == labels.shape
    counts = np.bincount(owners, minlength=clients)
    assert len(counts) == clients
    assert counts.min() >= MIN_IMAGES
    if split.classes is not None:
        assert max(len(np.unique(labels[owners == client])) for client in range(clients)) <= split.classes
        for label in np.unique(labels):
            shares = np.unique(owners[labels == label], return_counts=True)[1]
            assert shares.max() - shares.min() <= 1
    if split == Split():
        assert counts.max() - counts.min() <= 1
    assert np.array_equal(owners, divide(labels, Federation(clients, split, seed)))
    assert not np.array_equal(owners, divide(labels, Federation(clients, split, seed + 1)))


def test_shares_are_distributed_as_the_dirichlet_distribution_says() -> None:
    """Against moments from the literature: mean 1 / K, variance (K - 1) / K^2 / (K alpha + 1)."""
    labels = np.repeat(np.arange(200), 500)
    for alpha, clients in ((0.1, 5), (1.0, 4), (50.0, 3)):
        owners = divide(labels, Federation(clients, Split(dirichlet=alpha), 3))
        shares = np.stack([np.bincount(owners[labels == label], minlength=clients) for label in range(200)]) / 500
        assert shares.mean(0) == pytest.approx(1 / clients, abs=0.08)
        assert shares.var() == pytest.approx((clients - 1) / clients**2 / (clients * alpha + 1), rel=0.15)


@pytest.mark.parametrize(
    ("split", "clients", "message"),
    [
        (Split(), 51, r"clients = 51: each needs 2 images, .* and there are 100 to train on; write at most 50"),
        (Split(dirichlet=0.1), 1000, "clients = 1000"),
        (Split(classes=5), 10, r"split = {classes: 5}: must be at most 4, as there are 4 classes and 10 clients"),
        (Split(classes=1), 3, r"split = {classes: 1}: must be at least 2, as there are 4 classes and 3 clients"),
        (Split(classes=3), 1, r"must be at least 4, as there are 4 classes and 1 client$"),
        (Split(classes=1), 45, r"leaves client \d+ of 45 with [01] images, and each needs 2"),
    ],
)
def test_too_few_images_or_classes_are_one_message(split: Split, clients: int, message: str) -> None:
    labels = np.repeat(np.arange(4), [10, 30, 30, 30])
    with pytest.raises(DataError, match=message):
        divide(labels, Federation(clients, split, 0))


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.in_words)
def test_validation_images_follow_the_classes_of_their_clients(digits: Task, split: Split) -> None:
    task = replace(digits, federation=Federation(10, split, 5))
    clients = clients_of(task)
    assert sorted(np.concatenate(clients.train)) == digits.splits["train"].tolist()
    assert len(clients.val) == digits.size("val")
    assert clients.val_images.sum() == digits.size("val")
    val_labels = digits.labels[digits.splits["val"]]
    for label in range(10):
        having = np.array([(digits.labels[own] == label).sum() for own in clients.train])
        given = np.bincount(clients.val[val_labels == label], minlength=10)
        assert np.abs(given - having / having.sum() * given.sum()).max() < 1
    right = np.random.default_rng(0).random(digits.size("val")) < 0.7
    for client, accuracy in enumerate(clients.accuracies(right)):
        own = right[clients.val == client]
        assert accuracy == (pytest.approx(own.mean()) if len(own) else None)
    assert clients.fingerprint == clients_of(task).fingerprint
    assert clients.fingerprint != clients_of(replace(digits, federation=Federation(10, split, 6))).fingerprint


def test_what_clients_have_is_said(digits: Task) -> None:
    assert clients_of(replace(digits, federation=Federation(10, Split(), 0))).in_words == (
        "10 clients with 10 training images"
    )
    splits = {**digits.splits, "val": digits.splits["val"][:10]}
    few = clients_of(replace(digits, splits=splits, federation=Federation(40, Split(), 0)))
    without = int((few.val_images == 0).sum())
    assert without >= 30
    assert few.in_words == (
        f"40 clients with 2 to 3 training images; {without} without a validation image have no part in val_worst_client"
    )
