"""A sweep on three hosts, submitted with a token: one is cut off, one is killed, one is added, and nothing is lost."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from command_line import assert_one_message, wait_until
from completeness import assert_complete
from hosts import Host
from outcomes import records_of
from ray_hosts import RayHosts, ray_hosts

from tlsweep.store import open_results

pytestmark = pytest.mark.slow

OWN_CODE = Path(__file__).parents[1] / "support"
"""The folder of own_code.py, from which its user submits."""


@pytest.fixture(scope="module")
def lone_head() -> Iterator[RayHosts]:
    with ray_hosts(1) as cluster:
        cluster.start()
        cluster.network.add()
        yield cluster


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ({}, "asks for a token, and there is none here"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "refuses the token of RAY_AUTH_TOKEN"),
    ],
    ids=["without", "wrong"],
)
@pytest.mark.parametrize("verb", ["submit", "status", "launch"])
def test_without_the_token_nobody_gets_in(lone_head: RayHosts, verb: str, token: dict[str, str], told: str) -> None:
    arguments = {
        "submit": ("submit", "digits", lone_head.dashboard, "--results", "/tmp/results"),
        "status": ("status", "--on", lone_head.dashboard),
        "launch": ("launch", "digits", "--address", lone_head.address, "--results", "/tmp/results"),
    }[verb]
    outsider = lone_head.network.hosts[1]
    with lone_head.tlsweep(*arguments, host=outsider, env=token, cwd=OWN_CODE) as running:
        ended = running.wait()
    assert_one_message(ended, [told, lone_head.head.address, "RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token"])
    assert ended.err.count("\n") == 1
    assert not any(value in ended.err for value in token.values())


def test_hosts_are_lost_and_added_and_the_sweep_ends_complete() -> None:
    with ray_hosts(3) as cluster:
        cluster.start()
        cut_off, killed = cluster.network.hosts[1:]
        operator = cluster.network.add()
        journal = cluster.shared / "results" / "it" / "journal.jsonl"

        records = partial(records_of, journal)

        def lost() -> list[str]:
            return [one["details"]["address"] for one in records("node_lost")]

        gate = cluster.shared / "gate"
        submit = ["submit", write_spec(cluster.shared, gate), cluster.dashboard, "--name", "it",
                  "--results", str(journal.parents[1])]  # fmt: skip
        with cluster.tlsweep(*submit, host=operator, env=cluster.with_token, cwd=OWN_CODE) as running:
            running.until(lambda: journal.exists() and len({one["node"] for one in records("report")}) == 3)
            cut_off.cut_off()
            running.until(lambda: lost() == [cut_off.address])
            added = cluster.network.add()
            cluster.join(added)
            running.until(lambda: records("node_joined"))
            killed.kill_processes()
            # What was cut off comes back, with a worker that still holds a report of a trial that went on elsewhere.
            cut_off.reconnect()
            running.until(lambda: lost() == [cut_off.address, killed.address])
            (joined,) = records("node_joined")
            running.until(lambda: joined["details"]["node"] in {one["node"] for one in records("report")})
            gate.touch()
            ended = running.wait()
        assert ended.code == 0, ended.out + ended.err
        wait_until(lambda: not trains(cut_off), 60)

        results = open_results("it", journal.parents[1])
        reports, trials = assert_complete(results), results.to_pandas("trials")
        assert set(trials.status) <= {"finished", "stopped"}
        assert set(trials.failures) == {0}
        assert joined["details"]["address"] == added.address
        assert (reports.node == joined["details"]["node"]).any()
        assert f"node {killed.address} is lost, its trials go on elsewhere" in ended.out


def trains(host: Host) -> bool:
    """Whether Ray has anything left there to run trials with; of its log monitor it takes no care."""
    commands = host.run(["ps", "-eo", "args"]).stdout
    return "raylet/raylet" in commands or "ray::" in commands


def write_spec(folder: Path, gate: Path) -> str:
    """A population whose members wait in their second epoch until the gate is there."""
    spec = {
        "data": {"source": "digits", "labels_per_class": 5},
        "model": {"name": "own_code:gated", "args": {"free": 15, "gate": str(gate)}},
        "train": {"epochs": 8, "lr": {"loguniform": [1e-4, 1e-1]}, "batch_size": 5},
        "search": {"strategy": "pbt", "population": 4, "interval": 4},
    }
    path = folder / "spec.yaml"
    path.write_text(json.dumps(spec))
    return str(path)
