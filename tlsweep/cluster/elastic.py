"""Nodes that come and go while trials run: how many slots there are, who must leave, what to ask an autoscaler for."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any
from uuid import uuid4

from tlsweep.cluster.nodes import Cluster, Node, alive_nodes, draining_nodes
from tlsweep.spec import Resources

LOOK_SECONDS = 1.0
"""The time between two looks at the nodes: each is two calls to the head, of some milliseconds."""


class Elastic:
    """The cluster of a stage, as it is now.

    Args:
        cluster: The nodes there were when the stage began.
        resources: What one trial takes.
        tell: Is told what happens to a node: kind of event, details.
        halt: Ends the sweep so that it can be resumed, for a reason.
        wanted: How many trials could have a slot now, those that have one included.
        starting: Whether one that was given a slot still waits for its worker.
        check: Asks a node that joins whether it is ready for the sweep; the problems, in a while. Until it has
            answered, and if there are any, nothing is put there.
        clock: Seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        resources: Resources,
        *,
        tell: Callable[[str, Mapping[str, Any]], None],
        halt: Callable[[str], None],
        wanted: Callable[[], int],
        starting: Callable[[], bool],
        check: Callable[[Node], "Future[list[str]]"],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        gpus = cluster.trial_gpus(resources)
        self._cluster, self._check = cluster, check
        self._clock = clock
        self._tell, self._halt = tell, halt
        self._wanted, self._starting = wanted, starting
        # What 'auto' meant when the sweep began does not change with the nodes.
        self._resources = resources.model_copy(update={"gpus": gpus})
        self._draining: set[str] = set()
        self._checked: dict[str, Future[list[str]]] = {}
        self._kept_free: dict[str, Any] = {}
        """What keeps trials away from nodes that are not ready, or not known to be."""
        self._refused: dict[str, str] = {}
        """Nodes that are not ready, and why, of those that are there."""
        self._due = clock() + LOOK_SECONDS
        # Without an autoscaler there is nobody to ask: a group that waits would only take the place of a trial.
        self._most = cluster.slots_at_most(resources) if cluster.grows or cluster.kinds else 0
        self._demand = Demand(resources.cpus, gpus)
        self.slots = cluster.slots_now(resources)
        """Places of trials, now."""

    def leaving(self, node: str) -> bool:
        """Whether a node is about to be taken away: a trial there should go on elsewhere."""
        return node in self._draining

    def look(self) -> None:
        """See what became of the nodes, if the last time is long enough ago. Call it often."""
        if self._cluster.local or self._clock() < self._due:
            return
        alive, draining = {node.id: node for node in alive_nodes()}, draining_nodes()
        here = {node.id: node for node in self._cluster.nodes}
        staying = {name: node for name, node in alive.items() if name not in draining}
        joined = [node for name, node in staying.items() if name not in here and self._ready(node)]
        kept = [node for name, node in staying.items() if name in here]
        self._cluster = replace(self._cluster, nodes=(*kept, *joined))
        self.slots = self._cluster.slots_now(self._resources)
        self._report("node_joined", joined)
        self._report("node_draining", [node for name, node in alive.items() if name in draining - self._draining])
        self._report("node_lost", [node for name, node in here.items() if name not in alive])
        self._draining = draining
        self._forget({*self._kept_free} - {*alive})
        self._ask()
        self._due = self._clock() + LOOK_SECONDS

    def rest(self) -> None:
        """Ask for no more room: no trial will want a slot; nodes that are not ready are still kept free."""
        self._demand.ask(0)

    def close(self) -> None:
        """Leave the cluster as it was found."""
        self._demand.ask(0)
        self._forget({*self._kept_free})

    def _ask(self) -> None:
        """Tell an autoscaler what the sweep could use; end a sweep that no node is ready for."""
        waits_for_answers = not all(check.done() for check in self._checked.values())
        if self._refused and not self.slots and not waits_for_answers:
            why = "; ".join(dict.fromkeys(self._refused.values()))
            self._halt(f"no node is ready for this sweep: {why}")
        # More nodes of a kind that is not ready are of no use; and a trial that waits for its worker comes first.
        if self._refused or self._starting():
            self._demand.ask(0)
        elif self._most is None or self._most > self.slots:
            wanted = self._wanted()
            self._demand.ask(min(wanted, self._most or wanted) - self.slots)

    def _ready(self, node: Node) -> bool:
        """Whether a node that joined has answered that trials can run there; those that fit none are not asked."""
        if not node.fit(self._resources.cpus, float(self._resources.gpus)):
            return True
        if node.id not in self._checked:
            # Ray gives a node to what waits for a place the moment it joins, so it is taken first, and asked then.
            self._kept_free[node.id] = occupy(node)
            self._checked[node.id] = self._check(node)
        answer = self._checked[node.id]
        if not answer.done() or node.id in self._refused:
            return False
        if problems := answer.result():
            self._refused[node.id] = f"node {node.address} {'; '.join(problems)}"
            self._report("node_refused", [node], problems=problems)
        else:
            self._forget({node.id})
        return not problems

    def _forget(self, nodes: set[str]) -> None:
        """Let a node be used, or no longer wait for one that is gone."""
        for name in nodes & self._kept_free.keys():
            remove_group(self._kept_free.pop(name))
            self._refused.pop(name, None)

    def _report(self, kind: str, nodes: list[Node], **more: Any) -> None:
        for node in nodes:
            what = {"node": node.id, "address": node.address, "cpus": node.cpus, "gpus": node.gpus}
            self._tell(kind, what | {"slots": self.slots} | more)


class Demand:
    """Asks an autoscaler for room for trials, by placement groups that wait for it.

    They end with this process, so that no demand outlives its sweep (that of `ray.autoscaler.sdk.request_resources`
    would), and trials are given out only when there is a slot: nobody decides early who gets it.
    """

    def __init__(self, cpus: float, gpus: float) -> None:
        self._bundle = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
        self._groups: list[Any] = []

    def ask(self, count: int) -> None:
        """Ask for room for `count` more trials."""
        from ray.util import placement_group, placement_group_table

        if self._groups:
            states = placement_group_table()
            # One that has its room has done its work; a trial needs that room.
            waiting = [group for group in self._groups if states.get(group.id.hex(), {}).get("state") == "PENDING"]
            kept = waiting[: max(count, 0)]
            for group in {*self._groups} - {*kept}:
                remove_group(group)
            self._groups = kept
        while len(self._groups) < count:
            # A second group of one name is an error (ray 2.60), also where another sweep of this cluster asks.
            self._groups.append(placement_group([self._bundle], name=f"tlsweep_asks_for_nodes_{uuid4().hex[:8]}"))


def occupy(node: Node) -> Any:
    """Take all of a node, so that Ray puts no trial there; the group that holds it."""
    from ray.util import placement_group

    # By a label of the node: the other way to name one, `_soft_target_node_id`, is a hint that Ray need not follow
    # (2.60, util/placement_group.py), and a group that went elsewhere would take a good node away.
    everything = {"CPU": node.cpus} | ({"GPU": node.gpus} if node.gpus else {})
    return placement_group(
        [everything], name=f"tlsweep_avoids_{node.id}", bundle_label_selector=[{"ray.io/node-id": node.id}]
    )


def remove_group(group: Any) -> None:
    """Give back what a placement group holds, or no longer ask for it."""
    from ray.util import remove_placement_group

    remove_placement_group(group)
