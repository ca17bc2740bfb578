"""What `tlsweep report` prints: what was done, what works here, what went wrong."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from tlsweep.report import (
    Cell,
    Landscape,
    SweepTables,
    arm_results,
    cut_costs,
    describe_model,
    describe_search,
    failures,
    faults,
    find_best,
    landscape,
    tables_by,
    totals,
)
from tlsweep.spec import MAIN_ARM, ImageSpec
from tlsweep.store import Results
from tlsweep.terminal.best import print_schedule, ranked_by
from tlsweep.terminal.classes import print_classes
from tlsweep.terminal.columns import Column, fit_table, named_lines, table_width
from tlsweep.terminal.console import line
from tlsweep.terminal.format import counted, duration, location, score, value, words
from tlsweep.terminal.outcome import asked_about, headline, next_steps, print_arms, print_leaders


def print_report(console: Console, results: Results, metric: str | None = None) -> None:
    """All sections, from the Parquet files; ranked by `metric`, or by the sweep's own."""
    tables = tables_by(results, metric)
    console.print(line(headline(tables), "bold"))
    console.print(named_lines(_summary(tables)))
    arms = arm_results(tables)
    if arms:
        _title(console, f"Best trials, by {ranked_by(tables.spec.search.metric, tables.searched_by)}")
        print_leaders(console, tables)
        _print_landscape(console, tables)
        _print_cuts(console, tables)
        if isinstance(tables.spec, ImageSpec):
            _title(console, "The arms against each other" if len(arms) > 1 else "Best of the sweep")
            print_arms(console, tables, arms)
    if any(result.arm == MAIN_ARM for result in arms):
        best = find_best(tables)
        if best.classes is not None:
            _title(console, f"Classes of the test split, as {best.trial} takes them")
            print_classes(console, best.classes)
        if len(best.schedule) > 1:
            _title(console, f"How {best.trial} came about")
            print_schedule(console, best.schedule, list(dict.fromkeys(("lr", "batch_size", *tables.spec.space))))
    _print_failures(console, tables)
    console.print()
    steps = (
        next_steps(console, tables.path, ("best",), **asked_about(tables))
        if arms
        else [("results", "no trial has completed an epoch")]
    )
    console.print(named_lines(steps))


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(line(text, "bold"))


def _summary(tables: SweepTables) -> list[tuple[str, str]]:
    spec = tables.spec
    return [
        ("search", f"{describe_search(spec)}, seed {spec.seed}"),
        ("task", describe_model(spec)),
        *_environment(tables.environment),
        ("training", f"{duration(totals(tables).device_seconds)} of training and evaluation, over all trials"),
        ("files", location(tables.path)),
        *(("missing", line) for line in faults(tables).values()),
    ]


def _environment(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What environment.json knows of images, weights and machine; nothing where a sweep ended before it was written."""
    lines = []
    data, weights = environment.get("data") or {}, environment.get("weights") or {}
    if _known(data, "function", "fingerprint"):
        lines.append(("function", f"{data['function']}; sha256 of its file {data['fingerprint'][:12]}"))
    elif _known(data, "images", "classes", "fingerprint"):
        images = ", ".join(f"{count:,} {split}" for split, count in data["images"].items())
        lines.append(("images", f"{images}; {len(data['classes'])} classes; fingerprint {data['fingerprint'][:12]}"))
    if _known(weights, "origin", "sha256"):
        lines.append(("weights", f"{weights['origin']}; sha256 {weights['sha256'][:12]}"))
    hardware = environment.get("hardware") or {}
    if _known(hardware, "processor", "cpus", "gpus"):
        machine = f"{hardware['processor']}, {value(hardware['cpus'])} CPUs, {value(hardware['gpus'])} GPUs"
        lines.append(("hardware", machine))
    return lines


def _known(facts: Mapping[str, Any], *names: str) -> bool:
    return all(facts.get(name) is not None for name in names)


def _print_landscape(console: Console, tables: SweepTables) -> None:
    grid = landscape(tables)
    if not grid.cells:
        return
    arm = f" in the arm {MAIN_ARM}" if len(tables.spec.arms) > 1 else ""
    rows = range(len(grid.learning_rates))
    errors = table_width(_landscape_columns(grid, errors=True), rows) <= console.width
    figure = "mean ± standard error (n)" if errors else "mean (n)"
    _title(console, f"What works here{arm}: best {words(tables.spec.search.metric)}, {figure}")
    console.print(fit_table(_landscape_columns(grid, errors=errors), rows, console.width))


def _print_cuts(console: Console, tables: SweepTables) -> None:
    costs = cut_costs(tables)
    if not costs:
        return
    _title(console, "What stopping trials early may have cost")
    for cost in costs:
        console.print(line(cost.in_words()))
    console.print(line("what the trials that were cut would have become was not seen: nothing trained them on", "dim"))


def _landscape_columns(grid: Landscape, *, errors: bool) -> list[Column[int]]:
    """A column for each batch size, a row for each range of lr; without standard errors it is half as wide."""

    def low(row: int) -> str:
        first, last = grid.learning_rates[row]
        return f"{value(first)} to {value(last)}"

    def at(column: int) -> Column[int]:
        return Column(f"batch {grid.batch_sizes[column]}", lambda row: _cell(grid, row, column, errors=errors))

    return [Column[int]("lr", low, right=False), *map(at, range(len(grid.batch_sizes)))]


def _cell(grid: Landscape, row: int, column: int, *, errors: bool) -> str:
    cell: Cell | None = grid.cells.get((row, column))
    if cell is None:
        return ""
    if cell.mean is None:
        return f"diverged ({cell.diverged})"
    error = f" ± {score(cell.error)}" if errors and cell.error is not None else ""
    return f"{score(cell.mean)}{error} ({cell.n}{f', {cell.diverged} diverged' if cell.diverged else ''})"


def _print_failures(console: Console, tables: SweepTables) -> None:
    failed = failures(tables)
    if failed:
        _title(console, f"{counted(len(failed), 'trial')} failed")
        console.print(
            named_lines(
                [(failure.trial, f"after {counted(failure.epoch, 'epoch')}: {failure.error}") for failure in failed]
            )
        )
