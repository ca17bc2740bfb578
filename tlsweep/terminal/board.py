"""The picture of a running sweep: pure functions from what is known to what is drawn."""

from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tlsweep.report import describe_search
from tlsweep.spec import PopulationSearch, SweepSpec
from tlsweep.store import Record, Status, TrialState
from tlsweep.store.folder import command
from tlsweep.store.journal import is_finite
from tlsweep.terminal.columns import Column, fit_table
from tlsweep.terminal.console import line
from tlsweep.terminal.format import MISSING, TOKEN_HINT, counted, duration, location, score, uncertain, value, words
from tlsweep.terminal.notable import best_line
from tlsweep.terminal.progress import Progress
from tlsweep.text import one_line

if TYPE_CHECKING:
    from tlsweep.observer import SweepView


def board(view: "SweepView", progress: Progress, *, note: str, phase: str, width: int, height: int) -> RenderableType:
    """The whole picture, at most `width` × `height` characters as long as there is room for one row.

    Args:
        view: What runs.
        progress: How far it is.
        note: The latest thing that happened; may be empty.
        phase: What is done now that no trial runs any more; empty while they run.
        width: The terminal's, in characters.
        height: The terminal's, in lines.
    """
    head = _head(view)
    foot = [
        _line("best so far  ", best_line(view.state, view.spec.arms) or "no epoch is complete yet"),
        _line("latest       ", note or "no trial has ended yet"),
        _line("now          ", phase) if phase else _bar(progress, width),
    ]
    trials = _running_first(view)
    room = max(height - len(head) - len(foot) - 5, 1)  # two blank lines, the heading, the rest, and the cursor's line
    shown, rest = trials[:room], trials[room:]
    table = fit_table(_columns(view.spec), shown, width)
    return Group(*head, Text(), table, *([_rest(rest)] if rest else []), Text(), *foot)


def _head(view: "SweepView") -> list[Text]:
    path = view.folder.path
    lines = [
        _line("sweep        ", f"{describe_search(view.spec)}, in {counted(view.slots, 'place')}"),
        _line("results      ", f"{location(path)} (in a browser: {command('report', path)} --serve)"),
    ]
    if view.dashboard:
        lines.append(_line("dashboard    ", f"{view.dashboard} (its token: {TOKEN_HINT})"))
    return lines


def _line(name: str, text: str) -> Text:
    return Text.assemble((name, "bold"), one_line(text), no_wrap=True, overflow="ellipsis")


def _running_first(view: "SweepView") -> list[TrialState]:
    """Running trials, then the others; each group from the best to those without a result."""
    metric, sign = view.state.metric, view.state.sign

    def rank(trial: TrialState) -> tuple[bool, float, int]:
        reached = trial.score(metric, sign)
        return trial.status is not Status.RUNNING, -reached if reached is not None else float("inf"), trial.number

    # A copy, as the sweep's thread adds trials while this one draws.
    trials = list(view.state.trials.values())
    return sorted(trials, key=rank)


def _columns(spec: SweepSpec) -> list[Column[TrialState]]:
    metric = spec.search.metric

    def at(name: str) -> Column[TrialState]:
        return Column(words(name), lambda trial: value(trial.hyperparameters[name]), optional=2)

    generation = [Column[TrialState]("gen", lambda trial: str(trial.generation), optional=2)]
    return [
        Column("trial", lambda trial: trial.trial, right=False),
        Column("lr", lambda trial: value(trial.hyperparameters["lr"])),
        Column("batch", lambda trial: value(trial.hyperparameters["batch_size"])),
        *(at(name) for name in spec.space if name not in ("lr", "batch_size")),
        *(generation if isinstance(spec.search, PopulationSearch) else []),
        Column("epoch", lambda trial: f"{trial.epoch}/{spec.epochs}"),
        Column(words(metric), lambda trial: score(trial.last[metric]) if trial.last else MISSING, optional=1),
        Column("best", lambda trial: _best(trial.best, metric)),
        Column("state", lambda trial: str(trial.status), right=False),
    ]


def _best(report: Record | None, metric: str) -> str:
    if report and is_finite(report[metric]):
        return uncertain(report[metric], report.get(f"{metric}_se"))
    return MISSING


def _rest(trials: list[TrialState]) -> Text:
    states = Counter(str(trial.status) for trial in trials).most_common()
    return line(f"and {len(trials)} more: {', '.join(f'{count} {state}' for state, count in states)}", "dim")


def _bar(progress: Progress, width: int) -> RenderableType:
    left = f", at most {duration(progress.left)} left" if progress.left is not None else ""
    text = f"{progress.done} of at most {counted(progress.at_most, 'epoch')}, {duration(progress.elapsed)}{left}"
    row = Table.grid(padding=(0, 2, 0, 0))
    bar = ProgressBar(total=max(progress.at_most, 1), completed=progress.done, width=max(width - len(text) - 17, 8))
    row.add_row(Text("progress   ", style="bold"), bar, Text(text, no_wrap=True, overflow="ellipsis"))
    return row
