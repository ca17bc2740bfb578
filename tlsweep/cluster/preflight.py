"""Asks every node of a cluster, before a GPU is claimed, whether it is ready for this sweep.

Each node on which a trial fits is asked by one light Ray task (`examination.py`), all at once; what they find is told
in one error. A private Ray, and a cluster of the driver's node alone, have nothing to disagree about: nobody is asked.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from tlsweep.cluster import examination
from tlsweep.cluster.nodes import Cluster, Node, alive_nodes
from tlsweep.data import Task
from tlsweep.errors import ResourceError
from tlsweep.observer import Observer
from tlsweep.spec import FunctionSpec, ImageSpec, SweepSpec
from tlsweep.store.locations import Location
from tlsweep.text import listed

PATIENCE = 90.0
"""Seconds until a node must have answered; starting Python there takes some, an object store that is away too."""
SKEW = 60.0
"""Seconds that a node's clock may differ. The driver alone dates records, so less only mixes up lines of logs; this
much is no drift but a clock that nobody sets, and at 15 minutes S3 refuses what the node signs."""
SHOWN = 10
"""Lines of problems in an error."""


class Preflight:
    """The question of a sweep, for the nodes that are there and for those that join later.

    Args:
        spec: The sweep's.
        tasks: Data that trials read.
        location: A folder in which workers write, or None where that is not to be tried.
    """

    def __init__(self, spec: SweepSpec, tasks: Sequence[Task], location: Location | None) -> None:
        self._spec, self._tasks = spec, tasks
        self._location = location
        self._collecting = ThreadPoolExecutor(32, "preflight")

    def check(self, cluster: Cluster, observer: Observer) -> int:
        """Ask every node on which a trial fits; returns how many there were to ask.

        Raises:
            ResourceError: not all of them are ready, or a trial fits nowhere; the problems, by node. Or trials are to
                compute as none of their devices does.
        """
        if (
            isinstance(self._spec, ImageSpec)
            and self._spec.train.precision == "fp16"
            and not cluster.trial_gpus(self._spec.resources)
        ):
            raise ResourceError(
                "train.precision = fp16: trials have no GPU here (resources.gpus), and CPUs have no use for it; write "
                "bf16, fp32 or auto"
            )
        if cluster.local:
            cluster.slots(self._spec.resources)
            return 0
        found: dict[str, list[str]] = {}
        try:
            cluster.slots(self._spec.resources)
        except ResourceError as error:
            found["the cluster"] = [str(error)]
        nodes = self._to_ask(cluster)
        if nodes:
            observer.phase(f"checking {len(nodes)} node{'s' * (len(nodes) > 1)} of the cluster")
            answers = {f"{node.address} ({node.id[:8]})": self.check_node(node) for node in nodes}
            found |= {f"node {name}": answer.result() for name, answer in answers.items()}
            if isinstance(self._location, Path):
                found["the driver"] = examination.full_disk(self._location, "results folder", "--results")
        _raise_if_any(found)
        return len(nodes)

    def _to_ask(self, cluster: Cluster) -> list[Node]:
        """Nodes on which trials will run; all, where they fit nowhere. None, where there is only the driver's own."""
        import ray

        resources = self._spec.resources
        gpus = cluster.trial_gpus(resources)
        nodes = [node for node in cluster.nodes if node.fit(resources.cpus, gpus)] or list(cluster.nodes)
        here = ray.get_runtime_context().get_node_id()
        return nodes if [node.id for node in nodes] != [here] else []

    def check_node(self, node: Node) -> Future[list[str]]:
        """Ask one node; its problems, in a while. A node that is gone by then has none."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # With soft affinity Ray would ask another node where this one is gone, and take that one's answer for
        # its.
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        asked = time.time()
        reference = self._examine.options(scheduling_strategy=there).remote(self._question, node.id)
        return self._collecting.submit(self._collect, node, reference, asked, time.monotonic() + PATIENCE)

    @cached_property
    def _examine(self) -> Any:
        import ray

        # By value: a node that lacks tlsweep, or has another one, shall say so and not fail to load the question.
        ray.cloudpickle.register_pickle_by_value(examination)
        # Without a CPU of its own the question is answered on a node whose slots are all in use; and a node that dies
        # over it is told at once, where Ray would send it three times more.
        return ray.remote(num_cpus=0, max_retries=0)(examination.examine)

    @cached_property
    def _question(self) -> examination.Question:
        import ray

        code, packages = _own_code(self._spec)
        return {
            "versions": examination.installed(packages),
            "modules": [code.partition(":")[0]] if ":" in code else [],
            "images": [ray.put(_sample(task)) for task in self._tasks if not isinstance(task.images, np.ndarray)],
            "location": str(self._location) if self._location is not None else None,
            "nonce": uuid4().hex,
        }

    def _collect(self, node: Node, reference: Any, asked: float, deadline: float) -> list[str]:
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        try:
            answer = examination.Answer(*ray.get(reference, timeout=max(deadline - time.monotonic(), 0)))
        except GetTimeoutError:
            # By force: else Ray raises KeyboardInterrupt in the task (worker.py, `cancel`), and one that hangs in a
            # call to a dead disk never comes to see it.
            ray.cancel(reference, force=True)
            return [f"does not answer within {PATIENCE:g} s; look at its Ray's logs, or take it out ('ray stop' there)"]
        except RayError as error:
            if node.id not in {node.id for node in alive_nodes()}:
                return []
            return [f"cannot run a task ({examination.last_line(error)}); look at its Ray's logs, or take it out"]
        problems = [*answer.problems, *_skew(answer.clock, asked, time.time()), *self._too_large(node)]
        return problems + (self._unseen(node) if answer.wrote else [])

    def _too_large(self, node: Node) -> list[str]:
        """Decoded images travel through the object store of each node."""
        memory = node.object_store
        needed = sum(task.images.nbytes for task in self._tasks if isinstance(task.images, np.ndarray))
        if memory is None or needed <= memory:
            return []
        return [
            f"decoded images take {needed / 1024**2:,.0f} MB, its object store has {memory / 1024**2:,.0f}; start it "
            "with more (ray start --object-store-memory=BYTES), or lower data.memory_limit, so that nodes decode them"
        ]

    def _unseen(self, node: Node) -> list[str]:
        """Whether what the node wrote is where the driver looks; removed afterwards."""
        assert self._location is not None
        probe = examination.probe_in(self._location, node.id)
        try:
            seen = probe.read_bytes() == self._question["nonce"].encode()
            probe.unlink(missing_ok=True)
            if isinstance(probe, Path):
                probe.parent.rmdir()
        except OSError:
            seen = False
        if seen:
            return []
        return [f"the driver does not see what it writes to '{self._location}'; {examination.SHARED}"]


def _own_code(spec: SweepSpec) -> tuple[str, Sequence[str]]:
    """What may be the user's own code, `package.module:function`, and the packages beside ours that trials need."""
    if isinstance(spec, FunctionSpec):
        return spec.trial, ()
    assert isinstance(spec, ImageSpec)
    return spec.model.name, spec.model.packages


def _sample(task: Task) -> tuple[Any, list[int]]:
    """What decodes a set that does not travel, and the first and last image of each split."""
    ends = {int(at) for indices in task.splits.values() for at in (indices[0], indices[-1])}
    return task.images.items, sorted(ends)


def _skew(clock: float, asked: float, answered: float) -> list[str]:
    """A problem if a node's clock cannot have been right between question and answer. All in seconds since 1970."""
    off = clock - answered if clock > answered else min(clock - asked, 0.0)
    if abs(off) <= SKEW:
        return []
    return [
        f"its clock is {abs(off):,.0f} s {'ahead' if off > 0 else 'behind'}, more than {SKEW:g}; let NTP set it "
        "(chrony, systemd-timesyncd)"
    ]


def _raise_if_any(found: Mapping[str, Iterable[str]]) -> None:
    """One error for all problems; nodes with the same one share a line."""
    where: dict[str, list[str]] = defaultdict(list)
    for name, problems in found.items():
        for problem in problems:
            where[problem].append(name)
    if where:
        lines = [f"  {listed(names, 3)}: {problem}" for problem, names in where.items()]
        more = f"\n  and {len(lines) - SHOWN} more problems" if len(lines) > SHOWN else ""
        raise ResourceError("this sweep cannot run here as it is:\n" + "\n".join(lines[:SHOWN]) + more)
