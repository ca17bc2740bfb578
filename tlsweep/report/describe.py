"""A spec in a few words, for headings."""

from tlsweep.spec import (
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
    unit = "members" if isinstance(spec.search, PopulationSearch) else "trials"
    arms = f" × {len(spec.arms)} arms ({', '.join(spec.arms)})" if len(spec.arms) > 1 else ""
    return f"{spec.search.strategy}: {spec.trials_per_arm} {unit} × {spec.train.epochs} epochs{arms}"


def describe_model(spec: SweepSpec) -> str:
    """Network, weights and images: 'cnn, pretrained on digits (source), on digits (target)'."""
    return f"{spec.model.name}, {_weights(spec.model)}, on {_data(spec.data)}"


def _weights(model: ModelSpec) -> str:
    if isinstance(model.weights, SourceTask):
        return f"pretrained on {_data(model.weights.data)}"
    return "random weights" if model.weights is None else f"weights {model.weights}"


def _data(data: DataSpec) -> str:
    if isinstance(data, DigitsData):
        return f"digits ({data.domain})"
    if isinstance(data, FolderData):
        return f"images in {data.path}"
    return data.dataset if isinstance(data, TorchvisionData) else data.function
