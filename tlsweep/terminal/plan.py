"""The plan of a sweep on the screen: what `tlsweep check` says."""

from typing import TYPE_CHECKING

from rich.console import Console

from tlsweep.terminal.columns import named_lines
from tlsweep.terminal.format import counted, duration, size
from tlsweep.text import listed

if TYPE_CHECKING:
    from tlsweep.planning import Plan
    from tlsweep.planning.function_plan import FunctionPlan

_NAMES = 10
"""Characters that the names on the left take, with the gap behind them."""
_NAMED = {"val": "the validation is", "test": "the test is"}
_MUCH = 0.9
"""Part of the mean step's time that the fastest one takes at least where the machine is not busy with other work."""
_SKIPPED = 3
"""Skipped files that are named."""
_CHECKED = "same versions, clocks, disks, object store, images and own modules within reach, results written and read"


def print_plan(console: Console, plan: "Plan") -> None:
    """One line for each thing that will be used, trained or written."""
    channels, height, width = plan.image_shape
    lines = [
        ("images", f"{plan.train_images:,} for training, {plan.val_images:,} for validation, "
                   f"{plan.test_images:,} for the test{_set_aside(plan.set_aside)}"),
        *(("skipped", line) for line in _skipped(plan.skipped)),
        ("classes", _classes(plan.classes, 2 * (console.width - _NAMES))),
        ("balance", plan.class_sizes),
        *(("clients", line) for line in plan.clients),
        ("image", f"{height} × {width} pixels, {'grey' if channels == 1 else 'colour'}"),
        ("resize", plan.resizing),
        *(("normalize", line) for line in plan.normalisation),
        ("augment", plan.augmentation),
        *(("look at", finding) for finding in plan.findings),
        ("model", f"{plan.model}, {counted(plan.parameters, 'parameter')}{_head(plan.head)}"),
        ("weights", plan.weights or "random"),
        *(("head", f"begins with {line}") for line in plan.beginnings),
        ("layers", plan.layer_decay),
        *(("frozen", line) for line in plan.frozen),
        ("trials", f"{counted(plan.trials, 'trial')} in {counted(len(plan.arms), 'arm')}, at most "
                   f"{counted(plan.epochs_at_most, 'epoch')} together"),
        ("runs", _runs(plan.runs)),
        ("runs on", f"{plan.device}, {counted(plan.slots, 'place')}"),
        ("nodes", _nodes(plan.nodes_checked)),
        ("time", f"{_span(plan)} of training if nothing is stopped early; starting and reporting come on top"),
        ("storage", f"at most {size(plan.storage_bytes)}; {size(plan.checkpoint_bytes)} for each checkpoint"),
        *(("track", line) for line in plan.tracked),
        *(("note", remark) for remark in plan.remarks),
    ]  # fmt: skip
    console.print(named_lines([(name, text) for name, text in lines if text]))


def print_function_plan(console: Console, plan: "FunctionPlan") -> None:
    """The same of a sweep over a function of the user's own."""
    lines = [
        ("function", f"{plan.function}, which reports {', '.join(plan.reports)}"),
        ("restore", "from a state of it the next report is the same"),
        ("lr", plan.lr),
        ("finalise", "" if plan.tests is None else f"gives {', '.join(plan.tests) or 'no metrics'}"),
        ("trials", f"{counted(plan.trials, 'trial')}, at most {counted(plan.epochs_at_most, 'epoch')} together"),
        ("runs on", f"{plan.device}, {counted(plan.slots, 'place')}"),
        ("nodes", _nodes(plan.nodes_checked)),
        ("time", f"{duration(plan.seconds_at_most)} if nothing is stopped early; starting and reporting come on top"),
        ("storage", f"at most {size(plan.storage_bytes)}; {size(plan.checkpoint_bytes)} for each checkpoint"),
        *(("track", line) for line in plan.tracked),
        *(("note", remark) for remark in plan.remarks),
    ]
    console.print(named_lines([(name, text) for name, text in lines if text]))


def _span(plan: "Plan") -> str:
    """From the time on a machine with nothing else to do to that on one as busy as now."""
    if 0 < plan.seconds_at_least < _MUCH * plan.seconds_at_most:
        return f"{duration(plan.seconds_at_least)} to {duration(plan.seconds_at_most)} (as other work leaves room)"
    return duration(plan.seconds_at_most)


def _set_aside(splits: tuple[str, ...]) -> str:
    """Where images come from that no folder of their own, or no part of the source, holds."""
    if not splits:
        return ""
    fields = ", ".join(f"data.{split}_fraction" for split in splits)
    who = "validation and test are" if len(splits) > 1 else _NAMED[splits[0]]
    return f"; {who} set aside from the images for training ({fields})"


def _skipped(files: tuple[str, ...]) -> list[str]:
    more = [f"and {counted(len(files) - _SKIPPED, 'more file')}"] if len(files) > _SKIPPED else []
    return [*files[:_SKIPPED], *more]


def _runs(count: int) -> str:
    if count > 1:
        return f"{counted(count, 'network')} in each trial, one for each fold and repeat"
    return ""


def _nodes(checked: int) -> str:
    return f"{counted(checked, 'node')} checked: {_CHECKED}" if checked else ""


def _head(layer: str) -> str:
    return f", new last layer '{layer}'" if layer else ""


def _classes(names: tuple[str, ...], width: int) -> str:
    """How many there are, and the names of as many as two lines have room for."""
    told = [f"{len(names)}: {listed(names, most)}" for most in range(1, len(names) + 1)]
    return next((text for text in reversed(told) if len(text) <= width), told[0])
