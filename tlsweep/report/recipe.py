"""The recipe: the piecewise schedule of hyperparameters that led to a result, enough to train it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlsweep.errors import ResultsError, SpecError
from tlsweep.report.lineage import OF_LINEAGE, Segment, lineage
from tlsweep.report.rivals import with_rivals
from tlsweep.spec import MAIN_ARM, ImageSpec, SweepSpec, load_spec
from tlsweep.spec.images import require_images
from tlsweep.spec.model import WEIGHTS
from tlsweep.spec.recipe import recipe_spec
from tlsweep.spec.search.space import Value
from tlsweep.spec.yaml_text import read_yaml, write_yaml
from tlsweep.store import Location, Results, SweepFolder, SweepState
from tlsweep.store.files import write_text
from tlsweep.store.journal import read_events
from tlsweep.store.results import damaged
from tlsweep.store.starts import START, best_start
from tlsweep.text import one_line

_HEAD = """\
# How the best trial of this sweep was trained. The entries of `schedule` follow one another: train from `from_epoch` to
# `to_epoch` with these values, keep weights, optimizer state and the schedule's state, and go on with the next.
# `constants` hold throughout. Random choices follow from `seed` and from `number`.
"""
_HEAD_OF_IMAGES = """\
# `lr_schedule` multiplies lr, is stretched over `epochs`, and sees the validation losses if it follows them. The trial
# `start` has no schedule: nothing was trained, as no epoch of training was better than what all trials begin with.
"""


_FUNCTION = "trial_function"
"""What a recipe has in place of images and network where a function of the user's own was trained."""


def recipe(results: Results, arm: str = MAIN_ARM, state: SweepState | None = None) -> dict[str, Any]:
    """How the winner of an arm was trained, as plain data. Reads the journal, so the tables may lag behind.

    Args:
        results: The sweep.
        arm: One of its arms.
        state: Of its trials, where that is known already: a long journal takes a while to read.

    Raises:
        ResultsError: no trial of the arm has reported a finite metric.
    """
    spec, state = results.spec, results.state() if state is None else state
    test = state.test.get(arm)
    if test and test["trial"] == START:
        return _recipe_of_start(results, arm)
    winner = state.trials[test["trial"]] if test else state.winner(arm)
    if winner is None or winner.best is None:
        raise ResultsError(f"there is no recipe: no trial of the arm '{arm}' has reported a {state.metric}")
    best = winner.best
    events = read_events(results.folder.journal, OF_LINEAGE)
    segments = lineage(events, winner.trial, best["generation"], best["epoch"])
    last = segments[-1].hyperparameters
    changing = [name for name in last if name in ("lr", "batch_size") or _changes(segments, name)]
    return {
        **_head(spec, winner.trial, arm, best["epoch"], best),
        "schedule": [
            {"from_epoch": segment.from_epoch, "to_epoch": segment.to_epoch, "trial": segment.trial}
            | {"number": state.trials[segment.trial].number}
            | {name: segment.hyperparameters[name] for name in changing if name in segment.hyperparameters}
            for segment in segments
        ],
        "constants": {name: value for name, value in last.items() if name not in (*changing, WEIGHTS)},
        **_material(results, arm, last),
    }


def _recipe_of_start(results: Results, arm: str) -> dict[str, Any]:
    """A recipe without a step: nothing was trained."""
    spec = results.spec
    start = best_start(results.environment, arm, spec.search)
    figures = start.figures if start else {}
    values = {WEIGHTS: start.weights} if start else {}
    return {**_head(spec, START, arm, 0, figures), "schedule": [], "constants": {}, **_material(results, arm, values)}


def _head(spec: SweepSpec, trial: str, arm: str, epoch: int, reached: Mapping[str, Any]) -> dict[str, Any]:
    """What was handed over, how good it is, and what all trials share."""
    # Behind it is pyarrow, which whoever predicts has no use for.
    from tlsweep.store.tables.own import own_metrics

    return {
        "trial": trial,
        "arm": arm,
        "seed": spec.seed,
        "metric": spec.search.metric,
        "reached": {"epoch": epoch}
        | {name: value for name, value in reached.items() if name.startswith("val_") and value is not None}
        | {name: reached[name] for name in own_metrics(reached)},
        **_settings(spec),
        **_leaning(spec),
    }


def _leaning(spec: SweepSpec) -> dict[str, str]:
    """That the winner is handed over with a share of its start; an average of several trials is no recipe's."""
    return {"soup": "start"} if isinstance(spec, ImageSpec) and spec.soup == "start" else {}


def _settings(spec: SweepSpec) -> dict[str, Any]:
    if isinstance(spec, ImageSpec):
        return spec.train.settings().model_dump(mode="json")
    return {"epochs": spec.epochs}


def _material(results: Results, arm: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """The images and the network, or the function, as a spec says them."""
    spec = results.spec
    dumped = spec.model_dump(mode="json")
    if not isinstance(spec, ImageSpec):
        return {_FUNCTION: dumped["trial"]}
    return {
        "data_fingerprint": (results.environment.get("data") or {}).get("fingerprint"),
        "data": dumped["data"] | ({"labels_per_class": few} if (few := spec.arm(arm).labels_per_class) else {}),
        "model": dumped["model"] | {"weights": _weights(spec, arm, values)},
    }


def _weights(spec: ImageSpec, arm: str, values: Mapping[str, Value]) -> Any:
    """What the winner started from, as `model.weights` of a spec says it."""
    if not spec.arm(arm).pretrained:
        return None
    origins = spec.model.origins
    origin = origins[str(values.get(WEIGHTS, next(iter(origins))))]
    return spec.model.starting_from(origin).model_dump(mode="json")["weights"]


def confirmation(results: Results, repeats: int, top: int = 1) -> dict[str, Any]:
    """The spec, as a mapping, that trains a sweep's recipe again, `repeats` times with seeds of their own, beside the
    `top` best trials and controls (`with_rivals`).

    Raises:
        ResultsError: the sweep has no recipe yet, or its winner was not trained.
    """
    require_images(results.spec, "'tlsweep confirm'")
    if not (results.folder.recipe.exists() or _has_ended(results.state())):
        raise ResultsError(
            f"'{results.name}' has no recipe yet: it is written when a sweep has ended; see 'tlsweep report'"
        )
    if fault := missing_recipe(results.folder):
        raise ResultsError(fault)
    kept = _read(results.folder)
    if not kept["schedule"]:
        raise ResultsError(
            f"the winner of '{results.name}' was not trained: no epoch of training was better than what its trials "
            "began with, so there is no training to repeat; the network is in best/"
        )
    spec, again = results.spec, recipe_spec(kept, repeats)
    whole = {
        **again,
        "search": again["search"] | {"metric": spec.search.metric},  # earlier versions wrote none into the recipe
        "resources": spec.resources.model_dump(mode="json"),
        "faults": spec.faults.model_dump(mode="json"),
        **_leaning(spec),  # nor this
    }
    return with_rivals(results, whole, kept["trial"], top)


def replayed(file: Path, seeds: int | None) -> dict[str, Any]:
    """The spec, as a mapping, that trains the recipe in a file again; see `recipe_spec`.

    Raises:
        SpecError: there is no such file, it holds no recipe, or one of what was not trained.
    """
    try:
        kept = read_yaml(file.read_text(encoding="utf-8"), f"'{one_line(str(file))}'")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SpecError(
            f"'{one_line(str(file))}' cannot be read ({reason}); a sweep that has ended has a recipe.yaml in its folder"
        ) from error
    if isinstance(kept, dict) and kept.get("schedule") == []:
        raise SpecError(
            f"'{one_line(str(file))}' is the recipe of what trials began with: nothing was trained, so there is no "
            "training to repeat"
        )
    if isinstance(kept, dict) and _FUNCTION in kept:
        raise SpecError(
            f"'{one_line(str(file))}' is the recipe of a function of yours, which 'tlsweep replay' does not train"
        )
    return recipe_spec(kept, seeds)


def _has_ended(state: SweepState) -> bool:
    return bool(state.launched) and MAIN_ARM in state.test


def missing_recipe(folder: SweepFolder) -> str | None:
    """What is wrong with the recipe of a sweep that has ended, in a line; None where nothing is."""
    try:
        kept = _read(folder)
        if _FUNCTION in kept:  # which nothing of ours trains again
            return None
        if kept["schedule"] or kept["trial"] != START:
            load_spec(recipe_spec(kept, 2))
    except FileNotFoundError:
        return str(damaged(folder, "recipe.yaml"))
    except (OSError, ValueError, LookupError, TypeError, SpecError) as error:  # what a wrong value raises there
        return str(damaged(folder, "recipe.yaml", error))
    return None


def _read(folder: SweepFolder) -> Any:
    return read_yaml(folder.recipe.read_text(encoding="utf-8"), f"'{one_line(str(folder.recipe))}'")


def _changes(segments: list[Segment], name: str) -> bool:
    return len({segment.hyperparameters[name] for segment in segments if name in segment.hyperparameters}) > 1


_SOUP = """\
# What is handed over is an average of weights (`souped` in the events). This is the best trial.
"""
_LEANING = """\
# What is handed over has a share of what this trial began with (`souped` in the events). With `soup: start` a replay
# finds that share again.
"""


def write_recipe(path: Location, state: SweepState | None = None) -> None:
    """Write recipe.yaml into the folder of a sweep; nothing where its main arm has no result. `state`: see `recipe`."""
    results = Results(SweepFolder(path))
    state = results.state() if state is None else state
    if state.winner(MAIN_ARM) is not None:
        soup = state.soup
        handed_over = bool(soup and soup["handed_over"])
        note = (_SOUP, _LEANING)["soup" in _leaning(results.spec)] * handed_over
        head = _HEAD + _HEAD_OF_IMAGES * isinstance(results.spec, ImageSpec)
        write_text(results.folder.recipe, head + note + write_yaml(recipe(results, state=state)))
