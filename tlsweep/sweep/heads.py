"""What the heads of trials begin with, found before the first of them, and how far that gets."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlsweep.cluster.nodes import Cluster
from tlsweep.data.cache import default_cache
from tlsweep.observer import Observer, say
from tlsweep.spec import SweepSpec
from tlsweep.spec.model import NO_WEIGHTS, WEIGHTS
from tlsweep.spec.search.study import PROBE_ARM
from tlsweep.store import SweepFolder
from tlsweep.store.files import write_whole
from tlsweep.sweep.assignment import trial_seed
from tlsweep.sweep.on_workers import telling_where_trials_run

if TYPE_CHECKING:
    from tlsweep.models import Weights
    from tlsweep.models.probe import Progress
    from tlsweep.models.starting_head import StartingHead
    from tlsweep.pretrained.starting import Beginning
    from tlsweep.sweep.trainable import Shared
    from tlsweep.training import Transfer


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


def _named(key: tuple[str, int | None]) -> str:
    return json.dumps(key)


def _stored(folder: SweepFolder, spec: SweepSpec) -> "dict[str, tuple[StartingHead, ...]]":
    """The heads that an earlier launch of the sweep found: with other versions of torch or scikit-learn they may be
    others, and all trials begin at one point."""
    from tlsweep.pretrained.starting import load_heads

    try:
        found = load_heads(folder.heads.read_bytes())
    except FileNotFoundError:
        return {}
    return {name: heads for name, heads in found.items() if len(heads) == spec.data.runs}


def refuse_without_probe(spec: SweepSpec, planned: "Beginning", found: "Beginning") -> None:
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
    for arm in shared.spec.arms:
        for name in shared.weights:
            heads = shared.heads.get(shared.beginning(arm, {WEIGHTS: name}))
            if heads is not None and shared.spec.arm(arm).pretrained:
                figures = over_runs([run.validation for run in fetch(heads)])
                found.setdefault(arm, {})[name] = {
                    f"val_{figure}": value for figure, value in figures.items() if value is not None
                }
    return found


def find_heads(shared: "Shared", arm: str, name: str, *, progress: "Progress") -> "Beginning":
    """Find the heads of trials of an arm that start from these weights."""
    from tlsweep.pretrained.starting import beginning

    transfer = shared.transfer(arm, {WEIGHTS: name}, trial_seed(shared.spec, 0))
    settings, compute = shared.spec.train.settings(), shared.compute({})
    return beginning(transfer, settings, cache=head_cache(), compute=compute, progress=progress)


def begun(spec: SweepSpec, transfer: "Transfer", **options: Any) -> "Transfer":
    """What a trial trains, with what its heads begin with, found in this process unless it is kept.

    The options are those of `beginning`: `compute`, `progress`.
    """
    from tlsweep.pretrained.starting import started

    return started(transfer, spec.train.settings(), cache=head_cache(), **options)


def head_cache() -> Path:
    """The folder in which starting heads are kept."""
    return default_cache() / "heads"
