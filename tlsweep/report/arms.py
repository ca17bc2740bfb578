"""The arms of a sweep side by side: what the pretrained weights are worth against their controls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlsweep.report.tables import Leader, SweepTables, leaders
from tlsweep.spec import MAIN_ARM
from tlsweep.store.schema import METRICS

_NAMES = tuple(name.removeprefix("val_") for name in METRICS if name.startswith("val_"))


@dataclass(frozen=True)
class ArmResult:
    """What the best trial of an arm reached."""

    arm: str
    trial: str
    val: Mapping[str, float]
    """`loss`, `accuracy`, `precision`, `recall`, `f1` on the validation split, at the best epoch."""
    test: Mapping[str, float]
    """The same on the test split; empty before the winner has met it."""


def arm_results(tables: SweepTables) -> list[ArmResult]:
    """One for each arm that has a report, the main arm first."""
    tests = evaluated(tables)
    return [
        ArmResult(arm, best.trial, {name: best.metrics[f"val_{name}"] for name in _NAMES}, _metrics(tests.get(arm, {})))
        for arm in tables.spec.arms
        if (best := winner(tables, arm))
    ]


def winner(tables: SweepTables, arm: str) -> Leader | None:
    """The trial that met the test split, else the one with the best metric so far.

    They differ where the checkpoint of the best was found damaged, so that the next best was handed back.
    """
    ranked, trial = leaders(tables, arm), evaluated(tables).get(arm, {}).get("trial")
    return next((one for one in ranked if one.trial == trial), ranked[0] if ranked else None)


def evaluated(tables: SweepTables) -> dict[str, Mapping[str, Any]]:
    """For each arm the details of its test, once the sweep has ended; a resume makes an earlier test void."""
    found: dict[str, Mapping[str, Any]] = {}
    for event in tables.events:
        if event["kind"] == "resumed":
            found.clear()
        elif event["kind"] == "evaluated":
            found[event["arm"]] = event["details"]
    return found


def _metrics(details: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(details[name]) for name in _NAMES if name in details}


def gain(arms: list[ArmResult], control: str, split: str, metric: str) -> float | None:
    """The main arm's `metric` on `split` (`val`, `test`) minus the control's; None where one of them is not known."""
    values = {one.arm: (one.val if split == "val" else one.test).get(metric) for one in arms}
    main, other = values.get(MAIN_ARM), values.get(control)
    return None if main is None or other is None else main - other
