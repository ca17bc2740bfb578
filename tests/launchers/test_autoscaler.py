"""Ray's own autoscaler, with its provider that starts processes instead of machines: it sees what a sweep can use."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import wait_until
from completeness import assert_complete
from ray_hosts import RayHosts, ray_hosts

from tlsweep.store import Record, open_results, read_journal

pytestmark = pytest.mark.slow

OWN_CODE = Path(__file__).parents[1] / "support"
HEAD = "f" * 51 + "00000"
"""The id that the provider gives the head (ray 2.60, autoscaler/_private/fake_multi_node/node_provider.py)."""
CONFIGURATION = {
    "cluster_name": "fake",
    "provider": {
        # By its other name, fake_multinode, it wants a file that Ray's wheel lacks (2.60).
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "launch_multiple": True, "head_node_id": HEAD,
        "use_node_id_as_ip": True, "disable_node_updaters": True, "disable_launch_config_check": True,
    },
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "small": {
            "resources": {"CPU": 1, "object_store_memory": 100_000_000}, "node_config": {},
            "min_workers": 0, "max_workers": 2,
        },
    },
    "max_workers": 2,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 0.1,
}  # fmt: skip
EMPTY = {
    list: ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
           "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude",
           "rsync_filter"),
    dict: ("auth", "docker", "file_mounts"),
}  # fmt: skip
"""What `ray up` would have filled in."""
VARIABLES = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_NODE_TYPE_NAME": "ray.head.default",
    "RAY_CLOUD_INSTANCE_ID": HEAD,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}


@pytest.fixture
def cluster() -> Iterator[RayHosts]:
    """A head without CPUs, and an autoscaler that may start two nodes with one each."""
    with ray_hosts(1, cpus=0) as cluster:
        file = cluster.shared / "autoscaling.json"
        file.write_text(json.dumps(CONFIGURATION | {name: kind() for kind, names in EMPTY.items() for name in names}))
        cluster.start(f"--autoscaling-config={file}", env=VARIABLES)
        yield cluster


def test_a_sweep_gets_the_nodes_that_it_can_use_and_they_go_when_it_has_ended(cluster: RayHosts) -> None:
    results, gate = cluster.shared / "results", cluster.shared / "gate"
    network = f"{{name: own_code:gated, args: {{free: 15, gate: {gate}}}}}"
    launch = ["launch", "digits", "--address", cluster.address, "--results", str(results), "--name", "it",
              "-o", "data.labels_per_class=5", "-o", f"model={network}",
              "-o", "controls=[]", "-o", "train.epochs=4", "-o", "train.batch_size=5",
              "-o", "search={strategy: pbt, population: 3, interval: 2}"]  # fmt: skip

    def records() -> list[Record]:
        return list(read_journal(results / "it" / "journal.jsonl"))

    with cluster.tlsweep(*launch, host=cluster.head, env=cluster.with_token, cwd=OWN_CODE) as running:
        running.until(lambda: len({one["node"] for one in records() if one["type"] == "report"}) == 2)
        gate.touch()
        ended = running.wait()
    assert ended.code == 0, ended.out + ended.err

    assert_complete(open_results("it", results))
    joined = [one["details"]["slots"] for one in records() if one.get("kind") == "node_joined"]
    assert joined[-1] == 2
    wait_until(lambda: nodes(cluster) == [cluster.head.address], 60)


def nodes(cluster: RayHosts) -> list[str]:
    """Addresses of those that are alive; `ray list nodes` would take seconds of a core each time."""
    headers = {"Authorization": f"Bearer {cluster.token}"}
    asked = urllib.request.Request(f"{cluster.dashboard}/api/v0/nodes", headers=headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        found = json.load(answer)["data"]["result"]["result"]
    return [one["node_ip"] for one in found if one["state"] == "ALIVE"]
