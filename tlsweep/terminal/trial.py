"""The life of one trial on the screen."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.text import Text

from tlsweep.report import TrialLife, arm_results
from tlsweep.report.arms import evaluated
from tlsweep.report.rows import Row
from tlsweep.report.soup import hands_over_soup
from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM
from tlsweep.store import Record, Status, SweepFolder
from tlsweep.store.starts import START
from tlsweep.terminal.best import print_schedule
from tlsweep.terminal.columns import Column, fit_table, named_lines, print_left_out
from tlsweep.terminal.console import line
from tlsweep.terminal.decisions import decision
from tlsweep.terminal.format import counted, decimals, duration, location, named, score, uncertain, value, words
from tlsweep.terminal.outcome import asked_about, next_steps, no_training_helped
from tlsweep.text import several_lines


def print_trial(console: Console, life: TrialLife) -> None:
    """Configuration, decisions with their reasons, epochs, the origin of its weights, files."""
    console.print(line(_headline(life), "bold"))
    console.print(named_lines(_summary(life)))
    _title(console, "What was decided about it, after which epoch")
    console.print(named_lines([(_when(event, life), decision(event, life)) for event in life.events]))
    if life.reports:
        _title(console, "Its epochs")
        console.print(fit_table(_columns(life), life.reports, console.width))
        print_left_out(console, _columns(life), life.reports)
    if life.row["error"]:
        _title(console, "What it raised")
        console.print(Text(several_lines(life.row["error"].rstrip())))
    if len(life.lineage) > 1:
        _title(console, "How its weights were trained")
        print_schedule(console, list(life.lineage), _searched(life))
    console.print()
    console.print(named_lines(_files(life)))


def print_start(console: Console, tables: SweepTables) -> None:
    """What the trials of each arm begin with, and whether any epoch of training is better."""
    console.print(line(f"{START} of {tables.name}: what its trials begin with, before any training", "bold"))
    known = tables.environment.get("start") or {}
    lines = [
        (f"{arm}, {weights}", _values(figures)) for arm, starts in known.items() for weights, figures in starts.items()
    ]
    console.print(named_lines(lines or [("head", "torch's own initialisation, which knows nothing of the classes")]))
    for arm in arm_results(tables):
        if arm.trained:
            console.print(line(no_training_helped(tables.spec, arm.arm, arm.trained), "yellow"))
        elif arm.start:
            reached = uncertain(arm.val.get("accuracy"), arm.val_error.get("accuracy"))
            console.print(line(f"{arm.arm}: the winner is {named(arm.trial)}, val accuracy {reached}"))
    model = SweepFolder(tables.path).best
    winner = evaluated(tables).get(MAIN_ARM, {}).get("trial")
    if winner == START and not hands_over_soup(tables) and model.exists():
        console.print(named_lines([("model", location(model))]))


def print_trials(console: Console, tables: SweepTables) -> None:
    """All trials in order, how far each came, and why it ended."""
    if not tables.trials:
        console.print(line(f"no trial of '{tables.name}' has begun yet"))
        return
    metric = tables.spec.search.metric
    columns = [
        Column[Row]("trial", lambda row: row["trial"], right=False),
        Column[Row]("epoch", lambda row: f"{row['epoch']}/{tables.spec.epochs}"),
        Column[Row](
            f"best {words(metric)}", lambda row: uncertain(row[f"best_{metric}"], row.get(f"best_{metric}_se"))
        ),
        Column[Row]("state", lambda row: row["status"], right=False, optional=1),
        Column[Row]("why it ended", _why, right=False),
    ]
    console.print(fit_table(columns, tables.trials, console.width))
    steps = next_steps(console, tables.path, (), _example(tables), "its epochs, and each decision about it")
    console.print()
    console.print(named_lines(steps))


def _why(row: Row) -> str:
    """What has room in a line: of 'number 9 of 15 at the rung of epoch 3, of which …' what comes before the comma."""
    if row["reason"] and row["status"] == Status.STOPPED:
        return str(row["reason"]).partition(", ")[0]
    return str(row["reason"] or row["status"])


def _example(tables: SweepTables) -> str:
    """The trial in the next command: one that people ask about, else the first."""
    return asked_about(tables).get("trial") or str(next((row["trial"] for row in tables.trials), ""))


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(line(text, "bold"))


def _headline(life: TrialLife) -> str:
    row, metric = life.row, life.tables.spec.search.metric
    reached = "no epoch with a finite score"
    if row["best_epoch"] is not None:
        best = uncertain(row[f"best_{metric}"], row.get(f"best_{metric}_se"))
        reached = f"best {words(metric)} {best} at epoch {row['best_epoch']}"
    return f"{life.trial} of {life.tables.name}: {row['status']} after {counted(row['epoch'], 'epoch')}, {reached}"


def _summary(life: TrialLife) -> list[tuple[str, str]]:
    row, names = life.row, _searched(life)
    start = {name: row.get(f"start_{name}") for name in names}
    end = {name: row.get(name) for name in names}
    lines = [("arm", f"{row['arm']}, configuration number {row['number']}"), ("began with", _values(start))]
    if end != start:
        lines.append(("ended with", _values(end)))
    if row["reason"]:
        lines.append(("why it ended", str(row["reason"])))
    if row["device_seconds"]:
        lines.append(("took", f"{duration(row['device_seconds'])} of training and evaluation"))
    if row.get("failures"):
        lines.append(("failures", str(row["failures"])))
    return lines


def _searched(life: TrialLife) -> list[str]:
    """List lr, batch size, and what else is searched."""
    return list(dict.fromkeys(("lr", "batch_size", *life.tables.spec.space)))


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{words(name)} {value(number)}" for name, number in values.items() if number is not None)


def _when(event: Record, life: TrialLife) -> str:
    """Say after which epoch, and how long the sweep had run; in tables that lack that, the time since it began."""
    elapsed = event.get("elapsed")
    since = event["time"] - life.tables.events[0]["time"]
    return f"{event['epoch']:>5}  {duration(since if elapsed is None else elapsed):>6}"


def _columns(life: TrialLife) -> list[Column[Row]]:
    metric, known = life.tables.spec.search.metric, life.reports[-1]
    several = known["generation"] > 0

    def figure(name: str, optional: int) -> list[Column[Row]]:
        shown = Column[Row](words(name), lambda row: score(row[name]), optional=optional)
        return [shown] if known.get(name) is not None else []

    def base(name: str, heading: str) -> list[Column[Row]]:
        """What training had, and what the schedule made of it; a constant beside that stands in the summary already."""
        scheduled = f"scheduled_{name}"
        own = Column[Row](heading, lambda row: value(row[name]))
        if not any(row.get(scheduled) not in (None, row[name]) for row in life.reports):
            return [own]
        made = Column[Row](f"scheduled {heading}", lambda row: _three_digits(row[scheduled]), optional=1)
        return [own, made] if len({row[name] for row in life.reports}) > 1 else [replace(made, optional=0)]

    digits = decimals([_seconds(row) for row in life.reports])

    return [
        Column("epoch", lambda row: str(row["epoch"])),
        *([Column[Row]("generation", lambda row: str(row["generation"]), optional=1)] if several else []),
        *base("lr", "lr"),
        *base("batch_size", "batch"),
        Column(words(metric), lambda row: uncertain(row[metric], row.get(f"{metric}_se"))),
        *(
            column
            for name in ("val_accuracy", "val_loss", "train_loss")
            if name != metric
            for column in figure(name, 2)
        ),
        *(
            [Column[Row]("seconds", lambda row: f"{_seconds(row):.{digits}f}", optional=3)]
            if "train_seconds" in known
            else []
        ),
    ]


def _seconds(row: Row) -> float:
    parts = [row.get(f"{name}_seconds") or 0.0 for name in ("train", "eval", "wait")]
    return float(sum(parts))


def _three_digits(number: Any) -> str:
    """A value of a column in which it changes: trailing zeros stay."""
    return f"{number:#.3g}" if isinstance(number, float) and math.isfinite(number) else value(number)


def _files(life: TrialLife) -> list[tuple[str, str]]:
    where = life.tables.path
    kept = [location(path) for path in life.checkpoints]
    query = f"where trial = '{life.trial}'; 'tlsweep columns' says what each column means"
    return [
        *([("model", location(life.model))] if life.model else []),
        *[("" if at else "checkpoints", path) for at, path in enumerate(kept or ["none is kept"])],
        ("tables", f"{location(where / '*.parquet')}, {query}"),
    ]
