"""What all tests share."""

import atexit
import copy
import gc
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from in_process import Run

# One thread for each process that computes, as trials have: two that share two cores would wait for each other, and
# even alone the small networks of tests take half the processor time (test_exported: 15 s instead of 29 s).
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where a test asks for two threads, the one that waits for the other sleeps instead of taking a core from other
# processes: on a busy machine two exports of networks took 8.5 s of processor time instead of 38 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Ray gives its workers a niceness of 15. Beside two processes that compute in other tests a worker would get a
# thirtieth of a core, and a launch of 17 s take 95 s, in which nobody else can have its process of tests.
os.environ.setdefault("RAY_worker_niceness", "0")

# A run starts many processes of Python, whatever the user's setting. Without what Python keeps of modules that it has
# compiled, each would compile tlsweep again, and each process of tests would rewrite the asserts of all files.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A busy machine is no fault of a test, and the first example may import something that takes seconds.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

NO_FAULT_OF_CI = (
    "needs a CUDA device",
    "needs a kernel with huge pages",
    "installed are other versions than cluster/requirements.lock has",
)
"""How reasons to skip begin that CI cannot help: it has no GPU, and packages are released on any day."""


def pytest_configure(config: pytest.Config) -> None:
    """Let programs that tests start hear signals, also under nohup or in the background of a script, which ignore some.

    A handler of ours is not passed on to them, what is ignored is.
    """
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


WHOLE_PROGRAMS = ({"tlsweep", "private", "installed"}, {"ray_address", "cluster", "address", "store", "lone_head"})
"""Fixtures of the tests that start tlsweep as a process, which take longest, and of those that start Ray or servers."""
LONG_FILES = (
    "test_resume_anywhere", "test_out_of_memory", "test_starting", "test_damaged_folders", "test_exported",
    "test_exporting", "test_cli_streams", "test_fuzz", "test_tables", "test_onprem", "test_prometheus", "test_elastic",
)  # fmt: skip
"""Of the others those that take 20 s and more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files that start whole programs, then long ones: the workers end at the same time, on quick files.

    With the order of the alphabet one of them was left alone with the longest file for the last four of ten minutes.
    """
    ranks: dict[Path, int] = {}
    for one in items:
        # Whole programs on a busy machine: only what hangs is ended.
        if one.get_closest_marker("slow") and not one.get_closest_marker("timeout"):
            one.add_marker(pytest.mark.timeout(900))
        used = set(getattr(one, "fixturenames", ()))
        starts = (at for at, programs in enumerate(WHOLE_PROGRAMS) if programs & used)
        of_file = len(WHOLE_PROGRAMS) + (one.path.stem not in LONG_FILES)
        ranks[one.path] = min(next(starts, of_file), ranks.get(one.path, of_file))
    items.sort(key=lambda one: ranks[one.path])


def pytest_collection_finish() -> None:
    """Let no garbage collection look again at what has been imported, which lives as long as the run.

    Whatever runs out of memory collects; in tests of that, collections were nearly all of the time.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail, with CI set, a test that is skipped for want of something that CI installs or is given has failed."""
    report = yield
    if report.skipped and os.environ.get("CI") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        no_data = "TLSWEEP_TEST_DATA" in reason and "TLSWEEP_TEST_DATA" not in os.environ
        # What a set of packages lacks on purpose, CI says itself: the lowest versions have no extras.
        lacking = tuple(filter(None, [os.environ.get("TLSWEEP_TEST_LACKS")]))
        if not reason.startswith(NO_FAULT_OF_CI + lacking) and not no_data:
            report.outcome, report.longrepr = "failed", f"skipped in CI: {reason}"
    return report


_status = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_status] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End as the program does (`tlsweep.__main__`): Ray's threads may not survive C++'s static destructors."""
    if "ray" in sys.modules and _status in config.stash:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        config.get_terminal_writer().flush()
        os._exit(config.stash[_status])


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real images and weights; where they are missing the test is skipped and says so."""
    folder = os.environ.get("TLSWEEP_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("TLSWEEP_TEST_DATA does not name the folder of real images and weights")
    return Path(folder).resolve()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded images and source-task weights of the tests go to a folder of their own, shared by one session."""
    monkeypatch.setenv("TLSWEEP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Run":
    """`tlsweep ...` in an empty folder: exit code, standard output, standard error."""
    from in_process import run_in

    return run_in(tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Address of a running cluster with two CPUs. Tests join it, so that only one Ray has to start."""
    from ray_nodes import ray_head

    with ray_head(2) as address:
        yield address


@pytest.fixture
def instant_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for the disk, in simulated sweeps, whose processes die but whose machine does not."""
    monkeypatch.setattr(os, "fdatasync", lambda file: None)


@pytest.fixture
def no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write no Parquet files, which only repeat the journal, in tests of what that says."""
    from tlsweep.store.tables import TableWriter

    monkeypatch.setattr(TableWriter, "write", lambda self, state: None)


_parsed: dict[str, Any] = {}


@pytest.fixture
def texts_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse each YAML text once, in tests where hundreds of readers meet the same spec and recipe.

    What a file is called matters only in what is said of a mistake, which is found each time.
    """
    from tlsweep.spec.yaml_text import read_yaml

    def parsed(text: str, what: str) -> Any:
        if text not in _parsed:
            _parsed[text] = read_yaml(text, what)
        return copy.deepcopy(_parsed[text])

    for module in ("tlsweep.spec.loading", "tlsweep.report.recipe"):
        monkeypatch.setattr(import_module(module), "read_yaml", parsed)
