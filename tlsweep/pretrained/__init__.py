"""Makes what trials begin with, once for all of them, and keeps it: source tasks' weights, features, heads."""

from tlsweep.pretrained.pretraining import cached_weights, pretrain, pretrained, source_key

__all__ = ["cached_weights", "pretrain", "pretrained", "source_key"]
