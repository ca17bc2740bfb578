"""The nodes of a cluster: what each has, what an autoscaler may add, and how many trials that makes."""

from collections.abc import Iterable
from dataclasses import dataclass

from tlsweep.errors import ResourceError
from tlsweep.spec import Resources


@dataclass(frozen=True)
class Node:
    """A machine, or what an autoscaler would start."""

    id: str
    """Ray's, hexadecimal; of a kind of node its name."""
    address: str
    cpus: float
    gpus: float
    object_store: float | None = None
    """Bytes of shared memory for images and weights; None where that is not known."""

    def fit(self, cpus: float, gpus: float) -> int:
        """Trials of this size that run here at once."""
        # 0.3 / 0.1 is 2.9999999999999996 in floating point, where Ray, which counts in ten-thousandths, places three
        # trials.
        slack = 1e-9
        by_cpus = int(self.cpus / cpus + slack)
        if not gpus:
            return by_cpus
        if gpus >= 1:
            return min(by_cpus, int(self.gpus / gpus + slack))
        # Ray gives a share of a GPU from one device, never from two: of two GPUs 0.4 goes four times, not five times.
        # What a node has becomes whole devices, and the rest of 1.5 none (its NodeResourceInstanceSet).
        return min(by_cpus, int(self.gpus) * int(1 / gpus + slack))


@dataclass(frozen=True)
class NodeKind:
    """A kind of node that an autoscaler may start."""

    node: Node
    most: float
    """How many there may be at once; may be infinite."""


@dataclass(frozen=True)
class Cluster:
    """What trials can run on, at one moment."""

    nodes: tuple[Node, ...]
    """Alive, and not about to be taken away."""
    kinds: tuple[NodeKind, ...] = ()
    """What an autoscaler may start; empty where there is none."""
    grows: bool = False
    """Whether an autoscaler runs that does not tell what it may start."""
    dashboard: str | None = None
    """Address of Ray's dashboard, with http://."""
    local: bool = False
    """Whether we started it, so that we stop it."""

    @property
    def cpus(self) -> float:
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        return sum(node.gpus for node in self.nodes)

    def trial_gpus(self, resources: Resources) -> float:
        """GPUs of one trial."""
        if resources.gpus == "auto":
            return float(resources.processes) if any(node.gpus for node in self._everything()) else 0.0
        return float(resources.gpus)

    def slots(self, resources: Resources) -> int:
        """Trials that run at once, now.

        Raises:
            ResourceError: not even one fits on any node, nor on one that could be started.
        """
        self._check(resources)
        return self.slots_now(resources)

    def slots_now(self, resources: Resources) -> int:
        """The same, where it may be 0: nodes may come back."""
        return self._at_once(sum(self._fits(self.nodes, resources)), resources)

    def slots_at_most(self, resources: Resources) -> int | None:
        """Trials that run at once when an autoscaler has started all it may; None where that has no end."""
        if self.grows:
            return resources.concurrent
        gpus = self.trial_gpus(resources)
        added = sum(fit * kind.most for kind in self.kinds if (fit := kind.node.fit(resources.cpus, gpus)))
        if added == float("inf"):
            return resources.concurrent
        # The nodes that are there are of these kinds too.
        return max(self._at_once(int(added), resources), self.slots_now(resources))

    def _at_once(self, fit: int, resources: Resources) -> int:
        return min(fit, resources.concurrent or fit)

    def _everything(self) -> Iterable[Node]:
        return (*self.nodes, *(kind.node for kind in self.kinds if kind.most))

    def _fits(self, nodes: Iterable[Node], resources: Resources) -> list[int]:
        gpus = self.trial_gpus(resources)
        return [node.fit(resources.cpus, gpus) for node in nodes]

    def _check(self, resources: Resources) -> None:
        if self.grows:
            return
        nodes, gpus = list(self._everything()), self.trial_gpus(resources)
        more = "lower it, or join a cluster of larger nodes with --address"
        where = "on one node " if len(nodes) > 1 else ""
        for kind, wanted, there in (
            ("cpus", resources.cpus, max((node.cpus for node in nodes), default=0.0)),
            ("gpus", gpus, max((node.gpus for node in nodes), default=0.0)),
        ):
            if wanted > there:
                raise ResourceError(
                    f"resources.{kind} = {wanted:g}: a trial cannot have more than there are {where}({there:g}); {more}"
                )
        if not any(self._fits(nodes, resources)):
            raise ResourceError(
                f"resources.cpus = {resources.cpus:g}, resources.gpus = {gpus:g}: no node has both; {more}"
            )


def alive_nodes() -> tuple[Node, ...]:
    """The nodes of the cluster that this process has joined."""
    import ray

    return tuple(
        Node(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            # Ray leaves out what a node has none of.
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            object_store=node["Resources"].get("object_store_memory"),
        )
        for node in ray.nodes()
        if node["Alive"]
    )


def draining_nodes() -> set[str]:
    """Nodes that are to be taken away soon, such as spot machines that got notice: no work is placed there."""
    from ray._private.state import state

    return set(state.get_draining_nodes())


def node_kinds() -> tuple[NodeKind, ...]:
    """What the autoscaler of the cluster may start; empty where there is none."""
    from ray._private.state import state

    config = state.get_cluster_config()
    return tuple(
        NodeKind(
            Node(group.name, "", cpus=float(group.resources.get("CPU", 0)), gpus=float(group.resources.get("GPU", 0))),
            most=float("inf") if group.max_count < 0 else float(group.max_count),
        )
        for group in (config.node_group_configs if config else ())
    )


def autoscaled() -> bool:
    """Whether an autoscaler looks after the cluster: it gives the head the name of its kind (RAY_NODE_TYPE_NAME)."""
    import ray

    return any(
        "node:__internal_head__" in node["Resources"] and node["Labels"].get("ray.io/node-group")
        for node in ray.nodes()
        if node["Alive"]
    )
