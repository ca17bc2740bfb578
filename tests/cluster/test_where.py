"""What workers need is imported from the first moment on, wherever this process may start a Ray, and only there."""

import sys
from typing import NoReturn

import pytest

from tlsweep.cluster import where
from tlsweep.cluster.fork_server import ForkServer
from tlsweep.cluster.starting import RayStart
from tlsweep.cluster.where import Where
from tlsweep.errors import DataError
from tlsweep.spec import Resources

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")


def test_it_begins_at_once_and_ends_with_whatever_the_driver_runs_into() -> None:
    def fail() -> None:
        with Where(local=True).working_ahead(Resources()) as ahead:
            assert ahead.workers is not None
            assert ahead.workers.process.poll() is None
            seen.append(ahead.workers)
            raise DataError("found while images were read")

    seen: list[ForkServer] = []
    with pytest.raises(DataError):
        fail()
    assert seen[0].process.poll() is not None
    seen[0].close()  # and once more, as by a Ray that has no use for it


@pytest.mark.parametrize("joined", [Where(address="10.0.0.1:6379"), Where()], ids=["address", "variable"])
def test_where_a_cluster_is_joined_nobody_works_ahead(joined: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with joined.working_ahead(Resources()) as ahead:
        assert ahead.workers is None


@pytest.mark.parametrize("local", [True, False])
def test_the_ray_of_the_launch_before_has_gone_when_it_begins(local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else this launch would take it for the user's own, and have nobody work ahead."""
    steps = []

    def begin(*_: object) -> NoReturn:
        steps.append("begun")
        raise DataError("enough")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(RayStart, "_left", lambda: steps.append("left"))
    monkeypatch.setattr(where, "ForkServer", begin)
    with pytest.raises(DataError), Where(local=local).working_ahead(Resources()):
        pass
    assert steps == ["left", "begun"]
