"""What a launch leaves on the screen: the best trials, what the weights were worth, where everything lies."""

import io
from collections.abc import Sequence

from rich.console import Console, Group

from tlsweep.report import (
    ArmResult,
    Confirmation,
    Contender,
    Interval,
    Leader,
    SweepTables,
    arm_results,
    describe_runs,
    find_confirmation,
    find_soup,
    gain,
    leaders,
    learning_curve,
    load_tables,
    totals,
    unplaced_heads,
)
from tlsweep.spec import MAIN_ARM, ImageSpec, SweepSpec
from tlsweep.spec.search.study import SOUP_ARM
from tlsweep.store import Location, Results, Status, SweepFolder
from tlsweep.store.folder import command
from tlsweep.store.locations import files_below
from tlsweep.store.starts import START
from tlsweep.terminal.columns import Column, fit_table, named_lines, print_left_out
from tlsweep.terminal.console import SafeConsole, line
from tlsweep.terminal.format import (
    MISSING,
    bounds,
    counted,
    difference,
    duration,
    location,
    named,
    size,
    uncertain,
    value,
    words,
)
from tlsweep.text import one_line

_SHOWN = 10
_RESUME = "resume"
_NAMES = 13
"""Characters that the names on the left of a page take, with the gap behind them."""


def print_outcome(console: Console, results: Results, *, short: bool = False) -> None:
    """The end of a launch, from the tables that it wrote; `short`: three lines, four after an interrupt."""
    tables, interrupted = load_tables(results), results.interrupted
    console.print(line(headline(tables)))
    if interrupted:
        console.print(line("The sweep was interrupted; everything up to then is kept.", "yellow"))
    arms = arm_results(tables)
    if short:
        # Not wrapped, so that scripts read a line and people copy a path whole.
        said = "; ".join(_arm_line(arm, tables.spec.search.metric) for arm in arms)
        console.print(line(said or "no trial has completed an epoch"), soft_wrap=True)
        how = f"; '{command(_RESUME, tables.path)}' goes on" if interrupted else ""
        console.print(line(f"results in {location(tables.path)}{how}"), soft_wrap=True)
        return
    if arms:
        console.print()
        print_leaders(console, tables)
        if isinstance(tables.spec, ImageSpec):  # of a function of the user's own there is one, and no test split
            console.print()
            print_arms(console, tables, arms)
    console.print()
    verbs = ("best", "report") if arms else ("report",)
    if interrupted:
        verbs = (_RESUME, *verbs)
    steps = next_steps(console, tables.path, verbs, **asked_about(tables))
    console.print(named_lines(_where(tables) + steps))


def draw_outcome(results: Results, width: int, *, short: bool) -> str:
    """The same for a terminal elsewhere, `width` characters wide, with its colours as escape sequences."""
    drawn = io.StringIO()
    # In the 16 colours that every terminal has: which one will show it is not known here.
    console = SafeConsole(drawn, width=width, force_terminal=True, color_system="standard")
    print_outcome(console, results, short=short)
    return drawn.getvalue().rstrip("\n")


def headline(tables: SweepTables) -> str:
    """Sum a sweep up: 'digits: 8 trials (5 stopped, 3 finished), 40 epochs in 1m10s'."""
    sums = totals(tables)
    states = ", ".join(f"{count} {status}" for status, count in sums.statuses.items())
    return (
        f"{tables.name}: {counted(sums.trials, 'trial')}{f' ({states})' if states else ''}, "
        f"{counted(sums.epochs, 'epoch')} in {duration(sums.seconds)}"
    )


def print_leaders(console: Console, tables: SweepTables) -> None:
    """The ten best trials, and how many there are beside them."""
    ranked = leaders(tables)
    shown = ranked[:_SHOWN]
    columns = _columns(tables.spec, shown)
    console.print(fit_table(columns, shown, console.width))
    if more := len(tables.trials) - len(shown):
        console.print(line(f"and {more} more", "dim"))
    print_left_out(console, columns, shown)


def _columns(spec: SweepSpec, leaders: Sequence[Leader]) -> list[Column[Leader]]:
    metric, others = spec.search.metric, [name for name in spec.space if name not in ("lr", "batch_size")]
    known = {name for leader in leaders for name, reached in leader.metrics.items() if reached is not None}
    metrics = [name for name in dict.fromkeys((metric, "val_accuracy", "val_loss")) if name in known]

    def searched(name: str) -> Column[Leader]:
        return Column(words(name), lambda leader: value(leader.hyperparameters[name]), optional=3)

    def reached(name: str) -> Column[Leader]:
        return Column(f"best {words(name)}", lambda leader: _reached(leader, name), optional=0 if name == metric else 3)

    return [
        Column("trial", lambda leader: leader.trial, right=False),
        Column("lr", lambda leader: value(leader.hyperparameters["lr"])),
        Column("batch", lambda leader: value(leader.hyperparameters["batch_size"])),
        *map(reached, metrics),
        Column("best epoch", _best_epoch, optional=2),
        *map(searched, others),
        Column("state", lambda leader: leader.status, right=False, optional=1),
    ]


def _best_epoch(leader: Leader) -> str:
    """The best epoch of those that were trained: one that took over younger weights has had more than it counts now."""
    return f"{leader.best_epoch} of {max(leader.epochs, leader.best_epoch)}"


def _reached(leader: Leader, metric: str) -> str:
    return uncertain(leader.metrics[metric], leader.metrics.get(f"{metric}_se"))


def print_arms(console: Console, tables: SweepTables, arms: list[ArmResult]) -> None:
    """The best of each arm, and the gain of the main one over its controls; with few labels, the learning curve; of a
    confirmation its verdict."""
    if confirmation := find_confirmation(tables):
        _print_confirmation(console, tables, confirmation)
        return

    def row(arm: ArmResult) -> tuple[str, ...]:
        reached = uncertain(arm.val.get("accuracy"), arm.val_error.get("accuracy"))
        return arm.arm, arm.trial, reached, test_accuracy(arm)

    def before(arm: ArmResult) -> list[tuple[str, ...]]:
        if arm.trained:
            reached = uncertain(*(arm.trained.metrics.get(name) for name in ("val_accuracy", "val_accuracy_se")))
            return [(f"{arm.arm} after training", arm.trained.trial, reached, MISSING)]
        if arm.trial == START:
            return []
        several = len(arm.start) > 1
        return [(f"{arm.arm} before training{several * f', {name}'}", "", uncertain(accuracy, None), MISSING)
                for name, accuracy in arm.start.items()]  # fmt: skip

    def against(control: ArmResult) -> tuple[str, ...]:
        if control.arm == SOUP_ARM:  # which is a rival rather than a control
            return f"gain of {control.arm}", "", *_gain_of(arms, control)
        return f"gain over {control.arm}", "", difference(gain(arms, control.arm, "val", "accuracy")), ahead(control)

    def ahead(control: ArmResult) -> str:
        return with_bounds(difference(gain(arms, control.arm, "test", "accuracy")), control.ahead)

    curve = learning_curve(tables.spec, arms)
    on_curve = {result.arm for point in curve for result in (point.transfer, point.scratch) if result}
    rows = [cells for arm in arms for cells in (row(arm), *before(arm))]
    if any(arm.arm == MAIN_ARM for arm in arms):
        rows += [against(arm) for arm in arms if arm.arm != MAIN_ARM and arm.arm not in on_curve]
    titles = ("arm", "best trial", "val accuracy", "test accuracy")
    console.print(_cells_table(titles, rows, console.width))
    for arm in arms:
        if arm.trained:
            console.print(line(no_training_helped(tables.spec, arm.arm, arm.trained), "yellow"))
        elif arm.trial == START:
            console.print(
                line(f"{arm.arm}: nothing was trained; it is what the trials of {MAIN_ARM} begin with", "dim")
            )
    if soup := find_soup(tables):
        console.print(line(soup.in_words(), "green" if soup.handed_over else "dim"))
        if bound := soup.bound_in_words():
            console.print(line(f"for comparison: {bound}", "dim"))
    if curve:
        console.print()
        lines = [(str(point.labels_per_class), *map(test_accuracy, (point.transfer, point.scratch)),
                  ahead(point.scratch) if point.scratch else MISSING) for point in curve]  # fmt: skip
        console.print(_cells_table(("labels a class", "transfer", "scratch", "gain"), lines, console.width))
    for remark in unplaced_heads(tables.spec, tables.environment):
        console.print(line(remark, "yellow"))
    if any(arm.test_accuracy for arm in arms):
        console.print(line("[ ]: 95 % interval over test images (bootstrap)", "dim"))
    if runs := describe_runs(tables.spec):
        console.print(line(f"±: standard error over {runs}", "dim"))


def _print_confirmation(console: Console, tables: SweepTables, confirmation: Confirmation) -> None:
    """The winner and its rivals, best first, and what follows."""
    shown = (confirmation.winner, *confirmation.rivals)
    values = {leader.arm: leader for leader in leaders(tables)}
    if confirmation.winner.result.arm == SOUP_ARM:
        values[SOUP_ARM] = values[MAIN_ARM]

    def of(name: str, contender: Contender) -> str:
        leader = values.get(contender.result.arm)
        return MISSING if leader is None else value(leader.hyperparameters[name])

    def ahead(contender: Contender) -> str:
        behind = contender.behind
        return MISSING if behind is None else with_bounds(difference(behind.value), behind)

    columns = [
        Column[Contender]("contender", lambda contender: contender.name, right=False),
        Column[Contender]("lr", lambda contender: of("lr", contender), optional=2),
        Column[Contender]("batch", lambda contender: of("batch_size", contender), optional=2),
        Column[Contender](
            "val accuracy",
            lambda contender: uncertain(
                contender.result.val.get("accuracy"), contender.result.val_error.get("accuracy")
            ),
            optional=1,
        ),
        Column[Contender](
            "test accuracy",
            lambda contender: with_bounds(uncertain(contender.test.value, contender.error), contender.test),
        ),
        Column[Contender]("the winner is ahead by", ahead),
    ]
    console.print(fit_table(columns, shown, console.width))
    print_left_out(console, columns, shown)
    about = f"{confirmation.seeds} seeds and {confirmation.images:,} test images"
    console.print(
        line(f"±: standard error over seeds; [ ]: 95 % interval over {about}, paired where it is a lead", "dim")
    )
    console.print(line(confirmation.verdict, ("bold yellow", "bold")[confirmation.holds]))
    console.print(line(confirmation.comparison, "dim"))
    for luck in confirmation.luck:
        console.print(line(f"warning: {luck}", "yellow"))
    if soup := find_soup(tables):
        console.print(line(soup.in_words(), "dim"))


def _gain_of(arms: list[ArmResult], rival: ArmResult) -> tuple[str, str]:
    """What a rival of the main arm is ahead of it on validation and test."""
    behind = [gain(arms, rival.arm, split, "accuracy") for split in ("val", "test")]
    # None stays None, and 0 is not made -0.0, whose sign would be shown.
    on_val, on_test = (difference(number and -number) for number in behind)
    return on_val, with_bounds(on_test, rival.ahead and rival.ahead.reversed())


def no_training_helped(spec: SweepSpec, arm: str, trained: Leader) -> str:
    """Why the start of an arm is its winner."""
    metric = spec.search.metric
    return (
        f"{arm}: no epoch of training is better on validation than what its trials begin with ({words(metric)} "
        f"{_reached(trained, metric)} at best, {trained.trial} at epoch {trained.best_epoch}), so that start is the "
        "winner, and nothing of it was trained"
    )


def test_accuracy(arm: ArmResult | None) -> str:
    """Show the test accuracy with its interval: 0.915 [0.886, 0.942]."""
    if arm is None:
        return MISSING
    return with_bounds(uncertain(arm.test.get("accuracy"), arm.test_error.get("accuracy")), arm.test_accuracy)


def with_bounds(figure: str, interval: Interval | None) -> str:
    """A figure, and the interval around it where it is known."""
    if interval:
        return f"{figure} {bounds(interval.low, interval.high)}"
    return figure


def _cells_table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]], width: int) -> Group:
    def column(at: int) -> Column[tuple[str, ...]]:
        named = titles[at] in ("arm", "best trial")
        return Column(titles[at], lambda cells: cells[at], right=not named, optional=int(titles[at] == "best trial"))

    return fit_table([column(at) for at in range(len(titles))], rows, width)


def _arm_line(arm: ArmResult, metric: str) -> str:
    if "accuracy" not in arm.val:
        reached = uncertain(arm.val.get(metric.removeprefix("val_")), None)
        return f"best of {arm.arm}: {named(arm.trial)}, {words(metric)} {reached}"
    test = uncertain(arm.test.get("accuracy"), arm.test_error.get("accuracy"))
    val = uncertain(arm.val.get("accuracy"), arm.val_error.get("accuracy"))
    reached = f"val accuracy {val}" + (f", test accuracy {test}" if test != MISSING else "")
    return f"best of {arm.arm}: {named(arm.trial)}, {reached}"


def _where(tables: SweepTables) -> list[tuple[str, str]]:
    folder = SweepFolder(tables.path)
    found = [(name, path) for name, path in (("best model", folder.best), ("recipe", folder.recipe)) if path.exists()]
    checkpoints = [file.size for file in files_below(folder.checkpoints).values()]
    return [
        *((name, location(path)) for name, path in found),
        ("tables", f"{location(tables.path / '*.parquet')}; 'tlsweep columns' explains them"),
        (
            "checkpoints",
            f"{location(folder.checkpoints)}, {counted(len(checkpoints), 'file')}, {size(sum(checkpoints))}",
        ),
    ]


def asked_about(tables: SweepTables) -> dict[str, str]:
    """The trial that people ask about, and what: the first of the main arm that was stopped, else one that failed.

    Where none was, as in a random search, nobody asks; the arguments of `next_steps`.
    """
    for status, question in ((Status.STOPPED, "why it was stopped"), (Status.FAILED, "why it failed")):
        for row in tables.trials:
            if row["status"] == status and row["arm"] == MAIN_ARM:
                return {"trial": row["trial"], "question": f"{question} (trials.reason)"}
    return {}


def next_steps(
    console: Console, path: Location, verbs: tuple[str, ...], trial: str = "", question: str = ""
) -> list[tuple[str, str]]:
    """What to type to see more of the sweep in `path`, and of one of its trials, with what that answers."""
    purpose = {
        _RESUME: "goes on where it stopped",
        "best": "the winner, and how it was trained",
        "report": "what works here, and what does not",
        "trial": question,
    }
    verbs = (*verbs, "trial") if trial else verbs
    commands = [one_line(command(verb, path, trial if verb == "trial" else "")) for verb in verbs]
    width = max(map(len, commands))
    lines = [f"{typed:{width}}  {purpose[verb]}" for verb, typed in zip(verbs, commands, strict=True)]
    if max(map(len, lines)) > console.width - _NAMES:
        lines = [text for verb, typed in zip(verbs, commands, strict=True) for text in (typed, f"  {purpose[verb]}")]
    return [("" if at else "next", text) for at, text in enumerate(lines)]
