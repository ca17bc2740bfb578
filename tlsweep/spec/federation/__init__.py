"""`train.federated`: how a federation is written in a spec, and what it does not go together with."""

from tlsweep.spec.federation.settings import Federated, Split

__all__ = ["Federated", "Split"]
