"""How lr and batch size changed: stretches of training with the same base values, as a fold over a sweep's records."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tlsweep.store.journal import Record, is_finite
from tlsweep.store.schema import METRICS

Key = tuple[str, int]
"""Trial and generation."""


@dataclass
class Stretch:
    """A generation of a trial: nothing but the start of the next one changes its base values."""

    stage: str | None
    arm: str
    trial: str
    generation: int
    lr: float
    batch_size: int
    time: float
    elapsed: float | None
    began: str = "sampled"
    """`sampled`, `exploited`, `perturbed` or `recipe`: see the column."""
    parent_trial: str | None = None
    parent_generation: int | None = None
    parent_lr: float | None = None
    parent_batch_size: int | None = None
    from_epoch: int = 0
    start_score: Any = None
    """The score of the weights that it began with, larger is better; None where the record does not say."""
    last: Mapping[str, Any] | None = None
    """The report of its last epoch."""

    @property
    def parent(self) -> Key:
        """The stretch that it began with the weights of; of one that was sampled a key that none has."""
        return self.parent_trial or "", self.parent_generation or 0

    @property
    def to_epoch(self) -> int:
        """Epochs that its weights have been trained for; `from_epoch` where none was completed."""
        return self.last["epoch"] if self.last else self.from_epoch

    def reached(self, metric: str) -> float | None:
        """A metric at its end; None where there is none, or it diverged."""
        value = self.last.get(metric) if self.last else None
        return value if is_finite(value) else None


class Stretches:
    """All stretches of a sweep, as of the last record."""

    def __init__(self) -> None:
        self._known: dict[Key, Stretch] = {}
        self._news: set[Key] = set()

    def apply(self, record: Record) -> None:
        """Take a record, in the order of the journal."""
        trial, generation = record["trial"], record["generation"]
        known = self._known.get((trial, generation))
        self._news.add((trial, generation))
        if record["type"] == "report":
            if known:
                known.last = record
            return
        match record["kind"]:
            case "created":
                self._known[trial, 0] = _begun(record, 0)
            case "exploited":
                self._known[trial, generation] = self._copied(record)
                self._forget_details(trial, generation - 1)
            case "perturbed" if known and record["details"] and known.began == "exploited":
                known.began = "perturbed"
            case "restored" if known and known.last is None:
                # What it was to begin with was damaged: it began with an older checkpoint.
                known.from_epoch, known.start_score = record["epoch"], None

    def _copied(self, event: Record) -> Stretch:
        details, new = event["details"], _begun(event, event["generation"])
        parent = self._known.get((details["donor"], details["donor_generation"]))
        changed = parent is not None and (parent.lr, parent.batch_size) != (new.lr, new.batch_size)
        how = "perturbed" if changed else "exploited"
        return replace(
            new,
            began="recipe" if "recipe" in details else how,
            parent_trial=details["donor"],
            parent_generation=details["donor_generation"],
            parent_lr=parent.lr if parent else None,
            parent_batch_size=parent.batch_size if parent else None,
            from_epoch=details["donor_epoch"],
            start_score=details.get("donor_score"),
        )

    def _forget_details(self, trial: str, generation: int) -> None:
        """Keep of a report that nothing more follows in its stretch what a row needs: a population has thousands."""
        ended = self._known.get((trial, generation))
        if ended and ended.last:
            # Names of the metrics that a function of the user's own reports stand in `own`.
            kept = ("epoch", *METRICS, *ended.last.get("own", ()))
            ended.last = {name: ended.last.get(name) for name in kept}

    def rows(self, metric: str, sign: int) -> list[dict[str, Any]]:
        """Rows of schedule.parquet, in the order of trials and generations.

        Args:
            metric: That the sweep compares.
            sign: -1 where less is better.
        """
        return [self._row(stretch, metric, sign) for _, stretch in sorted(self._known.items())]

    def take_changed(self, metric: str, sign: int) -> list[tuple[Key, dict[str, Any]]]:
        """The rows, of `rows`, that are new or may have changed since they were last asked for here, by their keys."""
        news, self._news = self._news, set()
        # What a stretch gained is measured from what its parent reached.
        changed = [(key, known) for key, known in self._known.items() if key in news or known.parent in news]
        return [(key, self._row(stretch, metric, sign)) for key, stretch in changed]

    def _row(self, stretch: Stretch, metric: str, sign: int) -> dict[str, Any]:
        start, end = self._start(stretch, metric, sign), stretch.reached(metric)
        gain = None if start is None or end is None else sign * (end - start)
        reached = {"to_epoch": stretch.to_epoch, "metric": metric, "start_value": start, "end_value": end, "gain": gain}
        return vars(stretch) | reached

    def _start(self, stretch: Stretch, metric: str, sign: int) -> float | None:
        """The metric of the weights that a stretch began with."""
        if isinstance(stretch.start_score, float) and is_finite(stretch.start_score):
            return sign * stretch.start_score
        parent = self._known.get(stretch.parent)
        # A recipe's step begins where the one before it ended.
        if parent is None or parent.to_epoch != stretch.from_epoch:
            return None
        return parent.reached(metric)


def stretches_of(records: Iterable[Record]) -> Stretches:
    """The fold over all records of a sweep."""
    found = Stretches()
    for record in records:
        found.apply(record)
    return found


def _begun(event: Record, generation: int) -> Stretch:
    values = event["details"]["hyperparameters"]
    return Stretch(
        stage=event.get("stage"),
        arm=event["arm"],
        trial=event["trial"],
        generation=generation,
        lr=values["lr"],
        batch_size=values["batch_size"],
        time=event["time"],
        elapsed=event.get("elapsed"),
    )
