"""Turns files into batches: finds images, decodes each one once, cuts splits.

The batches themselves need torch: `tlsweep.data.batches`.
"""

from tlsweep.data.loading import load_task
from tlsweep.data.task import Task

__all__ = ["Task", "load_task"]
