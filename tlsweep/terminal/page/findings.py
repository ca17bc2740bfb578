"""What a sweep found, in sentences: each with its number, n and interval, and none that the data do not carry."""

from collections.abc import Iterator

from tlsweep.report import (
    ArmResult,
    Cell,
    SweepTables,
    arm_results,
    failures,
    faults,
    find_confirmation,
    find_soup,
    gain,
    landscape,
    lineage,
    unplaced_heads,
)
from tlsweep.report.arms import winner
from tlsweep.spec import MAIN_ARM, ImageSpec
from tlsweep.store.starts import START
from tlsweep.terminal.format import bounds, counted, difference, score, uncertain, value, words
from tlsweep.terminal.outcome import no_training_helped, test_accuracy

_NAMED = 3
"""Failures that are told; the others are counted."""


def findings(tables: SweepTables) -> list[str]:
    """The sentences, the most important first."""
    arms = arm_results(tables)
    if not arms:
        return ["No trial has completed an epoch with a finite metric, so nothing is known yet.", *_failures(tables)]
    return [
        *(_best(tables, arm) for arm in arms if arm.arm == MAIN_ARM),
        *(_confirmed(tables) or (_against(arms, arm, _images(tables, arm)) for arm in arms if arm.against is not None)),
        *_soup(tables),
        *(f"{no_training_helped(tables.spec, arm.arm, arm.trained)}." for arm in arms if arm.trained),
        *_schedule(tables),
        *_works(tables),
        *(f"Note: {remark}." for remark in unplaced_heads(tables.spec, tables.environment)),
        *_failures(tables),
        *(f"Missing: {line}" for line in faults(tables).values()),
    ]


def _images(tables: SweepTables, arm: ArmResult) -> int:
    """Test images behind the interval of an arm."""
    return len({row["image"] for row in tables.predictions if row["arm"] == arm.arm})


def _best(tables: SweepTables, arm: ArmResult) -> str:
    metric, best = tables.spec.search.metric, winner(tables, arm.arm)
    name = metric.removeprefix("val_")
    reached = uncertain(arm.val.get(name), arm.val_error.get(name))
    when = f" after epoch {best.best_epoch}" if best and arm.trial != START else ""
    trials = counted(sum(row["arm"] == arm.arm for row in tables.trials), "trial")
    said = f"The best of {trials} is {arm.trial}: {words(metric)} {reached}{when}"
    if not isinstance(tables.spec, ImageSpec):
        return f"{said}."
    if "accuracy" not in arm.test:
        return f"{said}. It has not met the test split."
    n = _images(tables, arm)
    known = f"n={n:,} test images" if n else "no predictions were kept, so its interval is not known"
    return f"{said}; test accuracy {test_accuracy(arm)} ({known})."


def _confirmed(tables: SweepTables) -> list[str]:
    """The verdict of a confirmation, which is set against others by seed; nothing of any other sweep."""
    found = find_confirmation(tables)
    if found is None:
        return []
    warnings = [f"Warning: {luck}." for luck in found.luck]
    return [f"{found.verdict[0].upper()}{found.verdict[1:]}.", f"For comparison: {found.comparison}.", *warnings]


def _against(arms: list[ArmResult], control: ArmResult, images: int) -> str:
    ahead = control.ahead
    if ahead is None:
        known = difference(gain(arms, control.arm, "val", "accuracy"))
        return f"{control.against} is {known} in validation accuracy against {control.arm}; no interval is known (n=1)."
    sure = "more than another draw of test images would change"
    if ahead.low <= 0 <= ahead.high:
        sure = "no difference that this sweep could show"
    return (
        f"{control.against} is {difference(ahead.value)} {bounds(ahead.low, ahead.high)} in test accuracy against "
        f"{control.arm} (n={images:,} images, paired; one sweep, so n=1 of seeds): {sure}."
    )


def _soup(tables: SweepTables) -> Iterator[str]:
    if soup := find_soup(tables):
        yield f"{soup.in_words()}."
        if bound := soup.bound_in_words():
            yield f"For comparison: {bound}."


def _schedule(tables: SweepTables) -> Iterator[str]:
    best = winner(tables, MAIN_ARM)
    if best is None or not best.best_epoch:
        return
    segments = lineage(tables.events, best.trial, best.generation, best.best_epoch)
    if len(segments) < 2:
        return
    for name in ("lr", "batch_size"):
        steps = [value(segment.hyperparameters[name]) for segment in segments]
        changes = [step for at, step in enumerate(steps) if at == 0 or step != steps[at - 1]]
        if len(changes) > 1:
            yield f"On the way to the winner {words(name)} went {' → '.join(changes)}, in {best.best_epoch} epochs."


def _works(tables: SweepTables) -> Iterator[str]:
    grid, search = landscape(tables), tables.spec.search
    known = {at: cell for at, cell in grid.cells.items() if cell.mean is not None and cell.n > 1}
    if len(known) > 1:
        (row, column), cell = max(known.items(), key=lambda item: search.sign * (item[1].mean or 0.0))
        low, high = grid.learning_rates[row]
        yield (
            f"On average learning rates of {value(low)} to {value(high)} with batch size {grid.batch_sizes[column]} "
            f"did best: {words(search.metric)} {score(cell.mean)} ± {score(cell.error)} (standard error, n={cell.n})"
            f"{_rivals(known, cell)}."
        )
    lost = sum(cell.diverged for cell in grid.cells.values())
    if lost:
        total = lost + sum(cell.n for cell in grid.cells.values())
        yield f"Of {counted(total, 'configuration')} in force {lost} diverged."


def _rivals(known: dict[tuple[int, int], Cell], best: Cell) -> str:
    """How many other cells lie within two standard errors of the difference."""
    close = [
        cell
        for cell in known.values()
        if cell is not best
        and abs((cell.mean or 0.0) - (best.mean or 0.0))
        <= 2 * ((cell.error or 0.0) ** 2 + (best.error or 0.0) ** 2) ** 0.5
    ]
    if not close:
        return ""
    return f"; {counted(len(close), 'other cell')} of the map cannot be told from it (within two standard errors)"


def _failures(tables: SweepTables) -> Iterator[str]:
    failed = failures(tables)
    if failed:
        told = "; ".join(
            f"{failure.trial} after {counted(failure.epoch, 'epoch')}: {failure.error}" for failure in failed[:_NAMED]
        )
        yield f"{counted(len(failed), 'trial')} of {len(tables.trials)} failed. {told}{'; …' * (len(failed) > _NAMED)}"
