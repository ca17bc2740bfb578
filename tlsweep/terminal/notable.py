"""What happened, in one line."""

from tlsweep.report.soup import read_soup
from tlsweep.store import Descent, Record, SweepState
from tlsweep.store.starts import START
from tlsweep.terminal.format import counted, named, score, tested, uncertain, value, words

_ENDS = ("stopped", "finished", "failed", "interrupted")
_NODES = {
    "node_joined": "joined",
    "node_draining": "is about to be taken away",
    "node_lost": "is lost, its trials go on elsewhere",
}


def notable(record: Record, state: SweepState) -> str | None:
    """A line about a record that people want to know of; None about the others. The state has it applied already."""
    if record["type"] != "event":
        return None
    kind, details = record["kind"], record["details"]
    if kind == "node_refused":
        return f"node {details['address']} joined, but is not used: {'; '.join(details['problems'])}"
    if kind in _NODES:
        return f"node {details['address']} {_NODES[kind]}; {counted(details['slots'], 'place')}"
    if kind == "evaluated":
        who = named(record["trial"] or details.get("trial", START))
        return f"best of {record['arm']}: {who}, test {tested(details)}"
    if kind == "souped":
        return read_soup(details).in_words()
    if record["trial"] is None:
        return None
    if kind in _ENDS:
        return _end(record, state)
    if kind == "exploited":
        descent = Descent.from_details(details)
        new = descent.hyperparameters
        return (
            f"{record['trial']} took over the weights of {descent.donor} (epoch {descent.epoch}) "
            f"and goes on with lr {value(new['lr'])}, batch size {value(new['batch_size'])}"
        )
    if kind in ("retried", "restored"):
        return f"{record['trial']} {_setback(record)} (epoch {record['epoch']}): {details['reason']}"
    if kind == "moved":
        return f"{record['trial']} moves (epoch {record['epoch']}): {details['reason']}"
    if kind == "promoted":
        return f"{record['trial']} goes on from the rung of epoch {record['epoch']}"
    if kind == "joined":
        rank = f"number {details['rank']} of the screening"
        return f"{record['trial']} is one of {counted(details['members'], 'member')} of the population: {rank}"
    return None


def _setback(record: Record) -> str:
    """What happened to a trial that goes on all the same."""
    if record["kind"] == "restored":
        return "goes on from an older checkpoint"
    what = "failed" if record["details"]["counted"] else "lost its worker"
    return f"{what}, and goes on from its last checkpoint"


def _end(record: Record, state: SweepState) -> str:
    trial = state.trials[record["trial"]]
    values = trial.hyperparameters
    reached = f", best {words(state.metric)} {score(trial.best[state.metric])}" if trial.best else ""
    told = trial.reason and record["kind"] != "finished"  # which says it already
    reason = f": {trial.reason}" if told else ""
    return (
        f"{trial.trial} {record['kind']} after {counted(trial.epoch, 'epoch')} (lr {value(values['lr'])}, "
        f"batch size {value(values['batch_size'])}{reached}){reason}"
    )


def best_line(state: SweepState, arms: tuple[str, ...]) -> str:
    """The best metric so far, of each arm; empty before the first."""
    found = [(arm, leader) for arm in arms if (leader := state.winner(arm)) is not None and leader.best is not None]
    return ", ".join(
        f"{arm + ' ' if len(arms) > 1 else ''}{uncertain(best[state.metric], best.get(f'{state.metric}_se'))} "
        f"({leader.trial})"
        for arm, leader in found
        if (best := leader.best) is not None
    )
