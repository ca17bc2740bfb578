"""A decision about a trial, with its reason, in words."""

from collections.abc import Callable, Mapping
from typing import Any

from tlsweep.report import TrialLife
from tlsweep.store import Record
from tlsweep.terminal.format import counted, score, tested, value, words


def decision(event: Record, life: TrialLife) -> str:
    """What an event says, of the trial or of one that copied it."""
    if event["trial"] not in (life.trial, None):
        return f"{event['trial']} took over its weights of epoch {event['details']['donor_epoch']}"
    told = _TOLD.get(event["kind"])
    return told(event["details"], life) if told else str(event["kind"])


def _created(details: Mapping[str, Any], life: TrialLife) -> str:
    names = dict.fromkeys(("lr", "batch_size", *life.tables.spec.space))
    known = details["hyperparameters"]
    drawn = ", ".join(f"{words(name)} {value(known[name])}" for name in names if name in known)
    return f"sampled as configuration number {details['number']}: {drawn}"


def _exploited(details: Mapping[str, Any], life: TrialLife) -> str:
    if "recipe" in details:
        return "the next step of the recipe begins"
    theirs, own = _score(details, "donor_score", life), _score(details, "score", life)
    had = f"had {own} itself" if own else "had diverged"
    compared = (
        f", {words(life.tables.spec.search.metric)} {theirs} where it {had}" if theirs and "score" in details else ""
    )
    return (
        f"exploited: it took over {details['donor']} with its configuration (epoch {details['donor_epoch']}{compared})"
    )


def _perturbed(details: Mapping[str, Any], life: TrialLife) -> str:
    changes = {name: change for name, change in details.items() if isinstance(change, Mapping)}
    told = [
        f"{words(name)} {value(change.get('from'))} -> {value(change.get('to'))}" for name, change in changes.items()
    ]
    return f"perturbed: {', '.join(told)}" if told else "the copied values stay as they are"


def _promoted(details: Mapping[str, Any], life: TrialLife) -> str:
    if not (standing := _standing(details, life)):
        return "goes on from its rung"
    if details.get("idle"):
        return f"goes on, as nothing else is left to do: {standing}"
    return f"goes on: {standing}"


def _joined(details: Mapping[str, Any], life: TrialLife) -> str:
    rank = f" as number {details['rank']}" if "rank" in details else ""
    return f"survived the screening{rank}, and is one of {counted(details['members'], 'member')} of the population"


def _stopped(details: Mapping[str, Any], life: TrialLife) -> str:
    reason = f"stopped: {details.get('reason') or 'no reason was recorded'}"
    reached, needed = _score(details, "score", life), _score(details, "threshold", life)
    if not (reached and needed):
        return reason
    metric = words(life.tables.spec.search.metric)
    if "places" not in details:  # compared with a quantile, or with what an earlier version wrote down
        little = "a little more" if reached == needed else needed
        return f"{reason} ({metric} {reached}, {little} was needed)"
    last = f"number {details['places']}"
    if details["score"] == details["threshold"]:
        return f"{reason} ({metric} {reached}, as {last}: of equals the one that was there first is before)"
    has = f"has {needed}" if reached != needed else "is a little better"  # they differ in what is not shown
    return f"{reason} ({metric} {reached}, {last} {has})"


def _standing(details: Mapping[str, Any], life: TrialLife) -> str:
    """Say where a trial stood at a rung: 'val accuracy 0.86 at the rung of epoch 3, number 2 of 9, 0.84 was needed'."""
    reached, needed = _score(details, "score", life), _score(details, "threshold", life)
    numbers = [details.get(name) for name in ("rung", "rank", "compared")]
    if not (reached and needed) or not all(isinstance(number, int) for number in numbers):
        return ""
    rung, rank, compared = numbers
    metric = words(life.tables.spec.search.metric)
    return f"{metric} {reached} at the rung of epoch {rung}, number {rank} of {compared}, {needed} was needed"


def _score(details: Mapping[str, Any], name: str, life: TrialLife) -> str:
    """A score that decided as the metric that it was made of; empty where there is none."""
    number = details.get(name)
    return score(life.tables.spec.search.sign * number) if isinstance(number, float | int) else ""


def _evaluated(details: Mapping[str, Any], life: TrialLife) -> str:
    return f"as the best of its arm it met the test split: {tested(details)}"


def _because(what: str) -> Callable[[Mapping[str, Any], TrialLife], str]:
    """A sentence that ends with the reason, where one was recorded."""

    def told(details: Mapping[str, Any], life: TrialLife) -> str:
        return f"{what}: {details['reason']}" if details.get("reason") else what

    return told


_TOLD: Mapping[str, Callable[[Mapping[str, Any], TrialLife], str]] = {
    "created": _created,
    "started": _because("a worker takes it"),
    "paused": _because("pauses"),
    "moved": _because("moves to another node"),
    "promoted": _promoted,
    "joined": _joined,
    "exploited": _exploited,
    "perturbed": _perturbed,
    "retried": _because("failed, and is tried again from its last checkpoint"),
    "restored": _because("goes on from an older checkpoint"),
    "repeated": _because("this epoch was trained again, from an older checkpoint"),
    "stopped": _stopped,
    "failed": _because("failed for good"),
    "finished": _because("finished"),
    "interrupted": _because("interrupted with the sweep"),
    "resumed": _because("the sweep was resumed, and it goes on"),
    "evaluated": _evaluated,
}
