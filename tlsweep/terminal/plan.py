"""The plan of a sweep on the screen: what `tlsweep check` says."""

from typing import TYPE_CHECKING

from rich.console import Console

from tlsweep.terminal.columns import named_lines
from tlsweep.terminal.format import counted, duration, size

if TYPE_CHECKING:
    from tlsweep.sweep import Plan

_CLASSES_NAMED = 8
_CHECKED = "same versions, clocks, disks, object store, images and own modules within reach, results written and read"


def print_plan(console: Console, plan: "Plan") -> None:
    """One line for each thing that will be used, trained or written."""
    channels, height, width = plan.image_shape
    skipped = f"; {counted(plan.skipped_files, 'file')} skipped" if plan.skipped_files else ""
    lines = [
        ("images", f"{plan.train_images:,} for training, {plan.val_images:,} for validation, "
                   f"{plan.test_images:,} for the test{skipped}"),
        ("classes", _classes(plan.classes)),
        ("image", f"{height} × {width} pixels, {'grey' if channels == 1 else 'colour'}"),
        ("model", f"{plan.model}, {counted(plan.parameters, 'parameter')}"),
        ("weights", plan.weights or "random"),
        ("trials", f"{counted(plan.trials, 'trial')} in {counted(len(plan.arms), 'arm')}, at most "
                   f"{counted(plan.epochs_at_most, 'epoch')} together"),
        *([("runs", f"{counted(plan.runs, 'network')} in each trial, one for each fold and repeat")]
          if plan.runs > 1 else []),
        ("runs on", f"{plan.device}, {counted(plan.slots, 'trial')} at once"),
        *([("nodes", f"{counted(plan.nodes_checked, 'node')} checked: {_CHECKED}")] if plan.nodes_checked else []),
        ("time", f"{duration(plan.seconds_at_most)} of training if nothing is stopped early; starting and "
                 "reporting come on top"),
        ("storage", f"at most {size(plan.storage_bytes)}; {size(plan.checkpoint_bytes)} for each checkpoint"),
    ]  # fmt: skip
    console.print(named_lines(lines))


def _classes(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _CLASSES_NAMED} more" if len(names) > _CLASSES_NAMED else ""
    return f"{len(names)}: {', '.join(names[:_CLASSES_NAMED])}{more}"
