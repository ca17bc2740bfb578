"""Follows the weights of a trial through every exploit, back to the first epoch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tlsweep.errors import ResultsError
from tlsweep.spec.search.space import Value
from tlsweep.store import Descent, Record


@dataclass(frozen=True)
class Segment:
    """A stretch of training under one configuration: the epochs after `from_epoch`, up to and with `to_epoch`."""

    from_epoch: int
    to_epoch: int
    trial: str
    generation: int
    hyperparameters: Mapping[str, Value]


OF_LINEAGE = ("created", "exploited")
"""The kinds of events that say where weights come from."""


def configurations(events: Iterable[Record]) -> dict[tuple[str, int], Mapping[str, Value]]:
    """The hyperparameters in force in each (trial, generation)."""
    known: dict[tuple[str, int], Mapping[str, Value]] = {}
    for event in events:
        if event["kind"] in OF_LINEAGE:
            generation = event["generation"] if event["kind"] == "exploited" else 0
            known[event["trial"], generation] = event["details"]["hyperparameters"]
    return known


def lineage(events: Iterable[Record], trial: str, generation: int, epoch: int) -> list[Segment]:
    """How the weights of `trial` were trained up to `epoch` of `generation`, first segment first.

    A member of generation g > 0 started from its donor's checkpoint at `donor_epoch`; so it is followed back into the
    donor's generation, until a generation 0. Donors that had not trained since their own exploit leave no segment.
    """
    events = list(events)
    known = configurations(events)
    descents = {
        (event["trial"], event["generation"]): Descent.from_details(event["details"])
        for event in events
        if event["kind"] == "exploited"
    }
    segments: list[Segment] = []
    while True:
        if (trial, generation) not in (descents if generation else known):
            raise ResultsError(
                f"the events of the sweep do not say where generation {generation} of trial '{trial}' came from; put a "
                "sound copy of its journal in its place"
            )
        descent = descents.pop((trial, generation)) if generation else None  # once each: nothing descends from itself
        begin = descent.epoch if descent else 0
        if epoch > begin:
            segments.append(Segment(begin, epoch, trial, generation, known[trial, generation]))
        if descent is None:
            return segments[::-1]
        trial, generation = descent.donor, descent.donor_generation
        epoch = begin
