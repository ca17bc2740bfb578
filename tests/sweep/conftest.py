"""What the tests of this folder share: a Ray cluster of one node, and disks that answer at once."""

import os
from collections.abc import Iterator

import pytest
from ray_nodes import ray_head

from tlsweep.store.tables import TableWriter


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Address of a running cluster with two CPUs. Tests join it, so that only one Ray has to start."""
    with ray_head(2) as address:
        yield address


@pytest.fixture
def instant_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """For simulated sweeps, whose processes die but whose machine does not: nobody waits for the disk."""
    monkeypatch.setattr(os, "fdatasync", lambda file: None)


@pytest.fixture
def no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what the journal says: the Parquet files, which only repeat it, are not written."""
    monkeypatch.setattr(TableWriter, "write", lambda self, state: None)
