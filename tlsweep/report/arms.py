"""The arms of a sweep side by side: what the pretrained weights are worth against their controls."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tlsweep.report.intervals import Interval, bootstrap_mean
from tlsweep.report.soup import find_soup
from tlsweep.report.tables import Leader, SweepTables, leader
from tlsweep.spec import FunctionSpec, SweepSpec, derive_seed
from tlsweep.spec.function import FINALISED_BY
from tlsweep.spec.model import WEIGHTS
from tlsweep.spec.search.study import SOUP_ARM
from tlsweep.store.schema import METRICS
from tlsweep.store.starts import SOUP, START, Start, best_start

_NAMES = tuple(name.removeprefix("val_") for name in METRICS if name.startswith("val_"))


@dataclass(frozen=True)
class ArmResult:
    """What the best trial of an arm reached."""

    arm: str
    trial: str
    val: Mapping[str, float]
    """`loss`, `accuracy`, … on the validation split, at the best epoch; without what is not defined there, or was not
    known to the version that ran the sweep."""
    test: Mapping[str, float]
    """The same on the test split; empty before the winner has met it."""
    test_accuracy: Interval | None = None
    """The test accuracy and how far the choice of test images could have moved it; None without predictions."""
    against: str | None = None
    """The arm that this one is a control of; None for the main arm."""
    ahead: Interval | None = None
    """The test accuracy of that arm minus this one's, image by image."""
    val_error: Mapping[str, float] = field(default_factory=dict)
    """Standard errors of `val`, which then are means over the networks of a trial (folds, repeats); else empty."""
    test_error: Mapping[str, float] = field(default_factory=dict)
    start: Mapping[str, float] = field(default_factory=dict)
    """The validation accuracy before any training, by the weights that trials start from; of heads that know something
    then (`train.head`)."""
    trained: Leader | None = None
    """The best trial, where what trials begin with was handed over in its place, as no epoch of training is better."""


def arm_results(tables: SweepTables) -> list[ArmResult]:
    """What each arm that has a report reached, the main arm first."""
    tests, known = evaluated(tables), _right(tables)
    # From the sweep's own seed: every reader of the results gets the same interval each time.
    seed = derive_seed(tables.spec.seed, "bootstrap")
    found = []
    for arm in tables.spec.arms:
        if best := winner(tables, arm):
            own, against = known.get(arm), tables.spec.arm(arm).control_of
            other = known.get(against or "")
            found.append(
                ArmResult(
                    arm,
                    best.trial,
                    val=_validation(best),
                    test=_test(tables.spec, tests.get(arm, {})),
                    test_accuracy=bootstrap_mean(list(own.values()), seed) if own else None,
                    against=against,
                    ahead=bootstrap_mean([other[at] - right for at, right in own.items()], seed)
                    if own and other
                    else None,
                    val_error=_errors({name.removeprefix("val_"): value for name, value in best.metrics.items()}),
                    test_error=_errors(tests.get(arm, {})),
                    start=_start(tables, arm),
                    trained=leader(tables, arm) if best.trial == START else None,
                )
            )
    return found


def _start(tables: SweepTables, arm: str) -> dict[str, float]:
    """What environment.json has of the start, of weights that the spec knows."""
    found = (tables.environment.get("start") or {}).get(arm, {})
    return {name: found[name]["val_accuracy"] for name in tables.spec.origins if "val_accuracy" in found.get(name, {})}


def _right(tables: SweepTables) -> dict[str, dict[int, float]]:
    """Map for each arm that has met the test split its images: to 1 where its winner was right, else 0; of several
    networks the mean."""
    trials = {arm: details.get("trial") for arm, details in evaluated(tables).items()}
    found: dict[str, dict[int, float]] = {}
    for row in tables.predictions:
        if row["trial"] == trials.get(row["arm"]):
            images = found.setdefault(row["arm"], {})
            right = (row["label"] == row["predicted"]) / tables.spec.runs
            images[row["image"]] = images.get(row["image"], 0.0) + right
    return found


def winner(tables: SweepTables, arm: str) -> Leader | None:
    """The trial that met the test split, else the one with the best metric so far; or the start, where no epoch of
    training is better. Of the arm `soup` the average, if there is one.

    They differ where the checkpoint of the best was found damaged, so that the next best was handed back.
    """
    if arm == SOUP_ARM:
        return _soup_as_leader(tables)
    best, trial = leader(tables, arm), evaluated(tables).get(arm, {}).get("trial")
    if tested := leader(tables, arm, trial) if trial else None:
        return tested
    start = best_start(tables.environment, arm, tables.spec.search)
    untrained = tables.spec.arm(arm).trials == 0 and leader(tables) is not None  # before that the sweep has no result
    if start is not None and (untrained or (best and start.is_as_good_as(best.metrics, tables.spec.search))):
        return _as_leader(start, arm)
    return best


def _as_leader(start: Start, arm: str) -> Leader:
    """What the trials of an arm begin with, as if it were one of them."""
    return Leader(START, arm, {WEIGHTS: start.weights}, 0, 0, 0, start.figures, "untrained")


def _soup_as_leader(tables: SweepTables) -> Leader | None:
    """The average of the best networks, as if it were one of them."""
    soup = find_soup(tables)
    if soup is None or not soup.trials:
        return None
    known = soup.weights in tables.spec.origins  # whoever wrote the events
    values = {WEIGHTS: str(soup.weights)} if known else {}
    return Leader(SOUP, SOUP_ARM, values, 0, 0, 0, soup.validation, "averaged")


def evaluated(tables: SweepTables) -> dict[str, Mapping[str, Any]]:
    """The details of each arm's test, once the sweep has ended; a resume makes an earlier test void."""
    found: dict[str, Mapping[str, Any]] = {}
    for event in tables.events:
        if event["kind"] == "resumed":
            found.clear()
        elif event["kind"] == "evaluated":
            found[event["arm"]] = event["details"]
    return found


def _metrics(details: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(details[name]) for name in _NAMES if details.get(name) is not None}


def _test(spec: SweepSpec, details: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a test; of a function of the user's own all that it gave."""
    if isinstance(spec, FunctionSpec):
        figures = {name: value for name, value in details.items() if name not in ("trial", FINALISED_BY)}
        return {name: math.nan if value is None else float(value) for name, value in figures.items()}
    return _metrics(details)


def _validation(best: Leader) -> dict[str, float]:
    """The metrics at the best epoch; those of a function of the user's own by the names that it gave them."""
    metrics = best.metrics.items()
    own = {
        name.removeprefix("val_"): value
        for name, value in metrics
        if value is not None and name.removeprefix("val_").removesuffix("_se") not in _NAMES
    }
    return _metrics({name.removeprefix("val_"): value for name, value in metrics}) | own


def _errors(figures: Mapping[str, Any]) -> dict[str, float]:
    """Pick the standard errors, `…_se`, that are known."""
    return {name: float(figures[f"{name}_se"]) for name in _NAMES if figures.get(f"{name}_se") is not None}


def gain(
    arms: list[ArmResult],
    control: str,
    split: str,
    metric: str,
) -> float | None:
    """What an arm, mostly the main one, is ahead of its control in `metric` on `split` (`val`, `test`); None where one
    of them is not known."""
    values = {result.arm: (result.val if split == "val" else result.test).get(metric) for result in arms}
    against = next((result.against for result in arms if result.arm == control), None)
    main, other = values.get(against or ""), values.get(control)
    return None if main is None or other is None else main - other
