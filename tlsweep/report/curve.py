"""The learning curve of a study with few labels: what transfer and training from scratch reach with each number."""

from collections.abc import Sequence
from dataclasses import dataclass

from tlsweep.report.arms import ArmResult
from tlsweep.spec import ImageSpec, SweepSpec


@dataclass(frozen=True)
class CurvePoint:
    """The arms that trained on one number of labels."""

    labels_per_class: int
    transfer: ArmResult | None
    """The arm from the weights of the model, if it has any. None: no trial of the arm has a result yet."""
    scratch: ArmResult | None
    """The arm from random weights; its `ahead` is the transfer gain. None also where the model has no weights."""


def learning_curve(spec: SweepSpec, arms: Sequence[ArmResult]) -> list[CurvePoint]:
    """One point for each of `study.few_labels`, the fewest first; none in other sweeps."""
    known = {result.arm: result for result in arms}
    if not isinstance(spec, ImageSpec):
        return []
    study = spec.study
    return [
        CurvePoint(count, *(known.get(name) for name in study.arms_with(count))) for count in sorted(study.few_labels)
    ]
