"""Calls the user's function for what comes after a sweep: the winner's test, and the files to take away."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from tlsweep.errors import FunctionError
from tlsweep.functions.finding import find_function
from tlsweep.functions.running import global_generators_kept
from tlsweep.functions.trial import Sharing, Terms, Trial, as_number
from tlsweep.spec.function import FINALISED_BY
from tlsweep.text import shortened
from tlsweep.training.devices import Compute, isolated

TAKEN = frozenset({"trial", FINALISED_BY, "per_class", "confusion", "runs", "passed_over"})
"""Names that mean something else where the test of a winner is kept (`store.shapes`)."""


class Winner(Trial):
    """The winner of a sweep: `restore` gives the state of its best epoch, and there is nothing left to train."""

    folder: Path
    """What is written here lies beside the winner's state in `best/`: a model to take away."""

    def epochs(self) -> Iterator[int]:
        """None: a loop over them trains nothing."""
        return iter(())

    def report(self, **_: Any) -> NoReturn:
        """Raises:
        FunctionError: always, as the sweep is over.
        """
        raise FunctionError(
            f"finalise = {self._terms.function}: trial.report(…) is called, and the sweep is over; return the metrics"
        )


def finalise(
    terms: Terms,
    values: Mapping[str, Any],
    seed: int,
    *,
    state: bytes,
    folder: Path,
    share: Sharing,
    compute: Compute = Compute(),
    log: Callable[[str], None] = print,
) -> dict[str, float | None]:
    """Call the function with the winner, and return its metrics; `test_` in front of a name is left out.

    Args:
        terms: What the function is, and what the sweep's trials were held to.
        values: The winner's hyperparameters in its best epoch.
        seed: The winner's.
        state: Of its best epoch.
        folder: Takes what the function writes.
        share: Gives what trials have in common.
        compute: Device and threads.
        log: Takes the lines that the function logs.

    Raises:
        FunctionError: there is no such function, or it returns no metrics.
    """
    function = find_function(terms.function, "finalise")

    def receive(*_: Any) -> None:
        """Nothing is reported."""

    with isolated(compute) as device, global_generators_kept():
        winner = Winner(terms, values, seed, device, receive=receive, checkpoint=state, share=share, log=log)
        winner.folder = folder
        winner.seed_generators(0)
        return _figures(terms.function, function(winner))


def _figures(function: str, found: object) -> dict[str, float | None]:
    said = f"finalise = {function}: it returned {shortened(repr(found))}"
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise FunctionError(f'{said}; return metrics, such as {{"test_loss": 0.3}}, or nothing')
    figures: dict[str, float | None] = {}
    for name, value in found.items():
        number = as_number(value)
        if number is None:
            raise FunctionError(f"{said}, where {name} is {shortened(repr(value))}; a metric is one number")
        shown = name.removeprefix("test_") if isinstance(name, str) else ""
        if not shown.isidentifier() or shown in (*TAKEN, *figures):
            raise FunctionError(f"{said}, where {shortened(repr(name))} is no name for a metric; take another one")
        figures[shown] = number if math.isfinite(number) else None
    return figures
