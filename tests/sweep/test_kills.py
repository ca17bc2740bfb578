"""A driver that is killed again and again, at random moments, ends where one that was left alone ends.

Real processes, real SIGKILL: `tlsweep launch`, then `tlsweep launch --resume` until it is done.
"""

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import own_code
import pandas as pd
import pytest
import yaml
from command_line import CommandLine, Running, command_line
from completeness import assert_complete

from tlsweep.store import Results, SweepFolder

KILLS = {"asha": 20, "pbt": 8, "pbt-synchronous": 8}
"""A kill costs a start of some 12 s; all three stood twenty."""
DECISIONS = ("stopped", "finished", "exploited", "perturbed", "promoted")
TIMES = ("time", "elapsed", "node", "sweep", "samples_per_second", "device_memory")
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


def run_undisturbed(tlsweep: CommandLine, address: str) -> Results:
    ended = tlsweep.run("launch", "spec.yaml", "--name", "undisturbed", "--address", address)
    assert ended.code == 0, ended
    return Results(SweepFolder(tlsweep.results / "undisturbed"))


def run_and_kill(tlsweep: CommandLine, address: str, kills: int, chance: random.Random) -> Results:
    """Launch, kill, resume, kill, …, and at last let it end."""
    command = ["launch", "spec.yaml", "--name", "killed"]
    for _ in range(kills):
        with tlsweep.start(*command, "--address", address) as running:
            wait_for_a_random_moment(running, tlsweep.results / "killed", chance)
            running.process.kill()
            running.process.wait()
        if (tlsweep.results / "killed" / "spec.yaml").exists():
            command = ["launch", "--resume", "killed"]
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


def decisions(results: Results) -> list[tuple[Any, ...]]:
    events = results.to_pandas("events")
    rows = events[events.kind.isin(DECISIONS)]
    return [(one.trial, one.generation, one.kind, one.epoch, json.loads(one.details)) for one in rows.itertuples()]


def numbers(results: Results, table: str) -> pd.DataFrame:
    """Everything in a table that must not depend on time and place."""
    frame = results.to_pandas(table)
    keys = [name for name in ("trial", "generation", "epoch") if name in frame]
    return frame.drop(columns=[name for name in frame if name in TIMES or name.endswith("_seconds")]).sort_values(
        keys, ignore_index=True
    )


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("search", SEARCHES)
def test_with_one_slot_kills_change_nothing(ray_address: str, tlsweep: CommandLine, search: str) -> None:
    write_spec(tlsweep.cwd, SEARCHES[search], slots=1)
    expected = run_undisturbed(tlsweep, ray_address)
    found = run_and_kill(tlsweep, ray_address, KILLS[search], random.Random(search))
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
    assert len(resumed) > KILLS[search] / 2  # the others died before they had begun


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("search", ["asha", "pbt"])
def test_with_two_slots_nothing_is_missing_or_doubled(ray_address: str, tlsweep: CommandLine, search: str) -> None:
    write_spec(tlsweep.cwd, SEARCHES[search], slots=2)
    assert_complete(run_and_kill(tlsweep, ray_address, 4, random.Random(search)))
