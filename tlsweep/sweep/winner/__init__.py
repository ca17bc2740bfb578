"""The end of a sweep: winners meet the test split, and a model is handed over."""

from tlsweep.sweep.winner.evaluating import evaluate

__all__ = ["evaluate"]
