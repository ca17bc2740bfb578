"""What came of averaging the best networks (`soup`), and what is handed over."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tlsweep.report.intervals import Interval
from tlsweep.report.tables import SweepTables
from tlsweep.text import one_line


@dataclass(frozen=True)
class Soup:
    """An average of networks, set against the winner; or why there is none."""

    trials: tuple[str, ...]
    """Its ingredients; empty where there is none."""
    start_share: float
    """The share of what trials begin with; of several networks the mean."""
    weights: str | None
    """The name of the weights that all of them start from."""
    reason: str | None
    """Why there is none."""
    handed_over: bool
    """Whether it was better than the winner, and is the exported model."""
    images: int
    """Validation images that judged: an average of several networks was chosen on the others."""
    ahead: Interval | None
    """By how much more of these images are classified rightly than by the winner; paired. None where it is the winner
    with as large a share of the start as they cannot tell from none."""
    validation: Mapping[str, float]
    """`val_loss`, … on all validation images."""
    loss: float = math.nan
    """Of that one: how much larger its loss is there than the winner's, and"""
    se: float = math.nan
    """the standard error of this difference, which is paired."""
    networks: int = 1
    """Of how many networks it is told: the repeats of the winner, each with a share of its own."""
    ensemble: Mapping[str, float] = field(default_factory=dict)
    """`networks`, and the `loss` and `accuracy` of the mean of their probabilities on the test split; may be empty."""

    def made_of(self) -> str:
        """Name its ingredients: 'the average of the weights of t0003 and t0007, 25 % of it what trials begin with'."""
        *others, last = map(one_line, self.trials)
        what = f"the average of the weights of {' and '.join(filter(None, (', '.join(others), last)))}"
        if not self.start_share:
            return what
        share = f"{self.start_share:.0%} of it{f', as a mean over {self.networks} networks' * (self.networks > 1)}"
        return f"{what} and of what trials begin with (which has {share})"

    def in_words(self) -> str:
        """Whether it is handed over, and why, in a sentence."""
        if not self.trials:
            return f"soup: there is none, as {one_line(self.reason or 'nothing was recorded')}"
        if self.ahead is None:
            return (
                f"soup: {self.made_of()} is what is handed over: on the {self.images} validation images its loss is "
                f"{self.loss:+.3f} ± {self.se:.3f} against the winner's, which is no more than they can tell"
            )
        ahead = f"{self.ahead.value:+.3f} [{self.ahead.low:+.3f}, {self.ahead.high:+.3f}] in accuracy"
        judged = f"on the {self.images} validation images that it was not chosen on ({ahead})"
        if self.handed_over:
            return f"soup: {self.made_of()} is better than the winner {judged}, so it is what is handed over"
        return f"soup: {self.made_of()} is no better than the winner {judged}, so the winner is handed over"

    def bound_in_words(self) -> str | None:
        """What the networks reach side by side."""
        if not self.ensemble:
            return None
        count = self.ensemble["networks"]
        return (
            f"the ensemble of the {count} networks that might have been averaged has a test accuracy of "
            f"{self.ensemble['accuracy']:.3f}, and costs {count} times as much; it is not handed over"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        judged = None
        if ahead := self.ahead:
            judged = {"images": self.images, "ahead": ahead.value, "low": ahead.low, "high": ahead.high}
        elif self.trials:
            judged = {"images": self.images, "loss": self.loss, "se": self.se}
        return {
            "trials": list(self.trials),
            "start_share": self.start_share,
            "reason": self.reason,
            "handed_over": self.handed_over,
            "judged_on": judged,
            "validation": dict(self.validation),
            "ensemble": dict(self.ensemble) or None,
        }


def find_soup(tables: SweepTables) -> Soup | None:
    """What came of averaging; None where nobody asked for it, or the sweep has not ended. A resume makes it void."""
    found: Soup | None = None
    for event in tables.events:
        if event["kind"] == "resumed":
            found = None
        elif event["kind"] == "souped":
            found = read_soup(event["details"])
    return found


def read_soup(details: Mapping[str, Any]) -> Soup:
    """The details of an event `souped`."""
    ensemble = details.get("ensemble") or {}
    trials, judged = tuple(part["trial"] for part in details["trials"]), details.get("judged_on")
    if not trials or not judged or not ({"ahead", "low", "high"} <= judged.keys() or {"loss", "se"} <= judged.keys()):
        return Soup((), 0.0, None, details.get("reason"), False, 0, None, {}, ensemble=ensemble)
    return Soup(
        trials=trials,
        start_share=details.get("start_share", 0.0),
        weights=details.get("weights"),
        reason=None,
        handed_over=details["handed_over"],
        images=judged["images"],
        ahead=Interval(judged["ahead"], judged["low"], judged["high"]) if "ahead" in judged else None,
        validation=details.get("validation") or {},
        loss=judged.get("loss", math.nan),
        se=judged.get("se", math.nan),
        networks=len(details.get("start_shares") or (0,)),
        ensemble=ensemble,
    )


def hands_over_soup(tables: SweepTables) -> bool:
    """Whether the exported model is an average, and no trial's."""
    soup = find_soup(tables)
    return soup is not None and soup.handed_over
