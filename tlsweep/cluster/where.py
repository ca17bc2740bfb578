"""Where a sweep runs, and what can begin there before anything else is known."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tlsweep.cluster.fork_server import ForkServer
from tlsweep.cluster.starting import RayStart
from tlsweep.spec import Resources

WORKERS_IMPORT = (
    # What a trial needs.
    *("torch", "tlsweep.training", "tlsweep.sweep"),
    # What Ray and Tune (2.60) import.
    *("pandas", "pyarrow.compute", "pyarrow.fs", "fsspec", "requests", "jsonschema", "psutil"),
)
"""Modules that each worker of a private Ray imports; once for all of them."""


@dataclass(frozen=True)
class Where:
    """The Ray that a sweep runs on."""

    local: bool = False
    """Start a private Ray on this machine even if a cluster is running."""
    address: str | None = None
    """Ray cluster to join."""
    dashboard: bool = True
    """Whether a private Ray shows its dashboard."""
    workers: ForkServer | None = None
    """Makes those of a private Ray."""

    @contextmanager
    def working_ahead(self, resources: Resources) -> Iterator["Where"]:
        """Have what workers need imported while this process gets images and Ray ready, if it may start a Ray."""
        RayStart.wait_for_the_one_before()
        # Elsewhere than on Linux a process with threads of other libraries in it had better not fork.
        if sys.platform != "linux" or not self._private_in_all_likelihood:
            yield self
            return
        workers = ForkServer(WORKERS_IMPORT, resources.threads)
        try:
            yield replace(self, workers=workers)
        finally:
            workers.close()

    @property
    def _private_in_all_likelihood(self) -> bool:
        """Whether a private Ray will be started, as far as that is known before Ray is imported."""
        if "ray" in sys.modules and sys.modules["ray"].is_initialized():
            return False
        return self.local or (self.address is None and not os.environ.get("RAY_ADDRESS", "").strip())
