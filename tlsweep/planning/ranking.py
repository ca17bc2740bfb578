"""`rank`: which backbone and weights suit the images, from the features that they give before any training."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from tlsweep.data import Task, load_task
from tlsweep.data.task import Indices
from tlsweep.data.views import with_splits
from tlsweep.errors import SpecError
from tlsweep.observer import Observer, Silence
from tlsweep.spec import ImageSpec, ModelSpec, SourceTask, derive_seed
from tlsweep.sweep.prepare import read_images, source_cache

if TYPE_CHECKING:
    from tlsweep.models import Weights
    from tlsweep.planning.transferability import Scores
    from tlsweep.training import Transfer

Measure = Literal["probe", "logme", "h_score", "knn"]


@dataclass(frozen=True)
class Ranked:
    """A candidate and how it did."""

    model: ModelSpec
    parameters: int
    width: int
    """How many features it has."""
    scores: "Scores"
    seconds: float
    """The time for features and scores; short where the features were kept from before."""


@dataclass(frozen=True)
class Ranking:
    """What `tlsweep rank` prints."""

    by: Measure
    train_images: int
    val_images: int
    image_size: int
    candidates: tuple[Ranked, ...]
    """The best first."""


def make_ranking(
    spec: ImageSpec,
    candidates: Iterable[str] = (),
    *,
    by: Measure = "probe",
    images: int = 5000,
    observer: Observer | None = None,
) -> Ranking:
    """Score the network of a spec with its weights and with random ones, and other candidates, `MODEL[=WEIGHTS]` each.

    The order is by the accuracy of the linear probe unless `by` says otherwise, since that is measured on images that
    the probe has not seen, and means the same for features of any width; LogME decides between equals.

    Args:
        images: how many training images and validation images are used, or a few more: a draw by `spec.seed`,
            with all classes in it.

    Raises:
        UserError: a candidate is no network, or does not fit its weights or the images.
    """
    from tlsweep.models import validate_model
    from tlsweep.training import Transfer

    watcher = observer or Silence()
    models = _candidates(spec.model, candidates)
    watcher.phase("reading images")
    task = read_images(spec, watcher)
    task = with_splits(task, {name: _some(task, name, images, spec.seed) for name in ("train", "val")})
    for model in models:
        # Each of them before the first is computed: features may take minutes.
        validate_model(model, num_classes=task.num_classes, channels=task.channels, image_size=task.image_size)
    transfers = [Transfer(task, model, _weights(spec, model, watcher), spec.seed) for model in models]
    ranked = [_assess(transfer, watcher) for transfer in transfers]
    order = sorted(ranked, key=lambda candidate: _order(candidate.scores, by), reverse=True)
    return Ranking(by, task.size("train"), task.size("val"), task.image_size, tuple(order))


def _candidates(own: ModelSpec, others: Iterable[str]) -> list[ModelSpec]:
    """What the spec may start from, the same network with random weights, and the others; each once."""
    models = [own.starting_from(origin) for origin in (*own.origins.values(), None)]
    models += [_parse(text, own) for text in others]
    return [model for at, model in enumerate(models) if model not in models[:at]]


def _parse(text: str, own: ModelSpec) -> ModelSpec:
    """Read `MODEL` (random weights) or `MODEL=WEIGHTS`; the spec's own network keeps its arguments."""
    name, _, weights = text.partition("=")
    if not name.strip():
        raise SpecError(
            f"candidate '{text}' names no network; write MODEL or MODEL=WEIGHTS, for example resnet18=DEFAULT"
        )
    args = own.args if name == own.name else {}
    return ModelSpec(name=name, weights=weights or None, args=args)


def _some(task: Task, split: str, images: int, seed: int) -> Indices:
    """All of a split, or the same share of each class, rounded up; sorted."""
    indices = task.splits[split]
    if len(indices) <= images:
        return indices
    share = images / len(indices)
    kept = []
    for label in range(task.num_classes):
        members = indices[task.labels[indices] == label]
        order = np.random.default_rng(derive_seed(seed, "ranking", split, label)).permutation(len(members))
        kept.append(members[order[: int(np.ceil(share * len(members)))]])
    return np.sort(np.concatenate(kept))


def _weights(spec: ImageSpec, model: ModelSpec, observer: Observer) -> "Weights | None":
    """The weights of a candidate; a source task is trained on unless that was done before."""
    from tlsweep.models import resolve_weights
    from tlsweep.pretrained import pretrained
    from tlsweep.training import Compute

    if not isinstance(model.weights, SourceTask):
        return resolve_weights(model)
    observer.phase("reading the source task's images")
    source = load_task(model.weights.data, spec.seed, progress=observer.progress)
    observer.phase("pretraining on the source task")
    return pretrained(
        model.weights, model, source, seed=spec.seed, cache=source_cache(),
        compute=Compute(threads=spec.resources.threads), progress=observer.progress,
    )  # fmt: skip


def _assess(transfer: "Transfer", observer: Observer) -> Ranked:
    from tlsweep.planning.transferability import score
    from tlsweep.pretrained.features import feature_cache, features
    from tlsweep.training.networks import new_network

    began = time.perf_counter()
    origin = transfer.weights.origin if transfer.weights else "random weights"
    name = f"{transfer.model.name}, {origin}"
    of = partial(features, transfer, cache=feature_cache(), progress=observer.progress)
    observer.phase(f"features of {name}: training images")
    train = of("train")
    observer.phase(f"features of {name}: validation images")
    val = of("val")
    observer.phase(f"scores of {name}")
    scores = score(*train, *val)
    network = new_network(transfer)
    parameters = sum(parameter.numel() for parameter in network.module.parameters())
    return Ranked(transfer.model, parameters, train[0].shape[1], scores, time.perf_counter() - began)


def _order(scores: "Scores", by: Measure) -> tuple[float, float]:
    """Make scores comparable; what is not a number comes last."""
    first, second = (float(np.nan_to_num(getattr(scores, name), nan=-np.inf)) for name in (by, "logme"))
    return first, second
