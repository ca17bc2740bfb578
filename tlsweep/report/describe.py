"""A spec in a few words, for headings."""

from tlsweep.spec import (
    AshaThenPbtSearch,
    DataSpec,
    DigitsData,
    FolderData,
    ModelSpec,
    PopulationSearch,
    SourceTask,
    SweepSpec,
    TorchvisionData,
)


def describe_search(spec: SweepSpec) -> str:
    """Strategy and size: 'pbt: 8 members × 20 epochs × 2 arms (main, scratch)'."""
    search, trials = spec.search, f"{spec.trials_per_arm} trial{'' if spec.trials_per_arm == 1 else 's'}"
    if isinstance(search, AshaThenPbtSearch):
        trials = f"{trials}, then {search.population} members"
    elif isinstance(search, PopulationSearch):
        trials = f"{search.population} members"
    arms = f" × {len(spec.arms)} arms ({', '.join(spec.arms)})" if len(spec.arms) > 1 else ""
    runs = f" × {named}" if (named := describe_runs(spec.data)) else ""
    return f"{search.strategy}: {trials} × {spec.train.epochs} epochs{runs}{arms}"


def describe_runs(data: DataSpec) -> str:
    """The networks of each trial: '5 folds', '3 repeats', '5 folds × 2 repeats'; empty where it is one."""
    folds = [f"{data.folds} folds"] if data.folds else []
    return " × ".join(folds + ([f"{data.repeats} repeats"] if data.repeats > 1 else []))


def describe_model(spec: SweepSpec) -> str:
    """Network, weights and images: 'cnn, pretrained on digits (source), on digits (target)'."""
    return f"{spec.model.name}, {_weights(spec.model)}, on {_data(spec.data)}"


def _weights(model: ModelSpec) -> str:
    if len(model.origins) > 1:
        return f"one of the weights {', '.join(model.origins)}"
    if isinstance(model.weights, SourceTask):
        return f"pretrained on {_data(model.weights.data)}"
    return "random weights" if model.weights is None else f"weights {model.weights}"


def _data(data: DataSpec) -> str:
    if isinstance(data, DigitsData):
        return f"digits ({data.domain})"
    if isinstance(data, FolderData):
        return f"images in {data.path}"
    return data.dataset if isinstance(data, TorchvisionData) else data.function
