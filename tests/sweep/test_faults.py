"""Whatever dies, the sweep ends complete, with the numbers of one in which nothing died."""

import json
import shutil
import subprocess
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import wait_until
from completeness import assert_complete
from outcomes import decisions, numbers, records_of
from ray_nodes import ray_head, ray_node

from tlsweep.errors import ResultsError
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.store import Results, SweepFolder
from tlsweep.sweep import launch, resume
from tlsweep.sweep.faults import Fault, reason_of, what_follows

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(autouse=True, scope="module")
def own_code() -> Iterator[None]:
    """Start from the folder where own_code.py lies, as its user would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(SUPPORT)
        patch.syspath_prepend(SUPPORT)
        yield


def digits(*overrides: str) -> SweepSpec:
    base: dict[str, Any] = {
        "data": {"source": "digits", "labels_per_class": 5},
        "model": {"name": "mlp", "args": {"hidden": [16]}},
        "train": {
            "epochs": 5, "optimizer": "adam", "lr": {"loguniform": [1e-4, 1e-1]},
            "batch_size": {"powers_of_two": [4, 16]},
        },
        # With a rung after each epoch, at which nobody is cut, each of them is reported by itself.
        "search": {"strategy": "asha", "form": "stopping", "reduction_factor": 1.3, "min_reports": 100, "trials": 3},
        "resources": {"concurrent": 1},
    }  # fmt: skip
    return load_spec(base, overrides)


def hostile(tmp_path: Path, *what: str, at: int = 30) -> tuple[str, str]:
    return "model.name=own_code:hostile", f"model.args={{what: {list(what)}, at: {at}, marker: {tmp_path}/done}}"


def kinds(results: Results, kind: str) -> list[dict[str, Any]]:
    rows = results.to_pandas("events").query(f"kind == '{kind}'")
    return [json.loads(row) for row in rows.details]


@pytest.fixture(scope="module")
def undisturbed(ray_address: str, own_code: None, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What the hostile network gives when it is not hostile."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return launch(digits(*hostile(folder)), results=folder, address=ray_address)


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_its_trial_goes_on_from_its_last_checkpoint(
    ray_address: str, tmp_path: Path, undisturbed: Results
) -> None:
    """By a signal, then by its own end."""
    results = launch(digits(*hostile(tmp_path, "SIGKILL", "exit")), results=tmp_path, address=ray_address)
    assert (tmp_path / "done").read_text().split() == ["SIGKILL", "exit"]
    retried = kinds(results, "retried")
    assert [one["counted"] for one in retried] == [1, 1]
    assert all(one["error"] for one in retried)
    assert_complete(results)
    assert set(results.to_pandas("trials").status) == {"finished"}
    assert decisions(results) == decisions(undisturbed)
    pd.testing.assert_frame_equal(numbers(results, "reports"), numbers(undisturbed, "reports"))
    starts = results.to_pandas("events").query("kind == 'started'")
    assert starts.groupby("trial").epoch.max().max() > 0  # not from the beginning


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended_after_the_timeout(ray_address: str, tmp_path: Path, undisturbed: Results) -> None:
    """As a process that is stopped, then as one that waits for ever."""
    spec = digits(*hostile(tmp_path, "SIGSTOP", "hang", at=8), "faults.report_timeout=8s", "faults.max_failures=9")
    results = launch(spec, results=tmp_path, address=ray_address)
    assert (tmp_path / "done").read_text().split() == ["SIGSTOP", "hang"]
    retried = kinds(results, "retried")  # on a busy machine a worker may also take that long to start
    assert len(retried) >= 2
    assert all("no report for 8 s" in one["reason"] for one in retried)
    assert_complete(results)
    assert decisions(results) == decisions(undisturbed)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of one megabyte. Not below pytest's folder: it would be cleared away while it is busy."""
    disk = Path(tempfile.mkdtemp(prefix="disk-", dir="/tmp"))
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        disk.rmdir()
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # a worker may still have a file there open
    disk.rmdir()


def fill(disk: Path, leave: int) -> Path:
    """Take what is free on a disk but for `leave` bytes."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(shutil.disk_usage(disk).free - leave, 0)))
    return ballast


@contextmanager
def on_another_disk(folder: Path, elsewhere: Path) -> Iterator[None]:
    """Keep what a folder holds elsewhere while the block runs; a mount, as tlsweep follows no link there."""
    shutil.move(folder, elsewhere)
    folder.mkdir()
    subprocess.run(["mount", "--bind", str(elsewhere), str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_under_the_checkpoints_stops_the_sweep_and_loses_nothing(
    ray_address: str, tmp_path: Path, small_disk: Path
) -> None:
    spec = digits("train.epochs=4", "search.trials=2", "model.args={hidden: [128]}")
    whole = launch(spec, results=tmp_path, name="whole", address=ray_address)
    ballast = fill(small_disk, 200_000)
    with pytest.raises(ResultsError, match=r"No space left on device.*tlsweep resume full") as caught:
        launch(spec, results=small_disk, name="full", address=ray_address)
    assert "Traceback" not in str(caught.value)
    ballast.unlink()
    results = resume("full", results=small_disk, address=ray_address)
    assert_complete(results)
    pd.testing.assert_frame_equal(numbers(results, "reports"), numbers(whole, "reports"))


@pytest.mark.slow
def test_a_full_disk_under_the_journal_stops_the_sweep_and_loses_nothing(
    ray_address: str, tmp_path: Path, small_disk: Path, undisturbed: Results
) -> None:
    spec = digits(*hostile(tmp_path))
    launch(digits(*hostile(tmp_path), "budget.epochs=3"), results=small_disk, name="full", address=ray_address)
    more = spec.model_copy(update={"budget": spec.budget.model_copy(update={"epochs": None})})
    (small_disk / "full" / "journal.jsonl").open("ab").close()
    ballast = small_disk / "ballast"
    begun = threading.Event()

    class Filler:
        """Fills the disk as soon as trials run."""

        def phase(self, text: str) -> None: ...
        def progress(self, done: int, total: int) -> None: ...
        def end(self) -> None: ...
        def begin(self, view: Any) -> None: ...

        def record(self, record: Any) -> None:
            if record["type"] == "report" and not begun.is_set():
                begun.set()
                with suppress(OSError), ballast.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(512))

    with on_another_disk(small_disk / "full" / "checkpoints", tmp_path / "elsewhere"):
        with pytest.raises(ResultsError, match="No space left on device"):
            resume("full", more, results=small_disk, address=ray_address, observer=Filler())
        assert begun.is_set()
        ballast.unlink(missing_ok=True)
        results = resume("full", more, results=small_disk, address=ray_address)
    assert_complete(results)
    pd.testing.assert_frame_equal(numbers(results, "reports"), numbers(undisturbed, "reports"))


@pytest.fixture(scope="module")
def stopped(ray_address: str, own_code: None, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """`undisturbed`, as far as 8 epochs: the third of the second trial is the last."""
    folder = tmp_path_factory.mktemp("stopped")
    spec = digits(*hostile(folder), "budget.epochs=8")
    return launch(spec, results=folder, name="it", address=ray_address)


@pytest.fixture
def whole(stopped: Results, tmp_path: Path) -> SweepSpec:
    """The spec that `stopped` is to be finished with; a copy of it is in `tmp_path`, to be damaged."""
    shutil.copytree(stopped.path, tmp_path / "it")
    return stopped.spec.model_copy(update={"budget": stopped.spec.budget.model_copy(update={"epochs": None})})


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    ray_address: str, tmp_path: Path, undisturbed: Results, whole: SweepSpec, damage: str
) -> None:
    newest = max((tmp_path / "it" / "checkpoints" / "t0001").glob("*.pt"))
    assert "e0003" in newest.name
    if damage == "missing":
        newest.unlink()
    else:
        newest.write_bytes(newest.read_bytes()[:-100])
    results = resume("it", whole, results=tmp_path, address=ray_address)
    (restored,) = kinds(results, "restored")
    assert restored["epoch"] == 2
    assert newest.name in restored["reason"]
    assert len(kinds(results, "repeated")) == 1
    assert_complete(results)
    pd.testing.assert_frame_equal(numbers(results, "reports"), numbers(undisturbed, "reports"))


@pytest.mark.slow
def test_a_torn_journal_and_a_half_written_checkpoint_cost_one_epoch(
    ray_address: str, tmp_path: Path, undisturbed: Results, whole: SweepSpec
) -> None:
    journal = tmp_path / "it" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    last = max(at for at, line in enumerate(lines) if b'"report"' in line)
    journal.write_bytes(b"".join(lines[:last]) + lines[last][:-20])
    (tmp_path / "it" / "checkpoints" / "t0001" / ".g0-e0004.pt.1.tmp").write_bytes(b"half")
    results = resume("it", whole, results=tmp_path, address=ray_address)
    assert_complete(results)
    pd.testing.assert_frame_equal(numbers(results, "reports"), numbers(undisturbed, "reports"))
    assert not list((tmp_path / "it" / "checkpoints").rglob(".*"))


@pytest.mark.slow
def test_a_resume_with_more_to_spend_goes_on_where_the_budget_ended_it(
    ray_address: str, tmp_path: Path, stopped: Results, whole: SweepSpec
) -> None:
    assert len(assert_complete(stopped)) == 8
    assert stopped.to_pandas("trials").reason.str.contains("the budget of epochs is used up").any()
    assert stopped.state().test  # there is a winner all the same
    more = load_spec(whole.model_dump(mode="json"), ["budget.epochs=13", "search.trials=4", "train.epochs=6"])
    results = resume("it", more, results=tmp_path, address=ray_address)
    assert_complete(results)
    reports = results.to_pandas("reports")
    assert len(reports) == 13
    assert reports[reports.trial == "t0001"].epoch.max() == 6  # one that was stopped only for want of budget goes on
    assert resume("it", results=tmp_path, address="nowhere:1").to_pandas("reports").equals(reports)  # nothing to do


@pytest.mark.slow
def test_a_driver_that_died_while_it_evaluated_the_winner_does_it_again(
    ray_address: str, tmp_path: Path, undisturbed: Results
) -> None:
    copy = Results(SweepFolder(shutil.copytree(undisturbed.path, tmp_path / "it")))
    shutil.rmtree(copy.folder.best)
    copy.folder.recipe.unlink()
    again = resume("it", results=tmp_path, address=ray_address)
    for name in ("best/model.safetensors", "recipe.yaml"):
        assert (again.path / name).exists()
    pd.testing.assert_frame_equal(numbers(again, "reports"), numbers(undisturbed, "reports"))


@pytest.mark.slow
def test_the_loss_of_a_node_costs_only_the_epochs_that_ran_there(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    network = ("model.name=own_code:gated", f"model.args={{free: 20, gate: {gate}}}")  # of 4 to 13 batches an epoch
    spec = digits(*network, "search.trials=4", "train.epochs=10", "resources.concurrent=null")
    journal = tmp_path / "it" / "journal.jsonl"

    records = partial(records_of, journal)

    with ray_head(cpus=0) as address, ExitStack() as stack:
        nodes = [stack.enter_context(ray_node(f"--address={address}", "--num-cpus=1")) for _ in range(2)]

        def lose_a_node() -> None:
            wait_until(lambda: len({one["node"] for one in records("report")}) == 2)
            subprocess.run(["pkill", "-KILL", "-P", str(nodes[0].pid)], check=True)
            wait_until(lambda: records("retried"))
            gate.touch()

        killer = threading.Thread(target=lose_a_node)
        killer.start()
        results = launch(spec, results=tmp_path, name="it", address=address)
        killer.join()
    assert_complete(results)
    assert set(results.to_pandas("trials").status) == {"finished"}
    assert results.to_pandas("reports").node.nunique() == 2
    lost = kinds(results, "retried")
    assert lost
    assert {one["counted"] for one in lost} == {0}, lost  # it was no fault of the trial


@pytest.mark.parametrize(
    ("fault", "failures", "sweep_stops", "action"),
    [
        ("user", 0, False, "retry"),  # its node was lost, which counts for nothing
        ("user", 2, False, "retry"),
        ("user", 3, False, "end"),
        ("mistake", 1, False, "end"),
        ("storage", 1, True, "stop"),
        ("storage", 3, False, "end"),  # the sweep was about to end for good before
        ("user", 3, True, "stop"),
        ("mistake", 1, True, "stop"),
    ],
)
def test_what_becomes_of_a_trial_that_failed(fault: Fault, failures: int, sweep_stops: bool, action: str) -> None:
    assert what_follows(fault, failures, 2, sweep_stops=sweep_stops) == action


def _raised(error: Exception) -> str:
    try:
        raise error
    except Exception as caught:
        caught.add_note("a note")
        return "".join(traceback.format_exception(caught))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("too small"), "ValueError: too small"),
        (RuntimeError("CUDA error: device-side assert triggered\nCompile with `X`"),
         "RuntimeError: CUDA error: device-side assert triggered"),
        (KeyError("a"), "KeyError: 'a'"),
        (ValueError(""), "ValueError"),
    ],
    ids=str,
)  # fmt: skip
def test_the_reason_of_a_failure_is_the_exception_and_the_first_line_that_it_says(
    error: Exception, reason: str
) -> None:
    assert reason_of(_raised(error)) == reason


def test_the_reason_of_a_failure_without_a_traceback_is_its_last_line() -> None:
    assert reason_of("") == "unknown"
    assert reason_of("the worker died\n") == "the worker died"
