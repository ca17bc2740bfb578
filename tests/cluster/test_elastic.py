"""Nodes come and go while a sweep runs: its places follow them, and no epoch is lost or doubled."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from command_line import wait_until
from completeness import assert_complete
from outcomes import records_of
from ray_nodes import RAY, ray_head, ray_node

from tlsweep.cluster.elastic import Elastic
from tlsweep.cluster.nodes import Cluster, Node, NodeKind, alive_nodes
from tlsweep.cluster.starting import RayStart
from tlsweep.errors import ResourceError
from tlsweep.spec import Resources, load_spec
from tlsweep.sweep import launch

SUPPORT = Path(__file__).parents[1] / "support"


def node(cpus: float, gpus: float = 0.0) -> Node:
    return Node("id", "address", cpus, gpus)


def kind(cpus: float, most: float, gpus: float = 0.0) -> NodeKind:
    return NodeKind(node(cpus, gpus), most)


@pytest.mark.parametrize(
    ("nodes", "kinds", "resources", "now", "most"),
    [
        ([node(4)], [], {}, 4, 4),
        ([node(3), node(3)], [], {"cpus": 2}, 2, 2),  # a trial does not spread over nodes
        ([node(0.3)], [], {"cpus": 0.1}, 3, 3),  # 0.3 / 0.1 is less than 3 in floating point
        ([node(8, 2), node(8)], [], {}, 2, 2),  # one GPU each where there are any
        ([node(8, 1)], [], {"gpus": 0.25}, 4, 4),
        ([node(8, 2)], [], {"gpus": 0.4}, 4, 4),  # a trial is not divided between two GPUs
        ([node(8, 1.5)], [], {"gpus": 0.25}, 4, 4),  # half a GPU is none to Ray
        ([node(8)], [], {"concurrent": 3}, 3, 3),
        ([node(0)], [kind(0, 1), kind(8, 4, 2)], {}, 0, 8),  # none there yet, eight when all are started
        ([node(0), node(8, 2)], [kind(8, 4, 2)], {"concurrent": 5}, 2, 5),
        ([node(2)], [kind(2, float("inf"))], {}, 2, None),
        ([node(4)], [kind(1, 2)], {}, 4, 4),
    ],
)
def test_so_many_trials_run_at_once(
    nodes: list[Node], kinds: list[NodeKind], resources: dict[str, Any], now: int, most: int | None
) -> None:
    cluster = Cluster(tuple(nodes), tuple(kinds))
    wanted = Resources.model_validate(resources)
    assert (cluster.slots(wanted), cluster.slots_at_most(wanted)) == (now, most)


def test_an_autoscaler_that_does_not_say_what_it_may_start_is_asked_for_whatever_could_be_used() -> None:
    cluster = Cluster((node(0),), grows=True)
    assert (cluster.slots(Resources()), cluster.slots_at_most(Resources())) == (0, None)
    assert cluster.slots_at_most(Resources(concurrent=3)) == 3


@pytest.mark.parametrize(
    ("nodes", "kinds", "resources", "told"),
    [
        (
            [node(2), node(2)],
            [],
            {"cpus": 3},
            "resources.cpus = 3: a trial cannot have more than there are on one node",
        ),
        ([node(2)], [], {"gpus": 1}, r"resources.gpus = 1: a trial cannot have more than there are \(0\)"),
        ([node(8), node(1, 4)], [], {"cpus": 4, "gpus": 1}, "no node has both"),
        ([node(0)], [kind(4, 3)], {"cpus": 8}, r"\(4\)"),
        ([node(0)], [kind(4, 0)], {}, r"\(0\)"),
    ],
)
def test_a_trial_that_fits_on_no_node_is_refused(
    nodes: list[Node], kinds: list[NodeKind], resources: dict[str, Any], told: str
) -> None:
    with pytest.raises(ResourceError, match=told):
        Cluster(tuple(nodes), tuple(kinds)).slots(Resources.model_validate(resources))


@pytest.mark.slow
def test_slots_follow_the_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One node to begin with; a second one joins; then the first one gets notice, as a spot machine does, and goes."""
    monkeypatch.chdir(SUPPORT)
    monkeypatch.syspath_prepend(SUPPORT)
    journal = tmp_path / "it" / "journal.jsonl"
    gate = tmp_path / "gate"
    spec = load_spec(
        {
            "data": {"source": "digits", "labels_per_class": 5},
            "model": {"name": "own_code:gated", "args": {"free": 15, "gate": str(gate)}},  # of ten batches an epoch
            "train": {"epochs": 4, "lr": {"loguniform": [1e-4, 1e-1]}, "batch_size": 5},
            "search": {"strategy": "random", "trials": 3},
        }
    )

    records = partial(records_of, journal)

    with ray_head(cpus=0) as address, ExitStack() as stack:
        stack.enter_context(ray_node(f"--address={address}", "--num-cpus=1"))

        def change_nodes() -> None:
            wait_until(lambda: records("report"))
            stack.enter_context(ray_node(f"--address={address}", "--num-cpus=1"))
            wait_until(lambda: len({one["node"] for one in records("report")}) == 2)
            subprocess.run(
                [
                    RAY, "drain-node", f"--address={address}", f"--node-id={records('report')[0]['node']}",
                    "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", "--deadline-remaining-seconds=60",
                ],
                check=True, env=os.environ | {"RAY_AUTH_MODE": "token"},
            )  # fmt: skip
            wait_until(lambda: records("node_draining"))
            gate.touch()

        changer = threading.Thread(target=change_nodes)
        changer.start()
        results = launch(spec, results=tmp_path, name="it", address=address)
        changer.join()
    reports = assert_complete(results)
    assert set(results.to_pandas("trials").status) == {"finished"}
    assert set(results.to_pandas("trials").failures) == {0}
    (joined,), (draining,) = records("node_joined"), records("node_draining")
    assert (joined["details"]["slots"], draining["details"]["slots"]) == (2, 1)
    assert [one["trial"] for one in records("moved")] == ["t0000"]
    assert not records("retried")
    noticed = results.to_pandas("events").query("kind == 'node_draining'").time.iloc[0]
    there = reports.node == reports.node.iloc[0]
    assert sum(there & (reports.time > noticed)) == 1  # the epoch that was being trained


@pytest.mark.slow
def test_no_trial_is_put_on_a_node_that_is_not_ready() -> None:
    """Its resources are taken until the stage ends, so that neither the queue nor Ray uses it."""
    told: list[tuple[str, Mapping[str, Any]]] = []
    answer: Future[list[str]] = Future()
    halts: list[str] = []

    def see(places: Elastic, condition: Callable[[], object]) -> None:
        def looked() -> object:
            places._due = 0.0
            places.look()
            return condition()

        wait_until(looked, 30)

    with (
        ray_head(cpus=0) as address,
        RayStart(Resources(), local=False, address=address, dashboard=False) as starting,
    ):
        places = Elastic(
            starting.cluster(),
            Resources(),
            tell=lambda kind, what: told.append((kind, what)),
            halt=halts.append,
            wanted=lambda: 9,
            starting=lambda: False,
            check=lambda node: answer,
        )
        with ray_node(f"--address={address}", "--num-cpus=2"):
            see(places, lambda: len(alive_nodes()) == 2)
            see(places, lambda: ray.available_resources().get("CPU", 0) == 0)  # kept free until the node has answered
            assert (places.slots, told, halts) == (0, [], [])
            answer.set_result(["has another torch"])
            see(places, lambda: told)
            ((kind, what),) = told
            assert (kind, what["problems"], what["slots"]) == ("node_refused", ["has another torch"], 0)
            assert halts[0] == f"no node is ready for this sweep: node {what['address']} has another torch"
            assert ray.available_resources().get("CPU", 0) == 0
            places.close()
            wait_until(lambda: ray.available_resources().get("CPU", 0) == 2, 30)


def test_events_of_nodes_are_lines_for_people() -> None:
    from tlsweep.store import SweepState
    from tlsweep.terminal.notable import notable

    details = {"node": "ab", "address": "10.0.0.2", "cpus": 1.0, "gpus": 0.0, "slots": 2}
    record = {"type": "event", "kind": "node_lost", "trial": None, "details": json.loads(json.dumps(details))}
    line = notable(record, SweepState("val_accuracy", 1))
    assert line == "node 10.0.0.2 is lost, its trials go on elsewhere; 2 places"
