"""The corners of a search space: what may fail in a trial though the first configuration trains."""

from collections.abc import Iterator

from tlsweep.errors import UserError
from tlsweep.spec import MAIN_ARM, ImageSpec
from tlsweep.spec.model import WEIGHTS
from tlsweep.spec.search.space import Value
from tlsweep.sweep.assignment import completed, drawn, starting_values, trained_with
from tlsweep.sweep.prepare import Prepared, batch_sizes

KINDS = ("optimizer", "freeze", "lr_schedule", WEIGHTS)
"""The hyperparameters whose values each run code of their own."""
PATIENCE = 30.0
"""Seconds that the step of the largest batch may take: on a GPU it is far below, on a CPU it would only be slow."""


def corners(spec: ImageSpec, largest: int) -> Iterator[tuple[str, dict[str, Value]]]:
    """Configurations to try beside the first, with the field that makes each a corner.

    The smallest batch, the largest up to `largest`; and every value of `KINDS`, with the smallest batch: it is cheap.
    """
    base, sizes = drawn(spec, 0), batch_sizes(spec)
    smallest, last = sizes[0], sizes[-1]
    first = starting_values(spec, MAIN_ARM, 0)
    small = base | ({"batch_size": smallest} if "batch_size" in spec.space else {})
    if smallest != first["batch_size"]:
        yield f"train.batch_size = {smallest}", completed(spec, MAIN_ARM, small)
    if last not in (smallest, first["batch_size"]) and last <= largest:
        yield f"train.batch_size = {last}", completed(spec, MAIN_ARM, base | {"batch_size": last})
    for name in KINDS:
        for value in spec.space[name].extremes if name in spec.space else ():
            if value != first[name]:
                where = "model" if name == WEIGHTS else "train"
                yield f"{where}.{name} = {value}", completed(spec, MAIN_ARM, small | {name: value})


def try_corners(spec: ImageSpec, prepared: Prepared, *, seconds_per_image: float) -> None:
    """Take a step in each corner.

    Raises:
        UserError: one fails; the message names it.
    """
    from tlsweep.planning.rehearsal import try_step
    from tlsweep.training import Compute

    for corner, values in corners(spec, int(PATIENCE / seconds_per_image)):
        weights = str(values[WEIGHTS])
        if weights not in prepared.weights:  # those of a source task that is still to be trained on
            continue
        try:
            try_step(
                trained_with(values),
                spec.train.settings(),
                prepared.transfer(spec, prepared.weights[weights]),
                Compute(threads=spec.resources.threads),
            )
        except UserError as error:
            raise type(error)(str(error) if corner in str(error) else f"{corner}: {error}") from error
