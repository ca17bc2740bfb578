"""Where the weights of a trial came from: through every exploit, back to the first epoch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tlsweep.spec.space import Value
from tlsweep.store import Record


@dataclass(frozen=True)
class Segment:
    """A stretch of training under one configuration: the epochs after `from_epoch`, up to and with `to_epoch`."""

    from_epoch: int
    to_epoch: int
    trial: str
    generation: int
    hyperparameters: Mapping[str, Value]


def configurations(events: Iterable[Record]) -> dict[tuple[str, int], Mapping[str, Value]]:
    """The hyperparameters in force in each (trial, generation)."""
    known: dict[tuple[str, int], Mapping[str, Value]] = {}
    for event in events:
        if event["kind"] in ("created", "exploited"):
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
    exploits = {(one["trial"], one["generation"]): one["details"] for one in events if one["kind"] == "exploited"}
    segments: list[Segment] = []
    while True:
        exploit = exploits[trial, generation] if generation else None
        begin = exploit["donor_epoch"] if exploit else 0
        if epoch > begin:
            segments.append(Segment(begin, epoch, trial, generation, known[trial, generation]))
        if exploit is None:
            return segments[::-1]
        trial, generation, epoch = exploit["donor"], exploit["donor_generation"], begin
