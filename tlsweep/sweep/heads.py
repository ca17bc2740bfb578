"""What the heads of trials begin with, found before the first of them, and how far that gets."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlsweep.cluster.nodes import Cluster
from tlsweep.data.pixels.cache import default_cache
from tlsweep.errors import TlsweepError
from tlsweep.observer import Observer, say
from tlsweep.spec import MAIN_ARM, ImageSpec, TrainSettings
from tlsweep.spec.augmentation import STRENGTHS
from tlsweep.spec.model import NO_WEIGHTS, WEIGHTS
from tlsweep.spec.search.study import PROBE_ARM, SOUP_ARM
from tlsweep.store import SweepFolder
from tlsweep.store.files import write_whole
from tlsweep.sweep.assignment import configuration, trial_seed
from tlsweep.sweep.on_workers import telling_where_trials_run

if TYPE_CHECKING:
    from tlsweep.models import Weights
    from tlsweep.models.probe import Progress
    from tlsweep.models.starting_head import StartingHead
    from tlsweep.pretrained.features import KeptFeatures
    from tlsweep.pretrained.starting import Beginning
    from tlsweep.sweep.trainable import Shared
    from tlsweep.training import Compute, Transfer


def starting_heads(
    shared: "Shared", weights: "Mapping[str, Weights | None]", cluster: Cluster, observer: Observer
) -> "tuple[dict[tuple[str, int | None], Any], dict[str, Beginning]]":
    """What the heads of trials begin with, found once for all trials that have the same weights and images.

    Returns:
        References to the heads, without torch's own; and the same in words, by the name of the weights.
    """
    import ray

    from tlsweep.pretrained.starting import begins_with, dump_heads

    spec, stored = shared.spec, _stored(SweepFolder(shared.folder), shared.spec)
    say(observer, _frozen_features_of(shared))
    found: dict[tuple[str, int | None], Beginning] = {}
    for arm in spec.arms:
        for name in spec.model.origins if spec.arm(arm).pretrained else (NO_WEIGHTS,):
            key = shared.beginning(arm, {WEIGHTS: name})
            if key in found:
                continue
            found[key] = planned = begins_with(spec.train.settings(), weights.get(name))
            if heads := stored.get(_named(key)):
                found[key] = replace(planned, heads=heads)
            elif planned.how != "random":
                observer.phase("finding what the heads of trials begin with")
                found[key] = telling_where_trials_run(
                    find_heads, spec, cluster, shared, arm, name, progress=observer.progress
                )
            refuse_without_probe(spec, planned, found[key])
            if found[key].how != planned.how:
                say(observer, [f"the heads of trials begin with {found[key].in_words}"])
    made = {_named(key): beginning.heads for key, beginning in found.items() if beginning.heads}
    if made.keys() - stored.keys():
        write_whole(SweepFolder(shared.folder).heads, dump_heads(made), folders=False)
    references = {key: ray.put(beginning.heads) for key, beginning in found.items() if beginning.heads}
    return references, {name: beginning for (name, _), beginning in reversed(found.items())}


def _frozen_features_of(shared: "Shared") -> list[str]:
    """What `frozen_features` says, for each of the weights with which that is something else."""
    spec = shared.spec
    if not freezes(spec):
        return []
    found = [
        frozen_features(spec, shared.transfer(MAIN_ARM, {WEIGHTS: name}, trial_seed(spec, 0)))
        for name in spec.model.origins
    ]
    return list(dict.fromkeys(found))


def _named(key: tuple[str, int | None]) -> str:
    return json.dumps(key)


def _stored(folder: SweepFolder, spec: ImageSpec) -> "dict[str, tuple[StartingHead, ...]]":
    """The heads that an earlier launch of the sweep found: with other versions of torch or scikit-learn they may be
    others, and all trials begin at one point."""
    from tlsweep.pretrained.starting import load_heads

    try:
        found = load_heads(folder.heads.read_bytes())
    except FileNotFoundError:
        return {}
    return {name: heads for name, heads in found.items() if len(heads) == spec.data.runs}


def refuse_without_probe(spec: ImageSpec, planned: "Beginning", found: "Beginning") -> None:
    """Raises:
    HeadUnfitError: the control `probe` has no result, as its head cannot be placed.
    """
    from tlsweep.models.starting_head import HeadUnfitError

    if PROBE_ARM in spec.controls and found.how != planned.how:
        raise HeadUnfitError(f"controls: probe has no result, {found.why}; take it out")


def starts(shared: "Shared") -> dict[str, dict[str, dict[str, float]]]:
    """How far the trials of each arm are before any training, by the weights that they start from: of several runs the
    mean. Nothing of those with torch's own heads, which know nothing yet, and each something else."""
    from tlsweep.sweep.trainable import fetch
    from tlsweep.training.summary import over_runs

    found: dict[str, dict[str, dict[str, float]]] = {}
    for arm in (arm for arm in shared.spec.arms if arm != SOUP_ARM):  # which begins where main does
        for name in shared.weights:
            heads = shared.heads.get(shared.beginning(arm, {WEIGHTS: name}))
            here = shared.spec.arm(arm)
            if heads is not None and here.pretrained and not here.random_head:
                figures = over_runs([run.validation for run in fetch(heads)])
                found.setdefault(arm, {})[name] = {
                    f"val_{figure}": value for figure, value in figures.items() if value is not None
                }
    return found


def find_heads(shared: "Shared", arm: str, name: str, *, progress: "Progress") -> "Beginning":
    """Find the heads of trials of an arm that start from these weights."""
    from tlsweep.pretrained.features import feature_cache
    from tlsweep.pretrained.starting import beginning

    spec = shared.spec
    transfer = shared.transfer(arm, {WEIGHTS: name}, trial_seed(spec, 0))
    settings, compute = spec.train.settings(), shared.compute({})
    features = kept_features(spec, transfer, progress)
    if features is not None:
        _keep(features, transfer, settings, compute)
    return beginning(
        transfer,
        settings,
        cache=head_cache(),
        features_cache=feature_cache(),
        features=features,
        compute=compute,
        progress=progress,
    )


def kept_features(spec: ImageSpec, transfer: "Transfer", progress: "Progress | None" = None) -> "KeptFeatures | None":
    """What frozen layers leave in the cache for trials to train their heads on; None where they leave nothing.

    Args:
        spec: the sweep's.
        transfer: what trials train that start from some of its weights.
        progress: told of the images done while features are computed.
    """
    from tlsweep.pretrained.features import KeptFeatures, feature_cache

    return KeptFeatures(feature_cache(), progress=progress) if frozen_features(spec, transfer) == KEPT else None


def _keep(features: "KeptFeatures", transfer: "Transfer", settings: TrainSettings, compute: "Compute") -> None:
    """Compute what trials will train their heads on, which is also what the probe is solved on."""
    from tlsweep.models.features import sees_maps
    from tlsweep.training import choose_device
    from tlsweep.training.networks import new_network

    # Where that cannot be, trials do without, and say why.
    with suppress(TlsweepError):
        device, maps = choose_device(compute.device), sees_maps(new_network(transfer))
        for run in transfer.runs():
            features.rows(run, settings, device, maps=maps)


KEPT = "frozen layers compute once for all trials, whose heads are trained on the features that they leave in the cache"


def frozen_features(spec: ImageSpec, transfer: "Transfer") -> str:
    """Say whether heads behind frozen layers are trained on kept features; empty where no trial freezes its backbone.

    Args:
        spec: the sweep's.
        transfer: what trials train that start from some of its weights.
    """
    from tlsweep.training.frozen import unfit

    if not freezes(spec):
        return ""
    plain = {name: values[0] for name in STRENGTHS if (values := _values(spec, MAIN_ARM, name))}
    changed = {name: values[-1] for name in STRENGTHS if (values := _values(spec, MAIN_ARM, name))}
    first = configuration(spec, 0)
    always, sometimes = (unfit(first.model_copy(update=update), transfer.task, transfer) for update in (plain, changed))
    if always:
        return f"frozen layers compute in each epoch of each trial: {always}"
    if sometimes:
        return f"frozen layers compute in each epoch of those trials in which {sometimes}"
    return KEPT


def freezes(spec: ImageSpec) -> bool:
    """Whether some trials train a head alone, for a while at least."""
    return not {"backbone", "gradual"}.isdisjoint(_ways(spec))


def always_freezes(spec: ImageSpec) -> bool:
    """Whether no trial ever trains anything but a head."""
    return set(_ways(spec)) == {"backbone"}


def _ways(spec: ImageSpec) -> list[Any]:
    return [value for arm in spec.trained_arms for value in _values(spec, arm, "freeze")]


def _values(spec: ImageSpec, arm: str, name: str) -> list[Any]:
    """The values of a hyperparameter that must be looked at; those that change images last."""
    own = spec.arm(arm).hyperparameters
    if name in own:
        return [own[name]]
    value = getattr(spec.train, name)
    values = value.extremes if hasattr(value, "extremes") else (value,)
    return sorted(values, key=lambda own: (bool(own) and own != "none", str(own)))


def begun(spec: ImageSpec, transfer: "Transfer", **options: Any) -> "Transfer":
    """What a trial trains, with what its heads begin with, found in this process unless it is kept.

    The options are those of `beginning`: `compute`, `progress`.
    """
    from tlsweep.pretrained.features import feature_cache
    from tlsweep.pretrained.starting import started

    return started(transfer, spec.train.settings(), cache=head_cache(), features_cache=feature_cache(), **options)


def head_cache() -> Path:
    """The folder in which starting heads are kept."""
    return default_cache() / "heads"
