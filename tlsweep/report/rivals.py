"""What a recipe is set against when it is confirmed: the next best trials, a constant configuration, controls."""

from collections.abc import Iterator, Mapping
from typing import Any

from tlsweep.report.lineage import OF_LINEAGE, Segment, lineage
from tlsweep.spec import MAIN_ARM, Hyperparameters, ImageSpec, load_spec
from tlsweep.spec.images import require_images
from tlsweep.spec.model import WEIGHTS
from tlsweep.spec.search.study import HYPERRULE_ARM, PROBE_ARM, SOUP_ARM, TUTORIAL_ARM
from tlsweep.store import Results, SweepState, TrialState
from tlsweep.store.journal import read_events
from tlsweep.store.results import damaged

CONSTANT = "constant"
"""The rival whose learning rate and batch size never change."""
_HELD = {"lr_schedule": "constant", "warmup_epochs": 0.0, "decay_by": "lr"}

Steps = list[dict[str, Any]]


def with_rivals(results: Results, again: Mapping[str, Any], trial: str, top: int) -> dict[str, Any]:
    """Add to a spec, which trains a recipe again, what that is set against.

    Args:
        results: The sweep that found the recipe.
        again: The spec, as a mapping.
        trial: The winner.
        top: Trials of the sweep to train again, the winner included: the best by its metric that begin with the
            winner's weights, without those that were trained in the same way as a better one.

    Raises:
        ResultsError: the sweep has no such trial with a score.
    """
    spec, state = require_images(load_spec(again), "'tlsweep confirm'"), results.state()
    if trial not in (leader.trial for leader in state.leaders(MAIN_ARM, len(state.trials))):
        raise damaged(results.folder, "recipe.yaml", "its trial has no score in the journal")
    ranked = list(_trained(results, state, trial))
    winner = next(segments for name, segments in ranked if name == trial)
    known, rivals = [_steps(winner, spec)], dict[str, Steps]()
    for name, segments in ranked:
        steps = _steps(segments, spec)
        if len(rivals) < top - 1 and steps not in known:
            known.append(steps)
            rivals[name] = steps
    constant = _constant([segments for _, segments in ranked], winner, spec)
    if constant not in known:
        rivals[CONSTANT] = constant
    return {
        **again,
        "search": {**again["search"], "rivals": rivals, "claim": _claim(results, state, trial)},
        "controls": [*_probe(results, state, trial, spec), HYPERRULE_ARM, TUTORIAL_ARM],
    }


def _trained(results: Results, state: SweepState, trial: str) -> Iterator[tuple[str, list[Segment]]]:
    """How each trial of the main arm came to its best epoch that begins with the winner's weights, the best first."""
    events = read_events(results.folder.journal, OF_LINEAGE)
    weights = _best(state.trials[trial]).get(WEIGHTS)
    for leader in state.leaders(MAIN_ARM, len(state.trials)):
        best = _best(leader)
        if best.get(WEIGHTS) == weights:
            yield leader.trial, lineage(events, leader.trial, best["generation"], best["epoch"])


def _best(trial: TrialState) -> Mapping[str, Any]:
    assert trial.best is not None  # of leaders
    return trial.best


def _steps(segments: list[Segment], spec: ImageSpec) -> Steps:
    return [{"to_epoch": segment.to_epoch, "values": _differing(segment.hyperparameters, spec)} for segment in segments]


def _differing(values: Mapping[str, Any], spec: ImageSpec) -> dict[str, Any]:
    """The hyperparameters that are not as the spec has them."""
    usual = spec.train.resolve({}).model_dump()
    return {name: values[name] for name in Hyperparameters.model_fields if values.get(name, usual[name]) != usual[name]}


def _constant(trained: list[list[Segment]], winner: list[Segment], spec: ImageSpec) -> Steps:
    """The best trial whose learning rate and batch size stayed what they were; else the best one that the search left
    alone, or the values with which the winner ended, held throughout."""

    def holds(segments: list[Segment]) -> bool:
        return all(segments[0].hyperparameters.get(name, value) == value for name, value in _HELD.items())

    alone = [segments for segments in trained if len(segments) == 1]
    for segments in alone:
        if holds(segments):
            return _steps(segments, spec)
    values = (alone[0] if alone else winner)[-1].hyperparameters
    return [{"to_epoch": spec.epochs, "values": _differing({**values, **_HELD}, spec)}]


def _probe(results: Results, state: SweepState, trial: str, spec: ImageSpec) -> list[str]:
    """The control `probe`, where heads of the sweep began with its solution."""
    heads = results.environment.get("head") or {}
    name = _best(state.trials[trial]).get(WEIGHTS, next(iter(results.spec.origins)))
    there = spec.model.weights is not None and heads.get(name, {}).get("begins_with") == PROBE_ARM
    # Which no client of a federation has judged.
    there = there and spec.search.metric != "val_worst_client"
    return [PROBE_ARM] if there else []


def _claim(results: Results, state: SweepState, trial: str) -> dict[str, Any]:
    """What the sweep says of what it handed over; of an average of several trials, which no recipe makes again, what
    it says of the best one alone."""
    spec, soup = require_images(results.spec, "'tlsweep confirm'"), state.soup or {}
    leaning = spec.soup == "start" and soup.get("handed_over")
    validation = soup.get("validation") or {} if leaning else _best(state.trials[trial])
    test = state.test.get(SOUP_ARM if leaning else MAIN_ARM) or {}
    figures = {"val_accuracy": validation.get("val_accuracy"), "test_accuracy": test.get("accuracy")}
    return {"sweep": results.name, "trial": trial, "networks": spec.data.repeats, **figures}
