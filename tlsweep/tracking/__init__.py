"""Passes what a sweep reports on to the trackers that people use: TensorBoard, MLflow, Weights & Biases."""

from tlsweep.tracking.libraries import check_trackers, tracked_where
from tlsweep.tracking.tracking import Tracking

__all__ = ["Tracking", "check_trackers", "tracked_where"]
