"""Settings that are allowed one by one and can never act together: nothing would be wrong, and nothing would happen.

They are looked for when a sweep is planned or begins; one that runs already goes on as it is.
"""

from collections.abc import Iterator
from typing import Final

from tlsweep.errors import SpecError
from tlsweep.spec.images import ImageSpec
from tlsweep.spec.limits import Budget
from tlsweep.spec.search.common import Drawn, HalvingSearch, Perturbed, PopulationSearch, Sampled
from tlsweep.spec.search.space import Choice, Distribution, Value
from tlsweep.spec.search.strategies import (
    AshaSearch,
    AshaThenPbtSearch,
    RecipeSearch,
)
from tlsweep.spec.sweep import SweepSpec
from tlsweep.text import shortened

_CHANGES_LR: Final = ("exponential", "step", "plateau", "adjusted", "dynamic")
_LOWERS_LR_BY_GAMMA: Final = ("exponential", "step", "plateau")
_FOLLOWS_LOSS: Final = ("plateau", "adjusted", "dynamic")
_ACTS_WITH: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "lr_gamma": ("lr_schedule", _CHANGES_LR),
    "lr_final_gamma": ("lr_schedule", ("dynamic",)),
    "lr_step_epochs": ("lr_schedule", ("step",)),
    "lr_cooldown": ("lr_schedule", ("wsd",)),
    "lr_cooldown_shape": ("lr_schedule", ("wsd",)),
    "lr_pct_start": ("lr_schedule", ("one_cycle",)),
    "lr_div_factor": ("lr_schedule", ("one_cycle",)),
    "lr_final_div_factor": ("lr_schedule", ("one_cycle",)),
    "lr_patience": ("lr_schedule", _FOLLOWS_LOSS),
    "lr_threshold": ("lr_schedule", _FOLLOWS_LOSS),
    "lr_raise": ("lr_schedule", ("adjusted", "dynamic")),
    "lr_min_factor": ("lr_schedule", _FOLLOWS_LOSS),
    "lr_max_factor": ("lr_schedule", ("adjusted", "dynamic")),
    "focal_gamma": ("loss", ("focal",)),
    "nesterov": ("optimizer", ("sgd",)),
    "batch_size_limit": ("decay_by", ("batch_size",)),
    "decay_by": ("lr_schedule", ("cosine", "wsd", "one_cycle", *_CHANGES_LR)),
    "rand_augment_ops": ("auto_augment", ("rand",)),
    "rand_augment_magnitude": ("auto_augment", ("rand",)),
}
"""The one on which each hyperparameter depends, and the values of that with which alone it has an effect."""

_STARTUP = 10
"""Configurations that are random before a sampler proposes any (`schedulers/tpe.py`)."""


def refuse_idle(spec: SweepSpec) -> None:
    """Refuse a spec with settings that can never act.

    Raises:
        SpecError: there are some; all are named.
    """
    found = [*_population(spec), *_target(spec)]
    # A recipe is what a search found, with whatever its winner happened to draw.
    if not isinstance(spec.search, RecipeSearch):
        found += [*_never_lowers(spec), *_begins_too_late(spec), *_schedule_begins_too_late(spec)]
    if len(found) == 1:
        raise SpecError(found[0])
    if found:
        raise SpecError(
            "\n  ".join([f"{len(found)} settings can never act:", *(shortened(setting, 200) for setting in found)])
        )


def remarks(spec: SweepSpec) -> list[str]:
    """What is no mistake, and hardly meant: lines for the people who plan a sweep."""
    return [
        *_nothing_varies(spec),
        *_too_few_trials(spec),
        *_budget(spec),
        *(_remarks_on_training(spec) if isinstance(spec, ImageSpec) else ()),
        *_points_left_out(spec),
    ]


def _remarks_on_training(spec: ImageSpec) -> list[str]:
    return [
        *_no_growth(spec),
        *_without_effect(spec),
        *_balanced_twice(spec),
        *_averaged_statistics(spec),
        *_mixed_labels(spec),
        *_calibration_alone(spec),
    ]


def _points_left_out(spec: SweepSpec) -> Iterator[str]:
    if isinstance(spec.search, Drawn):
        yield from spec.search.left_out(spec)


def _calibration_alone(spec: ImageSpec) -> Iterator[str]:
    if spec.search.metric == "val_ece":
        yield (
            "search.metric = val_ece: a network that guesses, all classes equally probable, has a perfect one; "
            "search by another metric, and rank with 'tlsweep report --metric val_ece'"
        )


def _population(spec: SweepSpec) -> Iterator[str]:
    search, epochs = spec.search, spec.epochs
    if not isinstance(search, PopulationSearch):
        return
    begins = search.last_rung(epochs) if isinstance(search, AshaThenPbtSearch) else 0
    first = (begins // search.interval + 1) * search.interval
    if first >= epochs:
        after = f" after the screening's {begins}" if begins else ""
        yield (
            f"search.interval = {search.interval}: members would first be compared at epoch {first}{after}, and end at "
            f"{spec.EPOCHS} {epochs}; lower the interval, or train longer"
        )
    mutated = [spec.space[name] for name in search.mutate if name in spec.space]
    if search.explore and not any(_can_change(search, distribution) for distribution in mutated):
        yield (
            f"search.mutate = {shortened(str(list(search.mutate)))}: none can change; they have one value each, or "
            "search.factors are all 1 and search.resample_probability is 0; widen them, or write explore: false"
        )


def _can_change(search: PopulationSearch, distribution: Distribution) -> bool:
    if isinstance(distribution, Choice):
        return len(distribution.values) > 1
    if isinstance(search, Perturbed):
        return search.resample_probability > 0 or any(factor != 1 for factor in search.factors)
    return True


def _target(spec: SweepSpec) -> Iterator[str]:
    target, metric = spec.budget.target, spec.search.metric
    if target is None or not isinstance(spec, ImageSpec):  # what a function of the user's own reports has no bounds
        return
    if metric == "val_loss":
        if target <= 0:
            yield f"budget.target = {target:g}: val_loss is above 0, and better when lower; write, for example, 0.1"
    elif not 0 < target <= 1:
        part = f"; for {target:g} % write {target / 100:g}" if 5 < target <= 100 else ""
        never = "is never reached" if (target > 1) == (spec.search.sign > 0) else "is reached by every trial"
        yield f"budget.target = {target:g}: {never}, as {metric} lies between 0 and 1{part}"


def _never_lowers(spec: SweepSpec) -> Iterator[str]:
    if not isinstance(spec, ImageSpec):
        return
    schedules = _values(spec, "lr_schedule")
    if set(schedules) <= set(_LOWERS_LR_BY_GAMMA) and set(_values(spec, "lr_gamma")) == {1}:
        names = ", ".join(map(str, schedules))
        yield f"train.lr_gamma = 1: with it lr_schedule {names} never changes lr; write less than 1, or constant"


def _begins_too_late(spec: SweepSpec) -> Iterator[str]:
    search, epochs = spec.search, spec.epochs
    if isinstance(search, AshaSearch) and search.min_epochs >= epochs:
        yield (
            f"search.min_epochs = {search.min_epochs}: must be below {spec.EPOCHS} {epochs}, or no trial is stopped; "
            "lower it, train longer, or write search.strategy: random"
        )
    # The first epoch is the best, the next ones are no better; the last is the end in any case.
    if search.patience is not None and search.patience + 2 > epochs:
        yield (
            f"search.patience = {search.patience}: no trial could end before {spec.EPOCHS} {epochs}; write less, or "
            "leave it out"
        )


def _schedule_begins_too_late(spec: SweepSpec) -> Iterator[str]:
    if not isinstance(spec, ImageSpec):
        return
    epochs = spec.epochs
    warmup = min(float(value) for value in _values(spec, "warmup_epochs"))
    if warmup >= epochs:
        yield f"train.warmup_epochs = {warmup:g}: must be below train.epochs {epochs}, or lr_schedule never begins"
    step = min(float(value) for value in _values(spec, "lr_step_epochs"))
    if step >= epochs and _values(spec, "lr_schedule") == ("step",):
        yield f"train.lr_step_epochs = {step:g}: must be below train.epochs {epochs}, or lr is never lowered"
    patience = min(int(value) for value in _values(spec, "lr_patience"))
    # The first epoch is what others may be worse than; after `patience` of these the next one lowers lr.
    if patience + 2 > epochs and _values(spec, "lr_schedule") == ("plateau",):
        yield f"train.lr_patience = {patience}: lr would be lowered after train.epochs {epochs}, when all has ended"


def _nothing_varies(spec: SweepSpec) -> Iterator[str]:
    single = [name for name, distribution in spec.space.items() if len(set(map(repr, distribution.extremes))) == 1]
    if spec.trials_per_arm > 1 and len(single) == len(spec.space):
        yield f"all {spec.trials_per_arm} trials have the same hyperparameters, and differ in their seeds alone"
    elif single:
        yield f"{', '.join(f'{spec.SECTION}.{name}' for name in single)}: a distribution of one value is a constant"


def _too_few_trials(spec: SweepSpec) -> Iterator[str]:
    search = spec.search
    if isinstance(search, HalvingSearch) and search.trials < max(search.min_reports, search.reduction_factor):
        yield (
            f"search.trials = {search.trials}: fewer than search.min_reports {search.min_reports} or reduction_factor "
            f"{search.reduction_factor:g}, so that rungs tell little"
        )
    if isinstance(search, Sampled) and search.sampler == "tpe" and search.trials <= _STARTUP:
        yield f"search.sampler = tpe: the first {_STARTUP} configurations are random, and there are {search.trials}"


def _budget(spec: SweepSpec) -> Iterator[str]:
    budget = spec.budget.epochs
    if budget is None:
        return
    if budget < spec.epochs:
        yield f"budget.epochs = {budget}: below {spec.EPOCHS} {spec.epochs}, so that no trial gets to the end"
    unlimited = spec.model_copy(update={"budget": Budget()})
    needed = max(unlimited.epochs_in(arm) for arm in spec.arms)
    if budget > needed and not isinstance(spec.search, PopulationSearch):  # in which epochs are trained again
        yield f"budget.epochs = {budget}: all trials of an arm take at most {needed}, so that it never ends the sweep"


def _no_growth(spec: ImageSpec) -> Iterator[str]:
    smallest = min(int(value) for value in _values(spec, "batch_size"))
    limit = max(int(value) for value in _values(spec, "batch_size_limit"))
    if _values(spec, "decay_by") == ("batch_size",) and smallest >= limit:
        yield (
            f"train.decay_by = batch_size: no batch grows, as all have at least train.batch_size_limit {limit} images"
        )


def _without_effect(spec: ImageSpec) -> Iterator[str]:
    defaults = {name: field.default for name, field in type(spec.train).model_fields.items()}
    for name, (other, needed) in _ACTS_WITH.items():
        values, others = _values(spec, name), _values(spec, other)
        if values != (defaults[name],) and not set(others) & set(needed):
            yield f"train.{name} has no effect with {other} {', '.join(map(str, others))}"


def _balanced_twice(spec: ImageSpec) -> Iterator[str]:
    settings = spec.train.settings()
    if settings.class_weights == "balanced" and settings.sampler == "balanced":
        yield "train.class_weights = balanced with train.sampler balanced: rare classes count twice; one is enough"


def _averaged_statistics(spec: ImageSpec) -> Iterator[str]:
    settings = spec.train.settings()
    # The networks of our own (`cnn`, `mlp`) have no batch norm.
    if settings.federated and settings.batch_norm == "train" and spec.model.name not in ("cnn", "mlp"):
        yield (
            "train.federated with train.batch_norm train: where the network has batch norm, each client has its own "
            "statistics, and what is evaluated has their mean, which may fit none; batch_norm: frozen keeps those of "
            "the weights"
        )


def _mixed_labels(spec: ImageSpec) -> Iterator[str]:
    mixing = [f"train.{name}" for name in ("mixup", "cutmix") if any(_values(spec, name))]
    if mixing:
        yield (
            f"{' and '.join(mixing)}: train_loss is that on mixed labels, and train_accuracy counts the one with the "
            "larger share: both look worse than validation, by which trials are judged"
        )


def _values(spec: ImageSpec, name: str) -> tuple[Value, ...]:
    """The values of a hyperparameter that must be looked at, of all that it can have."""
    value = getattr(spec.train, name)
    return value.extremes if hasattr(value, "extremes") else (value,)
