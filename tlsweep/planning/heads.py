"""What the heads of trials will begin with, and be trained on, tried before a sweep without solving anything."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tlsweep.data.task import Indices
from tlsweep.models import Weights
from tlsweep.models.probe import LinearHead, Progress
from tlsweep.models.tail import TailUnfitError
from tlsweep.pretrained.features import Features
from tlsweep.pretrained.starting import beginning, begins_with
from tlsweep.spec import ImageSpec
from tlsweep.sweep.assignment import configuration
from tlsweep.sweep.heads import KEPT, always_freezes, freezes, frozen_features, refuse_without_probe
from tlsweep.sweep.prepare import Prepared
from tlsweep.training.devices import Compute, isolated
from tlsweep.training.networks import new_network
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer

IMAGES = 16
"""Of the training and of the validation split, which is enough to see whether a network takes a head."""


def try_heads(spec: ImageSpec, prepared: Prepared, compute: Compute) -> tuple[str, ...]:
    """Say what the heads of trials begin with, and why: a line for each of the weights with which that is another.

    Raises:
        HeadUnfitError: the head that the spec names cannot be had in its network.
    """
    lines = []
    for name in spec.model.origins:
        transfer = prepared.transfer(spec, prepared.weights.get(name))
        if name in prepared.sources:  # its weights are still to be made
            transfer = _with_some_weights(transfer, name)
        lines.append(_tried(spec, transfer, compute))
    return tuple(dict.fromkeys(lines))


def try_features(spec: ImageSpec, prepared: Prepared, compute: Compute) -> tuple[str, ...]:
    """Say whether heads behind frozen layers are trained on kept features: a line for each of the weights with which
    that is another; none where no trial freezes its backbone."""
    lines = []
    for name in spec.model.origins if freezes(spec) else ():
        transfer = prepared.transfer(spec, prepared.weights.get(name))
        if name in prepared.sources:
            transfer = _with_some_weights(transfer, name)
        said = frozen_features(spec, transfer)
        if said == KEPT:
            said = _unfit(spec, transfer.runs()[0], compute) or KEPT
        lines.append(said)
    if lines and not on_kept_features(spec, lines):
        lines = [f"{line}; the time below is without that" if line == KEPT else line for line in lines]
    return tuple(dict.fromkeys(lines))


def on_kept_features(spec: ImageSpec, lines: Sequence[str]) -> bool:
    """Whether by these lines of `try_features` all that trials ever train is a head on kept features."""
    return always_freezes(spec) and set(lines) == {KEPT}


def _unfit(spec: ImageSpec, run: Transfer, compute: Compute) -> str | None:
    """Try the way from frozen layers to logits on some images."""
    frozen = configuration(spec, 0).model_copy(update={"freeze": "backbone"})
    try:
        with isolated(compute):
            Trainer(frozen, spec.train.settings(), run, compute).through(None)
    except TailUnfitError as error:
        return f"frozen layers compute in each epoch of each trial: {error}"
    return None


def _with_some_weights(transfer: Transfer, origin: str) -> Transfer:
    """The same with its own random values as weights, where those are still to be made."""
    state = new_network(transfer).module.state_dict()
    return replace(transfer, weights=Weights.from_state_dict(state, origin=origin))


def _tried(spec: ImageSpec, transfer: Transfer, compute: Compute) -> str:
    run = transfer.runs()[0]
    splits = {**run.task.splits, **{name: run.task.splits[name][:IMAGES] for name in ("train", "val")}}
    few = replace(run, task=replace(run.task, splits=splits))

    def at_random(found: Features, labels: Indices, bias: bool, progress: Progress) -> LinearHead:
        """Weights of both signs, so that a ReLU behind the head would lose some."""
        draw = np.random.default_rng(0).standard_normal((run.task.num_classes, found.shape[1] + 1), dtype=np.float32)
        return LinearHead(draw[:, :-1], draw[:, -1] * bias)

    found = beginning(few, spec.train.settings(), compute=compute, solve=at_random)
    refuse_without_probe(spec, begins_with(spec.train.settings(), transfer.weights), found)
    return found.in_words
