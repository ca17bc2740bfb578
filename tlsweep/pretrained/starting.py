"""What the new head of a trial begins with: the linear probe's solution, zeros, or torch's own initialisation."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional as F

from tlsweep.data.task import Indices
from tlsweep.errors import ModelError
from tlsweep.models import Network, Weights
from tlsweep.models.architectures import is_own_code
from tlsweep.models.probe import LinearHead, Progress, as_linear_head, fitted
from tlsweep.models.starting_head import (
    HeadUnfitError,
    StartingHead,
    has_bias,
    head_of,
    lift,
    lowest_output,
    place,
    place_zeros,
    same_logits,
    tensors_of,
)
from tlsweep.pretrained.features import Features, features
from tlsweep.pretrained.kept import kept
from tlsweep.spec import TrainSettings
from tlsweep.training.devices import Compute, choose_device, isolated, lower_precision, move_to_device
from tlsweep.training.evaluation import evaluate, evaluation_batch_size, make_batches
from tlsweep.training.frozen import FeatureSource, Way, evaluated_way
from tlsweep.training.metrics import FIGURES
from tlsweep.training.microbatch import MicroBatch
from tlsweep.training.networks import new_network
from tlsweep.training.transfer import Transfer

VERSION = 6
"""Raised whenever the same arguments give another head, so that kept ones are not used."""
MARGIN = 1.25
"""How far above what is needed for training images a head is lifted, for the sake of others."""


Solve = Callable[[Features, Indices, bool, Progress], LinearHead]


def _probe(found: Features, labels: Indices, bias: bool, progress: Progress) -> LinearHead:
    """The logistic regression on the features."""
    # On two busy cores a second thread made it 4 times slower (planning/transferability.py).
    with threadpool_limits(1):
        return as_linear_head(fitted(found.astype(np.float64), labels, bias=bias, progress=progress))


NAMES = {"probe": "the probe's solution", "zero": "zeros", "random": "torch's own initialisation"}


@dataclass(frozen=True)
class Beginning:
    """What the heads of a trial begin with."""

    how: str
    """`probe`, `zero` or `random`."""
    why: str
    heads: tuple[StartingHead, ...] = ()
    """That of each run; empty for torch's own initialisation."""

    @property
    def in_words(self) -> str:
        """What `check` prints."""
        return f"{NAMES[self.how]}, {self.why}"


def begins_with(settings: TrainSettings, weights: Weights | None) -> Beginning:
    """What `train.head` comes to with these weights, as far as is known before it is tried."""
    if settings.head == "auto" or (settings.head == "probe" and weights is None):
        there = "are weights" if weights else "are no weights"
        return Beginning("probe" if weights else "random", f"as there {there}")
    return Beginning(settings.head, "as train.head says")


def started(transfer: Transfer, settings: TrainSettings, **options: Any) -> Transfer:
    """Add what the head of each run begins with to a transfer; the arguments and what it raises are `beginning`'s."""
    return replace(transfer, heads=beginning(transfer, settings, **options).heads)


def beginning(
    transfer: Transfer,
    settings: TrainSettings,
    *,
    cache: Path | None = None,
    features_cache: Path | None = None,
    features: FeatureSource | None = None,
    compute: Compute = Compute(),
    solve: Solve = _probe,
    progress: Progress = lambda done, total: None,
) -> Beginning:
    """Find what the head of each run begins with.

    Args:
        transfer: of a trial. Its seed does not matter where it has weights: all trials begin at one point.
        settings: say which head is wanted.
        cache: folder to read solutions from if they are there, and to leave them in. Those of your own code are never
            kept, as that may change; None keeps none.
        features_cache: the same for the features that they are solved on.
        features: has those on which trials train their heads, to see by how far the solution gets.
        compute: as for a trial.
        solve: makes a head of features, labels, and whether it has a bias.
        progress: told while they are found; of each run half is for the features.

    Raises:
        HeadUnfitError: the head that is asked for by name cannot be had in this network.
        ModelError, ResourceError, ResultsError: as `features`.
    """
    planned = begins_with(settings, transfer.weights)
    if planned.how == "random":
        return planned

    runs = transfer.runs()

    def begun(at: int, run: Transfer) -> StartingHead:
        def told(done: int, total: int) -> None:
            progress(_PARTS * at + _PARTS * done // total, _PARTS * len(runs))

        def make() -> StartingHead:
            with isolated(compute) as device:
                tried = _Tried.of(run, device, settings, features)
            if planned.how == "zero":
                return _zero(tried, compute)
            return _solved(tried, features_cache, compute, solve, told)

        return _kept(run, planned.how, make, cache, compute)

    # Not in a checkpoint's stead: it holds the head that training made of this one (checkpoint.py, changed_tensors).
    try:
        return replace(planned, heads=tuple(begun(at, run) for at, run in enumerate(runs)))
    except HeadUnfitError as error:
        if settings.head == "auto":
            return Beginning("random", f"as the probe's solution cannot be placed: {error}")
        reason = f"train.head = {planned.how}: {error}; write train.head: random"
        raise HeadUnfitError(reason) from None


_PARTS = 100
"""That progress tells of each run."""


def _kept(
    run: Transfer, how: str, make: Callable[[], StartingHead], cache: Path | None, compute: Compute
) -> StartingHead:
    if cache is None or is_own_code(run.model.name):
        return make()
    path = cache / f"{_key(run, how, choose_device(compute.device))}.safetensors"
    return kept(
        path,
        "starting heads",
        read=lambda: _read(path),
        make=make,
        as_bytes=_as_file,
    )


@dataclass(frozen=True)
class _Tried:
    """A network in which a head is placed, to see how far that gets."""

    network: Network
    run: Transfer
    device: str
    way: Way
    """How it makes logits."""

    @classmethod
    def of(cls, run: Transfer, device: str, settings: TrainSettings, features: FeatureSource | None) -> "_Tried":
        network = new_network(run)
        channels_last = move_to_device(network.module.eval(), device)
        batches = make_batches(run.task, device, channels_last=channels_last)
        way = Way(batches, network.module)
        # Those of trials that compute otherwise are others.
        if features is not None and settings.channels_last == "auto" and lower_precision(settings, device) is None:
            way = evaluated_way(
                network, batches, run, features, settings=settings, device=device, channels_last=channels_last
            )
        return cls(network, run, device, way)

    def images(self, split: str, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """What logits are made of, and the labels."""
        return self.way.batches.evaluate(split, size)

    def as_it_is(self) -> StartingHead:
        """The head as it stands in the network, and how far that gets."""
        micro_batch = MicroBatch("evaluation", self.device)
        evaluation = evaluate(self.way, self.run.task, "val", micro_batch)
        return StartingHead(tensors_of(self.network), {name: getattr(evaluation, name) for name in FIGURES})


def _solved(tried: _Tried, cache: Path | None, compute: Compute, solve: Solve, progress: Progress) -> StartingHead:
    """What is solved on the features of the run's own training images."""
    try:
        computed: Progress = lambda done, total: progress(done, 2 * total)  # noqa: E731
        found, labels = features(tried.run, "train", cache=cache, compute=compute, progress=computed)
    except ModelError as error:  # of your own networks, which train all the same
        raise HeadUnfitError(str(error)) from error
    if len(found) != len(labels):
        raise HeadUnfitError(f"the head is given {len(found)} vectors for {len(labels)} images")
    if not np.isfinite(found).all():
        raise HeadUnfitError("the network gives features that are no finite numbers")
    with isolated(compute):
        bias = has_bias(tried.network)
        solution = solve(found, labels, bias, lambda done, total: progress(total + done, 2 * total))
        place(tried.network, solution)
        with torch.inference_mode():
            _let_through(tried, solution, found)
        return tried.as_it_is()


def _let_through(tried: _Tried, solution: LinearHead, found: Features) -> None:
    """See to it that the network gives what its head does.

    In SqueezeNet a ReLU stands between the head, a convolution, and the mean over its places: what is negative there is
    lost. The same constant is added to all classes, so that nothing is, and no probability changes.

    Raises:
        HeadUnfitError: something else stands between them.
    """
    network, micro_batch = tried.network, MicroBatch("features", tried.device)
    size = evaluation_batch_size(tried.run.task)
    images, labels = next(iter(tried.images("train", size)))
    # Computed outside of the network, where nothing can stand between the features and the logits.
    expected = torch.from_numpy(found[: len(labels)] @ solution.weight.T + solution.bias).to(tried.device)

    def agrees() -> bool:
        parts = micro_batch.run(lambda some, _: tried.way.forward(some).float(), images, labels)
        return same_logits(torch.cat(parts), expected)

    if agrees():
        return
    # Of all images and not of these few, which may be of one class: one place below 0 would be bent.
    lowest = 0.0
    for images_of_all, labels_of_all in tried.images("train", size):
        parts = micro_batch.run(
            lambda some, _: lowest_output(network, tried.way.forward, some), images_of_all, labels_of_all
        )
        lowest = min(lowest, *parts)
    lift(network, -MARGIN * lowest)
    if not agrees():
        raise HeadUnfitError(
            f"what the network gives is no longer linear in its features behind the head ({network.groups[-1].name})"
        )


def _zero(tried: _Tried, compute: Compute) -> StartingHead:
    """Zeros, so that all classes are equally likely; ones as bias where a ReLU behind the head would let no gradient
    through."""
    with isolated(compute):
        place_zeros(tried.network)
        if not _learns(tried, *next(iter(tried.images("train", 2)))):
            lift(tried.network, 1.0)
        return tried.as_it_is()


def _learns(tried: _Tried, images: Tensor, labels: Tensor) -> bool:
    """Whether the head has a gradient."""
    parameters = list(head_of(tried.network).parameters())
    loss = F.cross_entropy(tried.way.forward(images).float(), labels)
    return any(bool(gradient.any()) for gradient in torch.autograd.grad(loss, parameters))


def _key(run: Transfer, how: str, device: str) -> str:
    """A hash of what a head follows from; where images came from is in the fingerprint, with all splits."""
    task, weights = run.task, run.weights
    recipe = {
        "version": VERSION,
        "packages": [torch.__version__, version("scikit-learn")],
        "device": torch.device(device).type,
        "head": how,
        "data": [task.fingerprint, task.image_size, task.mean, task.std],
        "model": [run.model.name, run.model.args],
        "weights": weights.sha256 if weights else ["random", run.seed],
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]


_FIGURES = "figures"
"""Those on the validation split, beside the tensors, in the order of `FIGURES`; NaN for one that is not defined."""


def dump_heads(heads: Mapping[str, Sequence[StartingHead]]) -> bytes:
    """The heads of a sweep as one file."""
    parts = {json.dumps([name, at]): _as_file(head) for name, runs in heads.items() for at, head in enumerate(runs)}
    content: bytes = safetensors.numpy.save({name: np.frombuffer(part, np.uint8) for name, part in parts.items()})
    return content


def load_heads(content: bytes) -> dict[str, tuple[StartingHead, ...]]:
    """What `dump_heads` wrote; empty where that cannot be read."""
    found: dict[str, tuple[StartingHead, ...]] = {}
    try:
        parts = {tuple(json.loads(name)): part for name, part in safetensors.numpy.load(content).items()}
        for name, _ in sorted(parts):
            head = _from_bytes(parts[name, len(found.get(name, ()))].tobytes())
            if head is None:
                return {}
            found[name] = (*found.get(name, ()), head)
    except (SafetensorError, LookupError, ValueError, TypeError):
        return {}
    return found


def _read(path: Path) -> StartingHead | None:
    try:
        return _from_bytes(path.read_bytes())
    except OSError:
        return None


def _from_bytes(content: bytes) -> StartingHead | None:
    try:
        tensors = safetensors.numpy.load(content)
        values = tensors.pop(_FIGURES).tolist()
        known = [None if math.isnan(value) else value for value in values]
        return StartingHead(tensors, dict(zip(FIGURES, known, strict=True)))
    except (SafetensorError, KeyError, ValueError, TypeError):
        return None


def _as_file(head: StartingHead) -> bytes:
    figures = np.array([math.nan if value is None else value for value in head.validation.values()])
    content: bytes = safetensors.numpy.save({**head.tensors, _FIGURES: figures})
    return content
