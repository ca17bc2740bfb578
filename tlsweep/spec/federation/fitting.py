"""What goes together with a federation, and what does not."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from tlsweep.text import shortened

if TYPE_CHECKING:
    from tlsweep.spec.federation.settings import Federated
    from tlsweep.spec.images import ImageSpec

OF_FEDERATION: Final[Mapping[str, Any]] = MappingProxyType(
    {"server_optimizer": "sgd", "server_lr": 1.0, "server_momentum": 0.0, "proximal": 0.0}
)
"""The hyperparameters that act in federations alone, with their defaults, which in others they have."""


def changed_of_federation(values: Mapping[str, Any]) -> list[str]:
    """Name those of `OF_FEDERATION` that are not as by default, or are searched."""
    return [name for name, default in OF_FEDERATION.items() if values.get(name, default) != default]


def check_federation(spec: "ImageSpec") -> None:
    """Refuse what a federation cannot do, and what nothing but a federation can.

    Raises:
        ValueError: what is wrong, in words.
    """
    if spec.train.settings().federated is None:
        _check_without(spec)
    else:
        _check_with(spec)


def _check_without(spec: "ImageSpec") -> None:
    if changed := changed_of_federation(dict(spec.train)):
        shown = shortened(str(getattr(spec.train, changed[0])))
        raise ValueError(
            f"train.{changed[0]} = {shown}: acts in a federation alone; write train.federated: {{clients: 10}} too, or "
            "leave it out"
        )
    if spec.search.metric == "val_worst_client":
        raise ValueError(
            "search.metric = val_worst_client: there are no clients; write train.federated: {clients: 10} too, or "
            "another metric"
        )
    if spec.study.federation:
        raise ValueError(
            "study: federation compares what train.federated says with other federations; write, for example, "
            "train.federated: {clients: 10, split: {dirichlet: 0.5}} too, or leave the study out"
        )


def _check_with(spec: "ImageSpec") -> None:
    settings = spec.train.settings()
    assert settings.federated is not None
    if settings.noise_scale:
        raise ValueError(
            "train.noise_scale measures the gradient of training on all images, which no client of train.federated "
            "sees; write noise_scale: false, or leave federated out"
        )
    if (ema := _values(spec, "ema")) != (0,):
        raise ValueError(
            f"train.ema = {max(ema):g}: a round of train.federated averages networks already, and a client has no "
            "average from round to round; write ema: 0, or leave federated out"
        )
    if spec.search.metric == "val_worst_client":
        _check_worst_client(spec)
    server = _values(spec, "server_optimizer")
    if "sgd" not in server and (momentum := _values(spec, "server_momentum")) != (0,):
        raise ValueError(
            f"train.server_momentum = {max(momentum):g}: is of server_optimizer sgd, and here it is "
            f"{' or '.join(map(str, server))}, whose momentum is 0.9; write server_momentum: 0, or server_optimizer sgd"
        )
    if spec.study.federation:
        _check_study(settings.federated)


def _check_worst_client(spec: "ImageSpec") -> None:
    """Refuse what knows nothing of clients, and so cannot be compared by them."""
    if spec.soup is not None:
        raise ValueError(
            "soup tells networks apart by the validation images of all, and search.metric = val_worst_client by those "
            "of one client; leave soup out, or search by another metric"
        )
    if "probe" in spec.controls:
        raise ValueError(
            "controls: probe has no result where search.metric = val_worst_client, as what trials begin with is judged "
            "by all validation images together; take it out, or search by another metric"
        )


def _check_study(federated: "Federated") -> None:
    if federated.clients == 1:
        raise ValueError(
            "study: federation compares ways to divide images among clients, and train.federated.clients is 1; write "
            "more, or leave the study out"
        )
    # A quotient of whole numbers, which floats have exactly where it is whole.
    passes = federated.passes
    if passes != round(passes):
        raise ValueError(
            f"study: federation compares at as many images seen, and a round sees the training images {passes:g} times "
            f"({federated.picked} of {federated.clients} clients, local_epochs {federated.local_epochs}), the arm "
            "central only whole times; change train.federated.fraction or local_epochs"
        )


def _values(spec: "ImageSpec", name: str) -> tuple[Any, ...]:
    """The extremes of a distribution; of a constant, its value."""
    value = getattr(spec.train, name)
    return value.extremes if hasattr(value, "extremes") else (value,)
