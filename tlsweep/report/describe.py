"""A spec in a few words, for headings."""

from collections.abc import Mapping
from typing import Any

from tlsweep.spec import (
    FunctionSpec,
    ImageSpec,
    ModelSpec,
    SourceTask,
    SweepSpec,
)


def describe_search(spec: SweepSpec) -> str:
    """TrialSchedule and size: 'pbt: 8 members × 20 epochs × 2 arms (main, scratch)'."""
    trained = spec.trained_arms
    arms = f" × {len(trained)} arms ({', '.join(trained)})" if len(trained) > 1 else ""
    runs = f" × {named}" if (named := describe_runs(spec)) else ""
    trials = spec.search.in_words(spec.trials_per_arm)
    return f"{spec.search.strategy}: {trials} × {spec.epochs} epochs{runs}{arms}"


def describe_runs(spec: SweepSpec) -> str:
    """The networks of each trial: '5 folds', '3 repeats', '5 folds × 2 repeats'; empty where it is one."""
    if not isinstance(spec, ImageSpec):
        return ""
    data = spec.data
    folds = [f"{data.folds} folds"] if data.folds else []
    return " × ".join(folds + ([f"{data.repeats} repeats"] if data.repeats > 1 else []))


def unplaced_heads(spec: SweepSpec, environment: Mapping[str, Any]) -> list[str]:
    """Why trials began with torch's own heads though they have weights and nobody asked for that; a line for each."""
    known = environment.get("head") or {}
    if not isinstance(spec, ImageSpec) or spec.train.settings().head != "auto":
        return []
    return [
        f"heads began with torch's own initialisation, {known[name]['why']}"
        for name, origin in spec.model.origins.items()
        if origin is not None and name in known and known[name]["begins_with"] == "random"
    ]


def describe_model(spec: SweepSpec) -> str:
    """Network, weights and images: 'cnn, pretrained on digits (source), on digits (target)'; or the function."""
    if isinstance(spec, FunctionSpec):
        return spec.trial
    assert isinstance(spec, ImageSpec)
    return f"{spec.model.name}, {_weights(spec.model)}, on {spec.data.in_words}"


def _weights(model: ModelSpec) -> str:
    if len(model.origins) > 1:
        return f"one of the weights {', '.join(model.origins)}"
    if isinstance(model.weights, SourceTask):
        return f"pretrained on {model.weights.data.in_words}"
    if model.weights is None:
        return "random weights"
    return f"weights {model.weights}"
