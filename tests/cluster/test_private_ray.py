"""The private Ray of a sweep on this machine: what it listens on, who may join it, and another Ray beside it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import own_code
import pytest
import ray  # noqa: F401  # brings psutil with it
from command_line import SMALL, CommandLine, Running, command_line

import psutil  # isort: skip

pytestmark = pytest.mark.slow


NEITHER_ENDS = ("-o", "search.min_epochs=50000", "-o", "train.epochs=100000", "-o", "train.batch_size=5")
# It is only looked at: a network that takes its time leaves the cores to other tests.
PACED = ("-o", "model={name: own_code:paced, args: {seconds: 0.02}}")
ENDLESS = ["launch", "digits", *SMALL, *NEITHER_ENDS, *PACED, "--local"]

DOCUMENTED = {
    "driver": 1, "worker": 1, "gcs_server": 1, "raylet": 2, "dashboard.py": 2, "DashboardAgent": 3,
}  # fmt: skip
"""cluster/README.md, Security, 3: ports of each process; every one of them on loopback."""


@dataclass(frozen=True)
class Private:
    """A sweep that runs on its private Ray, as long as it is looked at."""

    tlsweep: CommandLine
    running: Running
    dashboard: str
    gcs: str


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Private]:
    with command_line(tmp_path_factory.mktemp("private")) as tlsweep:
        tlsweep.environment |= {"RAY_TMPDIR": str(tlsweep.temp), "RAY_raylet_client_num_connect_attempts": "900"}
        shutil.copy(own_code.__file__, tlsweep.cwd)
        with tlsweep.start(*ENDLESS, "--name", "first") as running:
            running.until(lambda: "epochs after" in running.out)
            address = re.search(r"^dashboard at (http\S+)$", running.out, re.MULTILINE)
            assert address is not None
            (listening,) = (ports for name, ports in sockets(running).items() if name[0] == "gcs_server")
            yield Private(tlsweep, running, address[1], f"127.0.0.1:{listening[0][1]}")
            running.interrupt()


def tree(running: Running) -> list[int]:
    """The driver, and all that it started."""
    driver = psutil.Process(running.process.pid)
    return [driver.pid, *(one.pid for one in driver.children(recursive=True))]


def command(pid: int) -> str:
    """Nothing of a process that has ended meanwhile."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return ""


def role(pid: int, driver: int) -> str:
    if pid == driver:
        return "driver"
    known = [name for name in DOCUMENTED if f"{name} " in f"{command(pid)} ".replace("/", " ").replace(":", " ")]
    return known[0] if known else "worker"


def sockets(running: Running) -> dict[tuple[str, int], list[tuple[str, int]]]:
    """Listening sockets, by role and process."""
    found = {}
    for pid in tree(running):
        connections = psutil.Process(pid).net_connections("inet")
        ports = [tuple(one.laddr) for one in connections if one.status == psutil.CONN_LISTEN]
        if ports:
            found[role(pid, running.process.pid), pid] = ports
    return found


def test_it_listens_on_loopback_alone_as_documented(private: Private) -> None:
    found = sockets(private.running)
    assert {ip.removeprefix("::ffff:") for ports in found.values() for ip, _ in ports} == {"127.0.0.1"}
    assert {name for name, _ in found} == set(DOCUMENTED)
    assert all(len(ports) <= DOCUMENTED[name] for (name, _), ports in found.items()), found


def test_it_has_no_process_that_a_sweep_makes_no_use_of(private: Private) -> None:
    """The names that processes have: ray::IDLE is a worker that waits for tasks, of which there are none."""
    commands = [command(pid) for pid in tree(private.running)]
    assert not [line for line in commands if re.search(r"log_monitor|monitor\.py|ray::IDLE|RuntimeEnvAgent", line)]


def test_the_raylet_asks_often_for_what_it_has_started_and_as_long_as_a_user_wants(private: Private) -> None:
    (raylet,) = {pid for name, pid in sockets(private.running) if name == "raylet"}
    told = psutil.Process(raylet).environ()
    told = {name: value for name, value in told.items() if name.startswith("RAY_raylet_client_")}
    assert told == {
        "RAY_raylet_client_connect_timeout_milliseconds": "10", "RAY_raylet_client_num_connect_attempts": "900",
    }  # fmt: skip


def test_workers_are_copies_of_one_process_that_imported_what_they_need(private: Private) -> None:
    """And neither they nor the driver have libraries that this sweep makes no use of, a second and more each."""
    driver = private.running.process.pid
    workers = [pid for pid in tree(private.running) if command(pid).startswith("ray::ImplicitFunc")]
    (server,) = {psutil.Process(pid).ppid() for pid in workers}
    assert (len(workers), psutil.Process(server).ppid()) == (2, driver)
    for pid in (driver, server, *workers):
        loaded = Path(f"/proc/{pid}/maps").read_text()
        assert "/torch/" in loaded
        assert not re.findall(r"/(?:sklearn|scipy|torchvision|optuna|plotly|onnx)/", loaded)


def test_a_worker_that_ends_takes_nobody_with_it(private: Private) -> None:
    """The raylet ends what is left of a worker's process group, into which workers were forked once."""
    driver = private.running.process.pid

    def workers() -> dict[int, str]:
        return {pid: name for pid in tree(private.running) if (name := command(pid)).startswith("ray::ImplicitFunc")}

    dying, other = workers()
    server = psutil.Process(other).ppid()
    os.kill(dying, signal.SIGKILL)
    private.running.until(lambda: dying not in workers() and len(workers()) == 2)
    assert (other in workers(), psutil.Process(server).ppid()) == (True, driver)
    assert {psutil.Process(pid).ppid() for pid in workers()} == {server}


@pytest.mark.parametrize("way", ["RAY_ADDRESS=auto", "--address"])
def test_another_sweep_does_not_join_it(private: Private, way: str) -> None:
    """Of either way what it finds; both ways to say either are those of test_address."""
    arguments = ["launch", "digits", *SMALL, "--name", "second"]
    name = way.split()[0].partition("=")[0]
    value = "auto" if "auto" in way else private.gcs
    before = dict(private.tlsweep.environment)
    try:
        if name == "RAY_ADDRESS":
            private.tlsweep.environment["RAY_ADDRESS"] = value
            ended = private.tlsweep.run(*arguments)
        else:
            ended = private.tlsweep.run(*arguments, name, value)
    finally:
        private.tlsweep.environment.clear()
        private.tlsweep.environment.update(before)
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert ended.code == 2
    assert line.startswith(f"error: {name} '{value}': ")
    assert "the private Ray of another sweep" in line
    assert "Traceback" not in ended.err


def test_a_second_private_ray_has_a_dashboard_of_its_own(private: Private) -> None:
    """The address that is printed answers for the sweep that printed it."""
    with private.tlsweep.start(*ENDLESS, "--name", "second") as running:
        running.until(lambda: "dashboard at" in running.out and "epochs after" in running.out)
        second = re.search(r"^dashboard at (http\S+)$", running.out, re.MULTILINE)
        assert second is not None
        assert second[1] != private.dashboard
        assert (listed(private, private.dashboard), listed(private, second[1])) == ({"first"}, {"second"})
        running.interrupt()


def listed(private: Private, url: str) -> set[str]:
    """Sweeps whose workers a dashboard shows, asked for with what the printed line says."""
    import requests

    environment = os.environ | private.tlsweep.environment
    program = str(Path(sys.executable).with_name("ray"))
    token = subprocess.run(
        [program, "get-auth-token"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    answer = requests.get(f"{url}/api/v0/actors", headers={"Authorization": f"Bearer {token.strip()}"}, timeout=20)
    actors = answer.json()["data"]["result"]["result"]
    assert requests.get(f"{url}/api/v0/actors", timeout=20).status_code == 401
    return {one["name"].split()[0] for one in actors if " worker " in (one["name"] or "")}


NOTEBOOK = """
import json, os, ray, signal, sys
from tlsweep import launch, load_spec
from tlsweep.errors import ResourceError
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)

@ray.remote
def answer():
    return 42

spec = load_spec("digits", {changes})
before = dict(os.environ), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
told = []
for where in ({{"local": True}}, {{"address": "10.0.0.1:6379"}}):
    try:
        launch(spec, results="results", **where)
    except ResourceError as error:
        told.append(str(error))
best = launch(spec, results="results").winner().best["epoch"]
after = {{name: os.environ.get(name) for name in before[0]}}, *map(signal.getsignal, (signal.SIGINT, signal.SIGTERM))
left = [name for name in os.environ if name not in before[0] and name.startswith(("RAY", "TUNE"))]
print(json.dumps([told, best, ray.get(answer.remote()), before == after, left]))
"""


def test_a_ray_that_the_process_has_is_used_and_left_alone(tmp_path: Path) -> None:
    changes = tuple(SMALL[1::2])
    code = NOTEBOOK.format(changes=changes)
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    told, best, answer, same, left = json.loads(ended.stdout.splitlines()[-1])
    assert (best in (1, 2), answer, same, left) == (True, 42, True, [])
    assert [line.startswith(("--local: ", "--address 10.0.0.1:6379: ")) for line in told] == [True, True]
    assert all("this process is connected to a Ray already" in line for line in told)
