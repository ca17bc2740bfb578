"""A task: labelled images, split. What the data rooms hand to everything that follows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tlsweep.data.duplicates import Duplicates
from tlsweep.data.findings import Findings
from tlsweep.data.rendering import Rendering
from tlsweep.spec import Augment, Normalise, derive_seed
from tlsweep.spec.federation import Split

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Run:
    """One of the networks that a trial trains side by side: who trains and who validates it."""

    fold: int
    """The number of its fold in the cross-validation, from 0; 0 without one."""
    repeat: int
    """The number of its repeat, from 0."""
    train: Indices
    val: Indices
    """Disjoint, sorted indices into the images."""

    def seed(self, seed: int) -> int:
        """What is drawn for this run follows from it: for the first from `seed` itself, as in a trial of one run."""
        if self.fold or self.repeat:
            return derive_seed(seed, "run", self.repeat, self.fold)
        return seed


@dataclass(frozen=True)
class Federation:
    """Among whom the images of a task are divided; `tlsweep.data.federation.clients_of` says who has which."""

    clients: int
    split: Split
    seed: int
    """The sweep's."""


@dataclass(frozen=True)
class Task:
    """All images of a data set once, and its splits as indices into them: folds and few-shot subsets copy nothing.

    Plain numpy, so that Ray's object store shares it between trials without a copy.
    """

    images: Any
    """uint8 array of shape (N, H, W, C), C = 1 or 3, H = W; may be read-only or memory-mapped. For sets above
    `memory_limit` instead a `Mapped` or a `Streamed` (tlsweep/data/pixels) with the same `shape`, and `load(indices) ->
    uint8 array (len, H, W, C)`."""
    labels: Indices
    """Shape (N,): whole numbers from 0 to len(classes) - 1."""
    splits: Mapping[str, Indices]
    """`train`, `val`, `test`: disjoint, sorted indices into `images`; none is empty."""
    classes: tuple[str, ...]
    """Names of the classes, at least two."""
    mean: tuple[float, ...]
    """What is subtracted from each channel, pixels scaled to 0..1: its mean over the training split, unless `normalize`
    or the weights say otherwise."""
    std: tuple[float, ...]
    """What each channel is then divided by; never 0."""
    moments: npt.NDArray[np.int64]
    """Shape (N, 2, C): for each image and channel the sum of its pixels and that of their squares, from which mean and
    std of any other training split follow."""
    image_size: int
    """Side of the square that the network sees; at most H."""
    augment: Augment
    """Random changes of training images."""
    fingerprint: str
    """Hash of content, splits and recipe: tasks with the same one are the same."""
    skipped: tuple[str, ...] = field(default=())
    """Files that were left out because they do not decode (`on_bad_image: skip`)."""
    set_aside: tuple[str, ...] = field(default=())
    """Splits that the source does not have: their images are some of those that it gives for training."""
    runs: tuple[Run, ...] = field(default=())
    """The splits of each network, where a trial trains several (`folds`, `repeats`). Those of the task itself are the
    first's; `tlsweep.data.views.run_tasks` gives the others. Empty: one network."""
    federation: Federation | None = field(default=None)
    """The clients, where it is trained on by some that see their own images alone."""

    normalize: Normalise = field(default="train")
    """The origin of `mean` and `std`; those of the weights are put in where the weights are known."""
    rendering: Rendering = field(default=Rendering())
    """How an image became a square."""
    findings: Findings = field(default=Findings())
    """What is odd about the images."""
    notes: tuple[str, ...] = field(default=())
    """What the user should know of how images were found, a line each: what was left out."""
    duplicates: Duplicates = field(default=Duplicates())
    """Images that are there more than once."""
    hashes: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    """Shape (N,): by which pictures that are nearly the same are found."""
    pixels: str = field(default="")
    """Hash of all pixels and labels, whatever the splits; empty where nobody has computed it."""

    @property
    def channels(self) -> int:
        """Channels of the images: 1 (grey) or 3 (colour)."""
        return int(self.images.shape[3])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know of the images, a line each."""
        return (*self.findings.in_words(), *self.duplicates.in_words(), *self.notes)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def size(self, split: str) -> int:
        """How many images a split has."""
        return len(self.splits[split])
