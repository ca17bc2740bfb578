"""A driver that is killed again and again, at random moments, ends where one that was left alone ends.

Real processes, real SIGKILL: `tlsweep launch`, then `tlsweep resume` until it is done.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import own_code
import pandas as pd
import pytest
import yaml
from command_line import CommandLine, Running, command_line, wait_until
from completeness import assert_complete
from outcomes import decisions, numbers
from without_ray import run_digits

from tlsweep.store import Results, SweepFolder

KILLS = {"asha": 2, "pbt": 2, "pbt-synchronous": 1}
"""A kill costs a start of some 12 s. All stood twenty; every point of a journal is tried in test_resume_anywhere."""
SEARCHES = {
    "asha": "{strategy: asha, trials: 24, min_epochs: 2}",
    "pbt": "{strategy: pbt, population: 4, interval: 3, quantile: 0.5}",
    "pbt-synchronous": "{strategy: pbt, population: 4, interval: 3, quantile: 0.5, synchronous: true}",
}


@pytest.fixture
def tlsweep(tmp_path: Path) -> Iterator[CommandLine]:
    shutil.copy(own_code.__file__, tmp_path / "own_code.py")
    with command_line(tmp_path) as commands:
        yield commands


def write_spec(folder: Path, search: str, slots: int) -> None:
    spec = {
        "data": {"source": "digits", "labels_per_class": 5},
        "model": {"name": "own_code:paced", "args": {"seconds": 0.01}},
        "train": {
            "epochs": 24,
            "optimizer": "adam",
            "lr": {"loguniform": [1e-4, 1e-1]},
            "batch_size": {"powers_of_two": [8, 32]},
        },
        "search": yaml.safe_load(search),
        "resources": {"concurrent": slots},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))


def run_and_kill(tlsweep: CommandLine, address: str, kills: int, chance: random.Random) -> Results:
    """Launch, kill, resume, kill, …, and at last let it end."""
    command = ["launch", "spec.yaml", "--name", "killed"]
    for _ in range(kills):
        with tlsweep.start(*command, "--address", address) as running:
            wait_for_a_random_moment(running, tlsweep.results / "killed", chance)
            running.process.kill()
            running.process.wait()
        if (tlsweep.results / "killed" / "spec.yaml").exists():
            command = ["resume", "killed"]
    ended = tlsweep.run(*command, "--address", address)
    assert ended.code == 0, ended
    return Results(SweepFolder(tlsweep.results / "killed"))


def wait_for_a_random_moment(running: Running, folder: Path, chance: random.Random) -> None:
    """Mostly a moment while trials run; sometimes one while the driver starts."""
    if chance.random() < 0.15:
        time.sleep(chance.uniform(0.5, 5))
        return
    journal, begun = folder / "journal.jsonl", time.monotonic()
    before = journal.stat().st_size if journal.exists() else 0
    wanted = chance.choice([1, 2, 3, 5, 8])  # lines: the first ones say that it was resumed, and who was started
    while time.monotonic() < begun + 60 and running.process.poll() is None:
        if journal.exists() and journal.read_bytes()[before:].count(b"\n") >= wanted:
            time.sleep(chance.uniform(0, 0.05))
            return
        time.sleep(0.002)
    assert running.process.poll() is None, running.wait()


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("search", SEARCHES)
def test_with_one_slot_kills_change_nothing(
    ray_address: str, tlsweep: CommandLine, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    write_spec(tlsweep.cwd, SEARCHES[search], slots=1)
    found = run_and_kill(tlsweep, ray_address, KILLS[search], random.Random(search))
    expected = run_digits(tlsweep.results / "undisturbed", tlsweep.cwd / "spec.yaml", monkeypatch)
    assert_complete(found)
    assert decisions(found) == decisions(expected)
    for table in ("reports", "trials"):
        pd.testing.assert_frame_equal(numbers(found, table), numbers(expected, table))
    best, wanted = found.winner(), expected.winner()
    assert best is not None
    assert wanted is not None
    assert best.best is not None
    assert wanted.best is not None
    assert best.best["digest"] == wanted.best["digest"]
    model = "model.safetensors"
    assert (found.folder.best / model).read_bytes() == (expected.folder.best / model).read_bytes()
    resumed = found.to_pandas("events").query("kind == 'resumed'")
    assert len(resumed) >= KILLS[search] / 2  # the others died before they had begun


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_with_two_slots_nothing_is_missing_or_doubled(ray_address: str, tlsweep: CommandLine) -> None:
    write_spec(tlsweep.cwd, SEARCHES["pbt"], slots=2)
    assert_complete(run_and_kill(tlsweep, ray_address, 1, random.Random(0)))


def signal_group(number: signal.Signals) -> Callable[[CommandLine, Running], None]:
    def send(tlsweep: CommandLine, running: Running) -> None:
        os.killpg(running.process.pid, number)

    return send


def end_ray(name: str, number: signal.Signals) -> Callable[[CommandLine, Running], None]:
    def end(tlsweep: CommandLine, running: Running) -> None:
        (pid,) = [pid for pid, command in tlsweep.ray_processes().items() if command.partition(" ")[0].endswith(name)]
        os.kill(pid, number)

    return end


def rename(tlsweep: CommandLine, running: Running) -> None:
    (tlsweep.results / "it").rename(tlsweep.results / "renamed")


def put_files_where_checkpoints_are_written(tlsweep: CommandLine, running: Running) -> None:
    """Which refuses root as well, and needs no mount."""
    for trial in list((tlsweep.results / "it" / "checkpoints").iterdir()):
        trial.rename(tlsweep.cwd / trial.name)
        trial.touch()


ENDS = {
    "SIGTERM to the group": (signal_group(signal.SIGTERM), 130, "it"),
    "SIGHUP to the group": (signal_group(signal.SIGHUP), 130, "it"),
    "SIGINT to the group": (signal_group(signal.SIGINT), 130, "it"),
    "the raylet killed": (end_ray("/raylet", signal.SIGKILL), 130, "it"),
    "the GCS killed": (end_ray("/gcs_server", signal.SIGKILL), 130, "it"),
    "the GCS ended in order": (end_ray("/gcs_server", signal.SIGTERM), 130, "it"),
    "the folder renamed": (rename, 2, "renamed"),
    "checkpoints that cannot be written": (put_files_where_checkpoints_are_written, 2, "it"),
}
"""What is done to a sweep while trials run, its exit code, and the name under which it goes on."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ENDS)
def test_a_sweep_ends_in_order_within_seconds_and_says_how_to_go_on(tlsweep: CommandLine, how: str) -> None:
    act, code, name = ENDS[how]
    write_spec(tlsweep.cwd, SEARCHES["asha"], slots=2)
    command = ["launch", "spec.yaml", "-o", "train.epochs=100000", "--name", "it", "--local", "--no-dashboard"]
    with tlsweep.start(*command) as running:
        journal = tlsweep.results / "it" / "journal.jsonl"
        running.until(lambda: journal.exists() and journal.read_bytes().count(b'"val_accuracy"') > 4)
        act(tlsweep, running)
        ended = running.wait(10)
    assert ended.code == code, ended
    assert f"tlsweep resume {name}" in ended.out + ended.err
    assert "Traceback" not in ended.err
    assert ended.err.count("\n") <= 1
    results = Results(SweepFolder(tlsweep.results / name))
    assert_complete(results)
    assert set(results.to_pandas("trials").status) <= {"interrupted", "stopped"}
    assert set(results.to_pandas("trials").failures) == {0}
    assert [path.name for path in tlsweep.results.iterdir()] == [name]
    wait_until(lambda: not tlsweep.ray_processes(), 30)
