"""What the heads of trials will begin with, tried before a sweep without solving anything."""

from dataclasses import replace

import numpy as np

from tlsweep.data.task import Indices
from tlsweep.models import Weights
from tlsweep.models.probe import LinearHead, Progress
from tlsweep.pretrained.features import Features
from tlsweep.pretrained.starting import beginning, begins_with
from tlsweep.spec import SweepSpec
from tlsweep.sweep.heads import refuse_without_probe
from tlsweep.sweep.prepare import Prepared
from tlsweep.training.devices import Compute
from tlsweep.training.networks import new_network
from tlsweep.training.transfer import Transfer

IMAGES = 16
"""Of the training and of the validation split, which is enough to see whether a network takes a head."""


def try_heads(spec: SweepSpec, prepared: Prepared, compute: Compute) -> tuple[str, ...]:
    """Say what the heads of trials begin with, and why: a line for each of the weights with which that is another.

    Raises:
        HeadUnfitError: the head that the spec names cannot be had in its network.
    """
    lines = []
    for name in spec.model.origins:
        transfer = prepared.transfer(spec, prepared.weights.get(name))
        if name in prepared.sources:  # its weights are still to be made
            state = new_network(transfer).module.state_dict()
            transfer = replace(transfer, weights=Weights.from_state_dict(state, origin=name))
        lines.append(_tried(spec, transfer, compute))
    return tuple(dict.fromkeys(lines))


def _tried(spec: SweepSpec, transfer: Transfer, compute: Compute) -> str:
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
