"""Runs a fine-tuning function of the user's own: one trial, from its first epoch or a state to its last."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tlsweep.errors import FunctionError
from tlsweep.functions.finding import FineTuning, find_function
from tlsweep.functions.trial import FunctionReport, Receiver, Sharing, Terms, Trial
from tlsweep.training.devices import Compute, isolated, reset_peak_memory

__all__ = ["FunctionReport", "run_function"]


def run_function(
    terms: Terms,
    values: Mapping[str, Any],
    seed: int,
    *,
    report: Receiver,
    share: Sharing,
    resume: bytes | None = None,
    compute: Compute = Compute(),
    log: Callable[[str], None] = print,
) -> int:
    """Call the function with a trial, in this process or in several; what it raises passes through.

    Args:
        terms: What it is, and what it is held to.
        values: The hyperparameters in force, also after a restore.
        seed: The trial's.
        report: Receives each epoch, and what copies the state, to be called before it returns; it ends the trial by
            raising.
        share: Gives what trials have in common (`Trial.share`).
        resume: A checkpoint of this trial, or of another one.
        compute: Device and threads.
        log: Takes the lines that the function logs.

    Returns:
        The epoch that it reached.

    Raises:
        FunctionError: there is no such function, or it does not keep to what `Trial` asks of it.
        ResourceError: the device does not exist.
    """
    function = find_function(terms.function)
    if terms.processes > 1:
        from tlsweep.functions.group import run_group

        return run_group(terms, values, seed, report=report, share=share, resume=resume, compute=compute, log=log)
    with isolated(compute) as device, global_generators_kept():
        reset_peak_memory(device)
        trial = Trial(terms, values, seed, device, receive=report, checkpoint=resume, share=share, log=log)
        return call(function, trial, terms)


def call(function: FineTuning, trial: Trial, terms: Terms) -> int:
    """Call the function with its trial; the epoch that it reached.

    Raises:
        FunctionError: it returned without any report. One that goes on from a state may return at once: what it counts
            may say that it has trained enough.
    """
    trial.seed_generators(0)
    before = trial.reached
    try:
        function(trial)
        trial.end_if_over()
    except SystemExit as error:
        trial.end_if_over()  # Tune ends a trial so
        raise FunctionError(f"trial = {terms.function}: it called sys.exit({error.code!r}); return, or raise") from None
    finally:
        trial.forget_end()
    if trial.reached == before == 0:
        raise FunctionError(
            f"trial = {terms.function}: it returned without a report; loop over trial.epochs(), and call "
            "trial.report(…) once in each turn; a trainer does so that is handed to train of "
            "tlsweep.functions.huggingface, or to fit of tlsweep.functions.lightning"
        )
    return trial.reached


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Python's and numpy's as before, in a worker that trains trial after trial; torch's are kept by `isolated`."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
