"""The winner of a sweep, and how it was trained."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlsweep.errors import ResultsError
from tlsweep.report.arms import ArmResult, arm_results, evaluated, gain, winner
from tlsweep.report.classes import ClassResults, class_results
from tlsweep.report.confirmation import Confirmation, find_confirmation
from tlsweep.report.intervals import Interval
from tlsweep.report.lineage import Segment, lineage
from tlsweep.report.soup import Soup, find_soup
from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM, SweepSpec
from tlsweep.spec.model import WEIGHTS
from tlsweep.spec.search.space import Value
from tlsweep.spec.search.study import SOUP_ARM
from tlsweep.store import Location, SweepFolder


@dataclass(frozen=True)
class Best:
    """The best trial of the main arm."""

    sweep: str
    spec: SweepSpec
    trial: str
    """`start` where no epoch of training is better than what the trials begin with."""
    epoch: int
    """The best one, counted through the whole lineage; 0 of the start."""
    schedule: list[Segment]
    """The configurations that led there; one segment unless weights were copied on the way, none to the start."""
    result: ArmResult
    """Of what is handed over: the best trial, or the average that is better."""
    arms: list[ArmResult]
    """That of the best trial, and of each control."""
    values: Mapping[str, Mapping[str, Value]]
    """The hyperparameters of these in their best epochs, by arm."""
    classes: ClassResults | None
    """The results by class on the test split; None before the winner has met it."""
    model: Location | None
    """The exported model; None before the sweep has ended, and where it is of another trial or epoch."""
    recipe: Location | None
    searched_by: str | None
    """The metric that the sweep was searched by, where the winner is that by another."""
    soup: Soup | None = None
    """What came of averaging the best networks; None where nobody asked for it."""
    confirmation: Confirmation | None = None
    """The verdict, of a sweep by `tlsweep confirm`."""

    @property
    def averaged(self) -> bool:
        """Whether the model is an average, and not that of the best trial."""
        return self.soup is not None and self.soup.handed_over

    def start(self, name: str) -> Value:
        """A hyperparameter in the first epoch."""
        return self.schedule[0].hyperparameters[name]

    def end(self, name: str) -> Value:
        """A hyperparameter in the best epoch."""
        return self.schedule[-1].hyperparameters[name]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for strict JSON, so a number that is not finite becomes null."""
        value = {
            "sweep": self.sweep,
            "trial": self.trial,
            "epoch": self.epoch,
            "metric": self.spec.search.metric,
            "searched_by": self.searched_by or self.spec.search.metric,
            "start": dict(self.schedule[0].hyperparameters) if self.schedule else {},
            "end": dict(self.schedule[-1].hyperparameters) if self.schedule else {},
            "schedule": [
                {
                    "from_epoch": segment.from_epoch,
                    "to_epoch": segment.to_epoch,
                    "trial": segment.trial,
                    **segment.hyperparameters,
                }
                for segment in self.schedule
            ],
            "validation": dict(self.result.val),
            "test": dict(self.result.test) or None,
            "validation_se": dict(self.result.val_error) or None,
            "test_se": dict(self.result.test_error) or None,
            **(self.classes.as_dict() if self.classes else {"classes": None, "confusion": None}),
            "gain": {result.arm: self._gain(result) for result in self.arms if result.against is not None},
            "arms": [self._arm(result) for result in self.arms],
            "soup": self.soup.as_dict() if self.soup else None,
            "confirmation": self.confirmation.as_dict() if self.confirmation else None,
            "model": str(self.model) if self.model else None,
            "recipe": str(self.recipe) if self.recipe else None,
        }
        finite: dict[str, Any] = _finite(value)
        return finite

    def _gain(self, control: ArmResult) -> dict[str, Any]:
        """What the arm that a control belongs to is ahead of it."""
        gains = {f"{split}_accuracy": gain(self.arms, control.arm, split, "accuracy") for split in ("val", "test")}
        return {"of": control.against, **gains, "test_interval": _bounds(control.ahead)}

    def _arm(self, result: ArmResult) -> dict[str, Any]:
        arm, values = self.spec.arm(result.arm), self.values[result.arm]
        origins = self.spec.origins
        pretrained = arm.pretrained and bool(origins)
        origin = origins[str(values.get(WEIGHTS, next(iter(origins))))] if pretrained else None
        return {
            "arm": result.arm,
            "trial": result.trial,
            "pretrained": origin is not None,
            "labels_per_class": arm.labels_per_class or self.spec.labels_per_class,
            "hyperparameters": {name: values[name] for name in arm.hyperparameters if name in values},
            "val_accuracy": result.val.get("accuracy"),
            "test_accuracy": result.test.get("accuracy"),
            "test_interval": _bounds(result.test_accuracy),
        }


def _bounds(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.high] if interval else None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def find_best(tables: SweepTables) -> Best:
    """The winner by the sweep's metric on the validation split.

    Raises:
        ResultsError: no trial of the main arm has reported a finite metric.
    """
    found = winner(tables, MAIN_ARM)
    if found is None:
        raise ResultsError(
            f"no trial of '{tables.name}' has reported a {tables.spec.search.metric} yet; "
            f"'tlsweep report {tables.name}' shows how far they are"
        )
    arms, folder = arm_results(tables), SweepFolder(tables.path)
    soup = find_soup(tables)
    result = next(result for result in arms if result.arm == (SOUP_ARM if soup and soup.handed_over else MAIN_ARM))
    handed_back = tables.searched_by is None or MAIN_ARM in evaluated(tables)
    return Best(
        sweep=tables.name,
        spec=tables.spec,
        trial=found.trial,
        epoch=found.best_epoch,
        schedule=lineage(tables.events, found.trial, found.generation, found.best_epoch) if found.best_epoch else [],
        result=result,
        arms=arms,
        values={result.arm: best.hyperparameters for result in arms if (best := winner(tables, result.arm))},
        classes=class_results(tables, result.arm),
        model=folder.best if handed_back and folder.best.exists() else None,
        recipe=folder.recipe if handed_back and folder.recipe.exists() else None,
        searched_by=tables.searched_by,
        soup=soup,
        confirmation=find_confirmation(tables),
    )
