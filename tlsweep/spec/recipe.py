"""Makes the spec that trains a recipe again."""

from collections.abc import Iterable, Mapping
from typing import Any

from tlsweep.errors import SpecError
from tlsweep.spec.earlier import as_it_was_meant
from tlsweep.spec.hyperparameters import TrainSettings
from tlsweep.text import shortened

_STEP = ("from_epoch", "to_epoch", "trial", "number")
"""What an entry of a recipe's schedule holds beside hyperparameters."""


def recipe_spec(recipe: Mapping[str, Any], repeats: int | None) -> dict[str, Any]:
    """The spec, as a mapping, that trains a recipe on the same data.

    Args:
        recipe: the content of a `recipe.yaml`.
        repeats: networks to train, each with a seed of its own; with folds, of each fold. None: as many as there were,
            with the seeds that they had, so that the validation curve is the same.

    Raises:
        SpecError: it lacks something.
    """
    try:
        return _spec(recipe, repeats)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        what = shortened(f"{type(error).__name__}: {error}")
        raise SpecError(f"recipe.yaml is no recipe ({what}); put it back as it was, or write it again") from None


def _spec(recipe: Mapping[str, Any], repeats: int | None) -> dict[str, Any]:
    again = repeats is None
    steps = [
        {
            "to_epoch": step["to_epoch"],
            **({"number": step["number"]} if again else {}),
            "values": {name: value for name, value in step.items() if name not in _STEP and name != "weights"},
        }
        for step in recipe["schedule"]
    ]
    settings = {name: recipe[name] for name in TrainSettings.model_fields if name in recipe}
    return as_it_was_meant(
        {
            "seed": recipe["seed"],
            "data": recipe["data"] if again else {**recipe["data"], "repeats": repeats},
            "model": recipe["model"],
            "soup": recipe.get("soup"),
            "train": {**settings, **recipe["constants"], **steps[0]["values"]},
            "search": {"strategy": "recipe", "schedule": steps}
            | ({"metric": recipe["metric"]} if "metric" in recipe else {}),
        }
    )


def check_overrides(spec: Mapping[str, Any], overrides: Iterable[str]) -> None:
    """Refuse to override what the steps of a recipe say: it would have no effect.

    Raises:
        SpecError: one of `overrides` does.
    """
    fixed = {f"train.{name}" for step in spec["search"]["schedule"] for name in step["values"]}
    for override in overrides:
        if (field := override.partition("=")[0].strip()) in fixed:
            raise SpecError(f"-o {override}: {field} is the recipe's, which is trained again as it is; leave it out")
