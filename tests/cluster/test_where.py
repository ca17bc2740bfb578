"""What workers need is imported from the first moment on, wherever this process may start a Ray, and only there."""

import gc
import sys

import pytest

from tlsweep.cluster.fork_server import ForkServer
from tlsweep.cluster.where import Where
from tlsweep.errors import DataError
from tlsweep.spec import Resources

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")


def test_it_begins_at_once_and_ends_with_whatever_the_driver_runs_into() -> None:
    def fail() -> None:
        with Where(local=True).working_ahead(Resources()) as where:
            assert where.workers is not None
            assert where.workers.process.poll() is None
            seen.append(where.workers)
            raise DataError("found while images were read")

    seen: list[ForkServer] = []
    with pytest.raises(DataError):
        fail()
    assert seen[0].process.poll() is not None
    seen[0].close()  # and once more, as by a Ray that has no use for it


@pytest.mark.parametrize("where", [Where(address="10.0.0.1:6379"), Where()], ids=["address", "variable"])
def test_where_a_cluster_is_joined_nobody_works_ahead(where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with where.working_ahead(Resources()) as ahead:
        assert ahead.workers is None


def test_garbage_is_looked_for_less_often_while_a_sweep_runs_and_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with Where(address="10.0.0.1:6379").working_ahead(Resources()):
        assert gc.get_threshold()[0] >= 10 * before[0]
    assert gc.get_threshold() == before
