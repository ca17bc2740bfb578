"""The model card: what a model is, how good that is and how sure, how it was made, what nobody tested."""

from collections.abc import Iterable, Sequence
from typing import Any

from tlsweep.inference.models import FILES
from tlsweep.inference.snippets import code_for
from tlsweep.models.weights import weights_names
from tlsweep.report import Best
from tlsweep.report.describe import describe_model, describe_runs, describe_search
from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM, ModelSpec
from tlsweep.spec.images import require_images
from tlsweep.spec.model import WEIGHTS
from tlsweep.spec.yaml_text import write_yaml
from tlsweep.text import one_line
from tlsweep.training.exported import ExportInfo

_FEW = 30
"""Test images of a class below which a share of them says little: with 30, 80 % may be anything from 61 to 92."""
_LARGEST_MATRIX = 30


def model_card(tables: SweepTables, best: Best, info: ExportInfo, form: str, *, with_preprocessing: bool) -> str:
    """The text, in Markdown; names of others are shown and never obeyed."""
    spec = require_images(tables.spec, "a model card")
    parts = [
        f"# {_text(tables.name)}: a classifier of {len(info.classes)} classes",
        f"{_text(describe_model(spec))}. Found by a sweep of tlsweep ({describe_search(spec)}), "
        f"{_made_of(best)}. Classes: {', '.join(map(_text, info.classes))}.",
        "## Use",
        f"`tlsweep predict {FILES[form]} IMAGES` in this folder"
        f"{' (with --own-code: a .pt2 may hold code)' if form == 'pt2' else ''}, or in Python:",
        f"```python\n{code_for(info, form, with_preprocessing=with_preprocessing)}```",
        _input(info, form, with_preprocessing),
        "## Data",
        _data(tables),
        "## How good it is",
        _table(("figure", "validation", "test"), _figures(best)),
        _sureness(tables, best),
        *_classes(best),
        "## How it was trained",
        _recipe(best),
        "## Licence of the weights",
        _licence(spec.model, str(best.values[MAIN_ARM].get(WEIGHTS, "")), tables),
        "## Not tested",
        _untested(best),
    ]
    return "\n\n".join(parts) + "\n"


def _made_of(best: Best) -> str:
    if best.soup and best.averaged:
        return _text(best.soup.made_of())
    return f"trial {_text(best.trial)} at epoch {best.epoch}"


def _text(name: object) -> str:
    """Text of others as Markdown shows it: no markup, no code, no table's border."""
    # As entities, which CommonMark never takes for markup (6.4): a backslash would itself have to be escaped in tables.
    return "".join(f"&#{ord(sign)};" if sign in "\\`*_[]<>&|" else sign for sign in one_line(str(name)))


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def _table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in lines)


def _input(info: ExportInfo, form: str, with_preprocessing: bool) -> str:
    rule = info.preprocessing
    stored, size = rule["stored_size"], rule["image_size"]
    channels = rule["channels"]
    how = (
        f"{_text(rule['resize'])}; {_text(rule['scale'])} (mean {_numbers(rule['mean'])}; std {_numbers(rule['std'])})."
    )
    if form == "safetensors":
        return f"The input: {how}"
    takes = (
        f"`pixels`, uint8 (N, {stored}, {stored}, {channels}): decoded and resized outside of the graph, as the code "
        "does, because no operator of a graph resizes to the same pixels as Pillow; the rest is in the graph."
        if with_preprocessing
        else f"`images`, float32 (N, {channels}, {size}, {size}): all of the preprocessing is outside of the graph."
    )
    return (
        f"The graph takes {takes} In full: {how} The code is for pictures of 8 bits that are not transparent; "
        "`preprocessing.json` says what is done with others. The output, `logits` (N, "
        f"{len(info.classes)}), is in the order of `classes.json`; a softmax makes probabilities of it."
    )


def _data(tables: SweepTables) -> str:
    data = tables.environment.get("data") or {}
    images = ", ".join(f"{count:,} {split}" for split, count in (data.get("images") or {}).items())
    source = require_images(tables.spec, "a model card").data.in_words
    return (
        f"{_text(source)}: {images or 'numbers not kept'} images. Fingerprint "
        f"`{one_line(str(data.get('fingerprint', 'not kept')))}`. None of them is in this folder."
    )


def _figures(best: Best) -> Iterable[Sequence[object]]:
    result = best.result
    for name in result.val:
        yield (
            _text(name),
            _uncertain(result.val, result.val_error, name),
            _uncertain(result.test, result.test_error, name),
        )


def _uncertain(figures: Any, errors: Any, name: str) -> str:
    if figures.get(name) is None:
        return "–"
    error = f" ± {errors[name]:.4f}" if errors.get(name) is not None else ""
    return f"{figures[name]:.4f}{error}"


def _sureness(tables: SweepTables, best: Best) -> str:
    lines = []
    if interval := best.result.test_accuracy:
        lines.append(
            f"Test accuracy {interval.value:.4f}; 95 % interval {interval.low:.4f} to {interval.high:.4f} (bootstrap "
            "over the test images alone: another seed of search or training may change more)."
        )
    else:
        lines.append("There is no interval: the predictions for the test images were not kept.")
    lines.append(
        "Validation chose this model among all trials, so that its figures flatter; no selection saw the test images."
    )
    if runs := describe_runs(tables.spec):
        lines.append(
            f"The figures are means over {runs}, ± their standard error; the model is the first of these networks."
        )
    return " ".join(lines)


def _classes(best: Best) -> list[str]:
    found = best.classes
    if found is None:
        return []
    rows = [
        (_text(result.name), f"{result.precision:.3f}", f"{result.recall:.3f}", f"{result.f1:.3f}", result.support)
        for result in found.classes
    ]
    parts = ["### By class, on the test images", _table(("class", "precision", "recall", "f1", "images"), rows)]
    names = [_text(result.name) for result in found.classes]
    # A wider matrix fits no page, and the pairs that are confused most are what is looked for in it.
    if len(names) <= _LARGEST_MATRIX:
        matrix = [(f"**{name}**", *counts) for name, counts in zip(names, found.confusion, strict=True)]
        return [*parts, "### Confusion: a row is the true class, a column what it was taken for",
                _table(("", *names), matrix)]  # fmt: skip
    mistakes = [(names[row], names[column], count) for row, column, count in found.mistakes()[:_LARGEST_MATRIX]]
    return [*parts, "### The most frequent confusions", _table(("class", "taken for", "images"), mistakes)]


def _recipe(best: Best) -> str:
    if best.soup and best.averaged:
        return f"{_text(best.soup.in_words())}. The best trial alone was trained like this:\n\n{_schedule(best)}"
    return _schedule(best)


def _schedule(best: Best) -> str:
    if not best.schedule:
        return "Not at all: no epoch of training was better than what the trials began with, and that is this model."
    steps = [
        {"from_epoch": step.from_epoch, "to_epoch": step.to_epoch, **step.hyperparameters} for step in best.schedule
    ]
    recipe = {
        "settings": require_images(best.spec, "a model card").train.settings().model_dump(mode="json"),
        "schedule": steps,
    }
    # Indented, as a fence could be closed by what somebody wrote.
    return "\n".join(f"    {one_line(line)}" for line in write_yaml(recipe).splitlines())


def _licence(model: ModelSpec, name: str, tables: SweepTables) -> str:
    origin = model.origins.get(name, next(iter(model.origins.values())))
    if origin is None:
        return "Training began with random weights: no licence of others applies to them."
    facts = tables.environment.get("weights") or {}
    known = (
        f"Training began with {_text(facts.get('origin', origin))} (SHA-256 `{one_line(str(facts.get('sha256')))}`). "
    )
    if not isinstance(origin, str):
        return known + "They were trained by the same sweep, from random weights, on the images of its source task."
    # timm says it of each of its weights, torchvision of a few; of a file nobody knows.
    entry = weights_names(model).get(origin)
    licence = getattr(entry, "license", None) or (getattr(entry, "meta", None) or {}).get("license")
    if licence:
        return known + f"Their publisher names the licence {_text(licence)}."
    return known + "Their licence is not known to tlsweep: ask whoever published them, also for the images behind them."


def _untested(best: Best) -> str:
    lines = [
        "images from elsewhere than the data above: other cameras, places, times, resolutions;",
        "images of none of the classes: the model names one of them all the same;",
        "damaged or deliberately changed images, and fairness between groups of people or places;",
        "lower precision (float16, int8): the logits were compared in float32.",
    ]
    few = [_text(result.name) for result in best.classes.classes if result.support < _FEW] if best.classes else []
    if few:
        lines.append(f"classes with fewer than {_FEW} test images, whose figures say little: {', '.join(few)}.")
    return "\n".join(f"- {line}" for line in lines)
