"""The check of all nodes before trials run, on real nodes with real faults."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ray_nodes import ray_head, ray_node

from tlsweep.cluster import examination, preflight
from tlsweep.cluster.nodes import Cluster
from tlsweep.cluster.preflight import Preflight
from tlsweep.cluster.starting import RayStart
from tlsweep.data import load_task
from tlsweep.errors import ResourceError
from tlsweep.observer import Silence
from tlsweep.planning import make_plan
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.sweep import launch

SPEC: dict[str, Any] = {
    "data": {"source": "digits", "labels_per_class": 5},
    "model": {"name": "mlp", "args": {"hidden": [16]}},
    "train": {"epochs": 1},
    "search": {"strategy": "random", "trials": 3},
}


@pytest.fixture(scope="module")
def here() -> Iterator[Path]:
    """A folder with a short path, which some nodes do not see."""
    folder = Path(tempfile.mkdtemp(prefix="tp-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two sound nodes."""
    with ray_head(1) as address, ray_node(f"--address={address}", "--num-cpus=1"):
        yield address


def ask(spec: SweepSpec, address: str, tasks: list[Any], location: Path) -> int:
    with RayStart(spec.resources, local=False, address=address, dashboard=False) as ray:
        return Preflight(spec, tasks, location).check(ray.cluster(), Silence())


@pytest.mark.slow
def test_sound_nodes_pass_and_nothing_is_left_behind(address: str, here: Path) -> None:
    spec = load_spec(SPEC)
    results = launch(spec, results=here / "sound", address=address)
    assert {one.status for one in results.state().trials.values()} == {"finished"}
    assert list(results.path.rglob("*preflight*")) == []
    assert make_plan(spec, address=address, results=here / "sound").nodes_checked == 2
    assert [path.name for path in (here / "sound").iterdir()] == [results.name]


@pytest.fixture
def spoilt(here: Path, tmp_path: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """What to start a node with that has a small file system of its own, another torch, and another time."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root, and unshare of Debian's util-linux")
    hidden = here / "hidden"
    for name in ("results", "images", "code"):
        (hidden / name).mkdir(parents=True)
    metadata = tmp_path / "torch-1.2.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.2.3\n")
    (tmp_path / "sitecustomize.py").write_text("import time\nnow = time.time\ntime.time = lambda: now() - 7200\n")
    mount = f'mount -t tmpfs -o size=99m none {hidden} && exec "$@"'
    yield ["unshare", "--mount", "sh", "-c", mount, "sh"], {"PYTHONPATH": str(tmp_path)}
    shutil.rmtree(hidden)


def streamed(images: Path) -> Any:
    for split in ("train", "val", "test"):
        for name in ("cats", "dogs"):
            (images / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(images / split / name / "1.png")
    folder = {"source": "folder", "path": str(images), "image_size": 8, "memory_limit": 1}
    return load_task(load_spec(SPEC | {"data": folder}).data, 0)


@pytest.mark.slow
def test_all_that_is_wrong_with_a_node_is_told_at_once(
    address: str, here: Path, spoilt: tuple[list[str], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = here / "hidden"
    (hidden / "code" / "only_here.py").write_text("")
    monkeypatch.chdir(hidden / "code")
    monkeypatch.syspath_prepend(hidden / "code")
    spec = load_spec(SPEC | {"model": {"name": "only_here:network"}, "resources": {"cpus": 2}})
    large = replace(load_task(spec.data, 0), images=np.zeros((100, 1024, 1024, 1), np.uint8))
    below, environment = spoilt
    join = (f"--address={address}", "--num-cpus=1", "--object-store-memory=80000000", f"--temp-dir={hidden}")
    with ray_node(*join, below=below, environment=environment), pytest.raises(ResourceError) as raised:
        ask(spec, address, [large, streamed(hidden / "images")], hidden / "results")
    first, *lines = str(raised.value).splitlines()

    assert first == "this sweep cannot run here as it is:"
    told = [
        "the cluster: resources.cpus = 2: a trial cannot have more than there are on one node (1)",
        "torch 1.2.3 (driver: 2",
        "your module 'only_here' cannot be found",
        "image 'train/cats/1.png' cannot be opened (FileNotFoundError",
        f"results folder '{hidden}/results' is not there; choose --results that every node can read",
        "s behind, more than 60; let NTP set it",
        "decoded images take 100 MB, its object store has 76; start it with more",
        f"Ray's folder '{hidden}' has ",
    ]
    for fragment in told:
        assert sum(fragment in line for line in lines) == 1, (fragment, lines)
    assert len(lines) == len(told)
    assert len({line.split(": ")[0] for line in lines[1:]}) == 1  # all but the first about one node


@pytest.mark.slow
def test_a_node_that_does_not_answer_is_named(address: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil  # comes with Ray, once that is imported

    monkeypatch.setattr(preflight, "PATIENCE", 8.0)
    with ray_node(f"--address={address}", "--num-cpus=1") as node:
        raylet = next(one for one in psutil.Process(node.pid).children(recursive=True) if one.name() == "raylet")
        raylet.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(ResourceError, match=r"node \S+ \(\w{8}\): does not answer within 8 s"):
                ask(load_spec(SPEC), address, [], here)
        finally:
            raylet.send_signal(signal.SIGCONT)


def test_half_precision_without_gpus_is_refused_before_any_trial() -> None:
    spec = load_spec(SPEC, ["train.precision=fp16", "resources.gpus=0"])
    with pytest.raises(ResourceError, match=r"train.precision = fp16: trials have no GPU here .+ write bf16, fp32 or"):
        Preflight(spec, [], None).check(Cluster((), local=True), Silence())


def test_nodes_with_the_same_problem_share_a_line() -> None:
    found = {f"node {number}": ["no torch", f"own {number}"] for number in range(20)}
    with pytest.raises(ResourceError) as raised:
        preflight._raise_if_any(found)
    lines = str(raised.value).splitlines()
    assert lines[1] == "  node 0, node 1, node 2 and 17 more: no torch"
    assert lines[-1] == "  and 11 more problems"
    assert len(lines) == 12


def test_a_clock_is_judged_against_the_round_trip() -> None:
    assert preflight._skew(100.0, asked=0.0, answered=100.0) == []
    assert preflight._skew(159.0, asked=0.0, answered=100.0) == []
    assert "ahead" in preflight._skew(161.0, asked=0.0, answered=100.0)[0]
    assert "behind" in preflight._skew(-61.0, asked=0.0, answered=100.0)[0]


def test_a_node_without_tlsweep_can_still_answer() -> None:
    """The question travels by value."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(examination)
    code = (
        "import sys; sys.modules['tlsweep'] = None\n"
        "from ray import cloudpickle\n"
        "print(cloudpickle.loads(sys.stdin.buffer.read())()['tlsweep'])"
    )
    sent = cloudpickle.dumps(examination.installed)
    answer = subprocess.run([sys.executable, "-c", code], input=sent, check=True, capture_output=True)
    assert answer.stdout.decode().strip() == "None"


@pytest.mark.slow  # as slow tests have this Ray anyway
def test_the_driver_s_own_node_alone_is_not_asked(ray_address: str, tmp_path: Path) -> None:
    assert ask(load_spec(SPEC), ray_address, [], tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def test_nodes_need_the_driver_s_version_of_what_an_extra_brought() -> None:
    assert examination._other_versions(examination.installed(("timm",))) == []
    (told,) = examination._other_versions(examination.installed() | {"timm": "0.1"})
    assert "(driver: 0.1): all nodes need the same" in told
    assert load_spec(SPEC, ["model.name=timm/test_vit"]).model.packages == ("timm",)
