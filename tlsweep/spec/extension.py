"""What may change in a spec between the launch of a sweep and its resume: there may be more of it, not another one."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tlsweep.errors import SpecError
from tlsweep.spec.earlier import BEFORE
from tlsweep.spec.images import ImageSpec
from tlsweep.spec.sweep import SweepSpec

EXTENDABLE = ("search.trials", "train.epochs", "epochs", "budget.epochs", "budget.device_hours", "budget.wall_time")
"""Fields that may grow; a budget may also be lifted (`null`)."""
_OTHER = {"epochs": "train.epochs", "train.epochs": "epochs"}
"""The field that a spec of the other kind has."""
_DECIDES_NOTHING = ("name", "track", "finalise")
"""Fields that may change: a folder may have been renamed since, no tracker has a say in what is trained, nor what comes
after it."""


def unwritten(spec: SweepSpec) -> dict[str, set[str]]:
    """List, by section, the fields that earlier versions did not have, and that whoever wrote `spec` left out."""
    if not isinstance(spec, ImageSpec):
        return {}
    return {section: set(fields) - getattr(spec, section).model_fields_set for section, fields in BEFORE.items()}


def going_on(before: SweepSpec, now: SweepSpec) -> SweepSpec:
    """Give `now` what the sweep began with, in fields that it leaves out and that earlier versions did not have.

    A user's own file, with which a sweep of an earlier version began, says nothing of them, and is still the sweep's.
    """
    sections = {
        section: getattr(now, section).model_copy(
            update={name: getattr(getattr(before, section), name) for name in names}
        )
        for section, names in unwritten(now).items()
    }
    return now.model_copy(update=sections)


def extensions(before: SweepSpec, now: SweepSpec) -> dict[str, tuple[Any, Any]]:
    """Find for each field that was extended (its value before, its value now).

    Raises:
        SpecError: another field was changed, or one of these became less.
    """
    found = {}
    for field, old, new in _differences(before.model_dump(mode="json"), now.model_dump(mode="json")):
        if field in _DECIDES_NOTHING:
            continue
        if field not in EXTENDABLE:
            known = ", ".join(name for name in EXTENDABLE if name != _OTHER[now.EPOCHS])
            raise SpecError(
                f"{field} = {new!r}: the sweep began with {old!r}, and a resume can only extend {known}; put it back, "
                "or start a new sweep"
            )
        if _limit(new) < _limit(old):
            raise SpecError(
                f"{field} = {new!r}: the sweep began with {old!r}, and a resume can only extend it; put it back"
            )
        found[field] = (old, new)
    return found


def _limit(value: Any) -> float:
    return math.inf if value is None else float(value)


_CHOOSES = ("strategy", "source")
"""Fields whose value says which others there are beside them."""


def _differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        # First what decides on the other fields there, so that it is named and not one of these.
        for name in sorted({**before, **now}, key=lambda name: name not in _CHOOSES):
            yield from _differences(before.get(name), now.get(name), f"{path}.{name}" if path else str(name))
    elif before != now:
        yield path, before, now
