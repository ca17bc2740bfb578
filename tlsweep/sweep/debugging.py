"""One trial in this process, without Ray, where a debugger can follow it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from tlsweep.observer import Silence
from tlsweep.spec import MAIN_ARM, FunctionSpec, ImageSpec, SweepSpec
from tlsweep.spec.idle import refuse_idle
from tlsweep.spec.model import WEIGHTS
from tlsweep.store import diverged
from tlsweep.sweep.assignment import starting_values, trained_with, trial_seed
from tlsweep.sweep.heads import begun
from tlsweep.sweep.prepare import prepare, pretrain_here, read_images, settled


class _Diverged(BaseException):
    """Ends a trial as the sweep does."""


def debug_trial(spec: SweepSpec, *, report: Callable[[Mapping[str, Any]], None]) -> bool:
    """Train the first configuration in this process, without Ray: breakpoints work, tracebacks are plain.

    Each epoch is passed to `report` as a row; nothing is written.

    Returns:
        Whether it came to its end; a trial that diverges ends there, as in a sweep.

    Raises:
        UserError: a sweep with this spec would not begin either.
    """
    refuse_idle(spec)

    def tell(row: Mapping[str, Any]) -> None:
        report(row)
        if "epoch" in row and diverged(row, spec.search.metric):
            raise _Diverged

    try:
        if isinstance(spec, FunctionSpec):
            from tlsweep.sweep.subjects.own_function import debug_function

            debug_function(spec, starting_values(spec, MAIN_ARM, 0), trial_seed(spec, 0), tell)
        else:
            assert isinstance(spec, ImageSpec)
            _debug_images(spec, tell)
    except _Diverged:
        return False
    return True


def _debug_images(spec: ImageSpec, report: Callable[[Mapping[str, Any]], None]) -> None:
    from tlsweep.training import Compute, finetune

    prepared = prepare(spec, read_images(spec, Silence()), Silence())
    spec = settled(spec, prepared.task)
    values = starting_values(spec, MAIN_ARM, 0)
    name, hyperparameters = str(values[WEIGHTS]), trained_with(values)
    source = prepared.sources.get(name)
    weights = pretrain_here(spec, name, source) if source else prepared.weights[name]
    compute = Compute(threads=spec.resources.threads)
    finetune(
        hyperparameters,
        spec.train.settings(),
        begun(spec, prepared.transfer(spec, weights), compute=compute),
        report=lambda epoch, snapshot: report(hyperparameters.model_dump() | asdict(epoch)),
        compute=compute,
    )
