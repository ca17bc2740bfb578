"""The hyperparameters of a trial, as a function reads them."""

from collections.abc import Iterator, Mapping
from typing import Any

from tlsweep.errors import FunctionError
from tlsweep.spec.search.space import Value
from tlsweep.text import did_you_mean


class UnknownHyperparameter(FunctionError, AttributeError):
    """A hyperparameter that the spec does not have."""


class Values(Mapping[str, Any]):
    """`values.lr` and `values["lr"]` are the same; they cannot be set."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        # Past our own __setattr__, which refuses everything.
        object.__setattr__(self, "_values", dict(values))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # what pickle and copy look for
        return self[name]

    def __getitem__(self, name: str) -> Any:
        known: dict[str, Value] = object.__getattribute__(self, "_values")
        if name in known:
            return known[name]
        raise UnknownHyperparameter(
            f"trial.values.{name}: the spec has no such hyperparameter; {did_you_mean(name, list(known))}; "
            f"there are {', '.join(known)}: take one of them, or add it to space"
        )

    # Mapping's own look for a KeyError, which has no plain message.
    def __contains__(self, name: object) -> bool:
        return name in object.__getattribute__(self, "_values")

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a hyperparameter, or `default` where the spec has none of that name."""
        return object.__getattribute__(self, "_values").get(name, default)

    def __setattr__(self, name: str, value: Any) -> None:
        raise FunctionError(f"trial.values.{name} cannot be set: the sweep decides on it; use a variable of your own")

    def __iter__(self) -> Iterator[str]:
        return iter(object.__getattribute__(self, "_values"))

    def __len__(self) -> int:
        return len(object.__getattribute__(self, "_values"))

    def __repr__(self) -> str:
        return f"Values({', '.join(f'{name}={value!r}' for name, value in self.items())})"
