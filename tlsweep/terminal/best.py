"""The winner on the screen."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tlsweep.report import Best, Segment, describe_runs, faults, find_best, tables_by
from tlsweep.spec import FunctionSpec, Hyperparameters, ImageSpec, SweepSpec, TrainSettings
from tlsweep.spec.federation import Federated
from tlsweep.store import Location, Results, SweepFolder
from tlsweep.store.folder import command
from tlsweep.store.locations import STATE
from tlsweep.terminal.classes import print_classes
from tlsweep.terminal.columns import Column, fit_table, named_lines
from tlsweep.terminal.format import counted, location, named, uncertain, value, words
from tlsweep.terminal.outcome import next_steps, print_arms


def print_best(console: Console, results: Results, metric: str | None = None) -> None:
    """Trial, values, schedule, metrics, gain, model; of the winner by `metric`, or by the sweep's own.

    Raises:
        ResultsError: there is no winner yet, or no such metric.
    """
    tables = tables_by(results, metric)
    best = find_best(tables)
    console.print(named_lines(_head(best)))
    if len(best.schedule) > 1:
        console.print(Text("\nschedule", style="bold"))
        print_schedule(console, best.schedule, list(dict.fromkeys(("lr", "batch_size", *tables.spec.space))))
    console.print()
    of_runs = f" (± standard error over {runs})" if (runs := describe_runs(tables.spec)) else ""
    if best.soup and best.averaged:
        console.print(named_lines([("handed over", f"{best.soup.made_of()}, of which these are the figures:")]))
    validation = _metrics(best.result.val, best.result.val_error) + of_runs
    meets_test = isinstance(best.spec, ImageSpec) or best.spec.finalises
    test = [("test", _test(best, of_runs))] if meets_test else []
    console.print(named_lines([("validation", validation), *test]))
    if best.classes is not None:
        console.print(Text("\nclasses of the test split", style="bold"))
        print_classes(console, best.classes)
    main = best.arms[0]
    if len(best.arms) > 1 or main.trained or best.soup:
        console.print()
        print_arms(console, tables, best.arms)
    console.print()
    trial = main.trained.trial if main.trained else best.trial
    steps = next_steps(console, tables.path, ("report",), trial, "its epochs, and each decision about it")
    console.print(named_lines([*_files(best, results.folder, faults(tables)), *steps]))


def _head(best: Best) -> list[tuple[str, str]]:
    sweep = [("sweep", best.sweep)]
    if best.searched_by:
        sweep.append(("ranked by", ranked_by(best.spec.search.metric, best.searched_by)))
    if not best.schedule:
        return [*sweep, ("best trial", named(best.trial))]
    space = best.spec.space
    changing = [name for name in space if len({segment.hyperparameters[name] for segment in best.schedule}) > 1]
    steady = [name for name in _told(best) if name not in changing]
    return [
        *sweep,
        ("best trial", f"{best.trial}, at epoch {best.epoch}"),
        *((words(name), value(best.end(name)) + _over(name, best)) for name in steady),
        *((words(name), _change(value(best.start(name)), value(best.end(name)))) for name in changing),
        *_settings(best.spec),
    ]


def _told(best: Best) -> Iterable[str]:
    """What says how the winner was trained: what was searched, what matters most, and what is not as by default."""
    values, defaults = best.schedule[-1].hyperparameters, Hyperparameters.model_fields
    other = [name for name, field in defaults.items() if name in values and values[name] != field.default]
    told = dict.fromkeys(("lr", "batch_size", *best.spec.space, "optimizer", "lr_schedule", "freeze", *other))
    return [name for name in told if name in values]


def _over(name: str, best: Best) -> str:
    """What the schedule's name leaves open: how long it is, and where on it the winner was taken."""
    if name != "lr_schedule":
        return ""
    of = "best is" if best.averaged else "model is of"
    return f", over {counted(best.spec.epochs, 'epoch')}; the {of} epoch {best.epoch}"


def _settings(spec: SweepSpec) -> list[tuple[str, str]]:
    """What all trials share and is not as by default."""
    if not isinstance(spec, ImageSpec):
        return []
    settings = spec.train.settings()
    fields = TrainSettings.model_fields.items()
    changed = {name: getattr(settings, name) for name, field in fields if getattr(settings, name) != field.default}
    told = {
        name: shared.in_words if isinstance(shared, Federated) else value(shared) for name, shared in changed.items()
    }
    return [(words(name), text) for name, text in told.items() if name != "epochs"]


def ranked_by(metric: str, searched_by: str | None) -> str:
    """Name the metric, and the one that the sweep was searched by if that is another."""
    return words(metric) + (f"; the sweep was searched by {words(searched_by)}" if searched_by else "")


def _change(start: str, end: str) -> str:
    if start == end:
        return f"{start} at the start and at the end, and another in between"
    return f"{start} at the start, {end} at the end"


def print_schedule(console: Console, schedule: list[Segment], names: list[str]) -> None:
    """The configurations that led to a result, one after another."""

    def at(name: str) -> Column[Segment]:
        optional = name not in ("lr", "batch_size")
        return Column(words(name), lambda segment: value(segment.hyperparameters[name]), optional=optional)

    columns = [
        Column[Segment]("epochs", lambda segment: _span(segment)),
        Column[Segment]("trained by", lambda segment: segment.trial, right=False),
        *map(at, names),
    ]
    console.print(fit_table(columns, schedule, console.width))


def _span(segment: Segment) -> str:
    first, last = segment.from_epoch + 1, segment.to_epoch
    return str(first) if first == last else f"{first}-{last}"


def _metrics(metrics: Mapping[str, float], errors: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {uncertain(number, errors.get(name))}" for name, number in metrics.items())


def _test(best: Best, of_runs: str) -> str:
    result = best.result
    if not result.test and best.searched_by:
        return f"not evaluated: only the winner by {words(best.searched_by)} meets it"
    if not result.test:
        return "not evaluated; the winner meets it when the sweep ends"
    return _metrics(result.test, result.test_error) + of_runs


def _files(best: Best, folder: SweepFolder, faults: Mapping[str, str]) -> list[tuple[str, str]]:
    files: list[tuple[str, Location | None]] = [("model", best.model), ("recipe", best.recipe)]
    # A sweep that was kept as evidence has no journal, and mostly no model either.
    without = "not kept" if folder.unused else "not written: the sweep has not ended"
    if best.searched_by:
        without = f"not kept: only those of the winner by {words(best.searched_by)} are"
    known = {name: location(path) if path else without for name, path in files}
    lines = {**known, **faults}
    if isinstance(best.spec, FunctionSpec):
        state = location(best.model / STATE) if best.model else lines["model"]
        return [("state", state), ("function", best.spec.trial), ("recipe", lines["recipe"])]
    if isinstance(best.model, Path):
        # Quoted as Python does, for copying into a session of it.
        load = f"network, info = tlsweep.training.load_exported({location(best.model)!r})"
        use = {"new images": f"{command('predict', folder.path)} IMAGES", "in Python": load}
        lines = {"model": lines["model"], **use, **lines}
    return list(lines.items())
