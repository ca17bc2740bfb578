"""One Ray after another: a launch does not meet the Ray that the one before it is still leaving."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tlsweep.cluster import starting as cluster
from tlsweep.cluster.nodes import Cluster
from tlsweep.cluster.starting import ENVIRONMENT, RayStart
from tlsweep.errors import DataError, ResourceError
from tlsweep.spec import Resources


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done with Ray, which is not really started."""
    import ray

    done: list[str] = []

    def join(address: str | None, **how: object) -> Cluster:
        done.append("joined")
        return Cluster(())

    monkeypatch.setattr(ray, "is_initialized", lambda: bool(done) and done[-1] == "joined")
    monkeypatch.setattr(ray, "shutdown", lambda: done.append("left"))
    monkeypatch.setattr(cluster, "cluster_to_join", lambda address: address)
    monkeypatch.setattr(cluster, "_connect", join)
    return done


def start() -> RayStart:
    return RayStart(Resources(), local=False, address="10.0.0.1:6379", dashboard=False)


def test_a_launch_waits_for_the_ray_that_the_one_before_leaves(
    steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take it for a Ray of the user's own, use it, and lose it in the middle.

    The thread that launches does nothing meanwhile: what it drops could end the process.
    """
    import ray

    join, leave = cluster._connect, ray.shutdown
    coming, here, leaving = threading.Event(), threading.Event(), threading.Event()

    def slowly_come(address: str | None, **how: object) -> Cluster:
        coming.wait()
        here.set()
        return join(address, **how)

    def slowly_leave() -> None:
        leaving.wait()
        leave()

    monkeypatch.setattr(cluster, "_connect", slowly_come)
    monkeypatch.setattr(ray, "shutdown", slowly_leave)
    with pytest.raises(DataError), start():
        raise DataError("found while Ray was on its way")
    coming.set()
    here.wait()
    with ThreadPoolExecutor(1) as executor:
        next_launch = executor.submit(start)
        with pytest.raises(TimeoutError):
            next_launch.result(timeout=0.3)
        leaving.set()
        with next_launch.result() as second:
            second.cluster()
    assert steps == ["joined", "left", "joined", "left"]


def test_environment_variables_are_as_before_after_launches_that_overlap(
    steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DataError), start():
        raise DataError("found while Ray was on its way")
    with start() as second:
        second.cluster()
        assert ENVIRONMENT.items() <= os.environ.items()
    assert not ENVIRONMENT.keys() & os.environ.keys()


def test_a_ray_or_dashboard_that_does_not_come_up_in_time_is_told_in_one_line() -> None:
    """As Ray 2.60 raises it (node.py; services.py, start_api_server); a machine so busy cannot be made at will."""
    log = "\n2026-01-01 INFO dashboard.py:1\n2026-01-01 INFO head.py:2 -- Starting dashboard"
    said = pytest.raises(ResourceError, match=r"^Ray's dashboard did not come up in time")
    with said as error, cluster._in_time():
        raise Exception(log)
    assert "\n" not in str(error.value)
    with pytest.raises(ResourceError, match="^Ray did not start within"), cluster._in_time():
        raise Exception("The current node timed out during startup. This could happen because …")
    for other in (Exception("something else"), RuntimeError("dashboard")):
        with pytest.raises(type(other), match=str(other)), cluster._in_time():
            raise other
