"""Sweeps on a real S3 server: killed, cut off from it; what is left there, and who can read it.

Real processes: moto's server, `tlsweep launch --local --results s3://…`, SIGKILL; a frozen server answers nobody.
"""

import io
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import own_code
import pandas as pd
import pytest
import yaml
from command_line import CommandLine, command_line
from completeness import assert_complete
from outcomes import decisions, numbers
from pyarrow import parquet
from s3_server import SECRET, S3Server, s3_server
from without_ray import run_digits

from tlsweep.store import Results, open_results
from tlsweep.store.stores import connect

BUCKET = "s3://bucket/results"
HURRIED = """
from tlsweep.store import lease, objects, stores
lease.TERM, objects.PATIENCE, stores._ANSWER = 3.0, {patience}, {answer}
from tlsweep.__main__ import run
run()
"""
"""The program with less patience, and with a lease that runs out sooner."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3_server() as server:
        server.make_bucket("bucket")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        connect.cache_clear()
        yield server
        connect.cache_clear()


@pytest.fixture
def tlsweep(tmp_path: Path) -> Iterator[CommandLine]:
    shutil.copy(own_code.__file__, tmp_path / "own_code.py")
    spec = {
        "data": {"source": "digits", "labels_per_class": 5},
        "model": {"name": "own_code:paced", "args": {"seconds": 0.05}},
        "train": {"epochs": 12, "lr": {"loguniform": [1e-3, 1e-1]}, "batch_size": {"powers_of_two": [8, 32]}},
        "search": {"strategy": "asha", "trials": 8, "min_epochs": 2},
        "resources": {"concurrent": 1},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    with command_line(tmp_path) as commands:
        yield commands


def program(patience: float = 60.0, answer: float = 4.0) -> tuple[str, ...]:
    return (sys.executable, "-c", HURRIED.format(patience=patience, answer=answer))


def uploaded(store: S3Server) -> int:
    """Lines of the journal that are safe."""
    return sum(content.count(b"\n") for name, content in store.objects("bucket/results/it/journal").items()
               if "tail" in name)  # fmt: skip


LAUNCH = ("launch", "spec.yaml", "--name", "it", "--local", "--no-dashboard", "--results", BUCKET)
RESUME = ("resume", "it", "--local", "--no-dashboard", "--results", BUCKET)


def assert_like_undisturbed(tlsweep: CommandLine, found: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the same sweep in a folder, which nobody disturbed: decisions, numbers, weights."""
    expected = run_digits(tlsweep.results / "it", tlsweep.cwd / "spec.yaml", monkeypatch)
    assert decisions(found) == decisions(expected)
    for table in ("reports", "trials"):
        pd.testing.assert_frame_equal(numbers(found, table), numbers(expected, table))
    model = "model.safetensors"
    assert (found.folder.best / model).read_bytes() == (expected.folder.best / model).read_bytes()


def assert_readable_by_anybody(store: S3Server) -> None:
    """Tables with nothing of ours; and no secret in anything."""
    objects = store.objects("bucket/results/it")
    assert {"spec.yaml", "environment.json", "recipe.yaml", "ray.log", "best/model.safetensors"} <= set(objects)
    assert not any(name.startswith(".") for name in objects)
    for table in ("reports", "events", "trials", "schedule"):
        assert pd.read_parquet(io.BytesIO(objects[f"{table}.parquet"])).sweep.unique().tolist() == ["it"]
        assert parquet.read_table(f"bucket/results/it/{table}.parquet", filesystem=store.files).num_rows
    assert [name for name, content in objects.items() if SECRET.encode() in content] == []


@pytest.mark.slow
def test_killed_and_cut_off_for_a_while_it_ends_like_one_that_was_left_alone(
    store: S3Server, tlsweep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tlsweep.start(*LAUNCH) as running:
        running.until(lambda: uploaded(store) > 2)
        refused = tlsweep.run(*RESUME)
        assert refused.code == 2
        assert f"sweep 'it' is being run by process {running.process.pid} on " in refused.err
        running.until(lambda: uploaded(store) > 20)
        running.interrupt(signal.SIGKILL)
    with tlsweep.start(*RESUME, program=program()) as running:
        running.until(lambda: uploaded(store) > 10)
        store.freeze()
        time.sleep(4)  # the lease of three seconds runs out, which nothing can be asked about: nobody answers
        store.thaw()
        ended = running.wait()
    assert ended.code == 0, ended
    assert "for a sign of life of process " in ended.out
    assert f"results in {BUCKET}/it\n" in ended.out
    assert f"tlsweep report it --results {BUCKET}" in ended.out
    found = open_results(results=BUCKET)
    assert len(assert_complete(found)) == found.state().reports > 0
    kept = {f"checkpoints/{name}" for name in store.objects("bucket/results/it/checkpoints")}
    assert set(found.to_pandas("trials").checkpoint.dropna()) <= kept
    assert_readable_by_anybody(store)
    shown = tlsweep.run("report", "--results", BUCKET)
    assert shown.code == 0, shown
    assert f"{BUCKET}/it/best" in tlsweep.run("best", f"{BUCKET}/it").out
    assert not (tlsweep.cwd / "results").exists()
    assert not list(tlsweep.cwd.glob("s3*"))
    assert_like_undisturbed(tlsweep, found, monkeypatch)


@pytest.mark.slow
def test_a_store_that_stays_away_ends_the_sweep_with_one_line_and_it_goes_on_later(
    store: S3Server, tlsweep: CommandLine
) -> None:
    hurry = "\nfrom tlsweep.store import objects, stores\nobjects.PATIENCE, stores._ANSWER = 4.0, 1.0\n"  # workers too
    (tlsweep.cwd / "own_code.py").write_text(Path(own_code.__file__).read_text() + hurry)
    with tlsweep.start(*LAUNCH, program=program(patience=4.0, answer=1.0)) as running:
        running.until(lambda: uploaded(store) > 12)
        store.freeze()
        ended = running.wait()
    assert ended.code == 2, ended
    assert ended.err.count("\n") == 1
    assert "the store does not answer" in ended.err
    assert f"tlsweep resume it --results {BUCKET}'" in ended.err
    store.thaw()
    resumed = tlsweep.run(*RESUME, program=program())
    assert resumed.code == 0, resumed
    assert_complete(open_results("it", BUCKET))
