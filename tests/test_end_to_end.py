"""Whole commands on real Rays, as users type them: mistakes, interrupts, pipes, clusters, their own images and code."""

import io
import json
import re
import resource
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import own_code
import pandas as pd
import pytest
import users_files
from command_line import SCRIPT, CommandLine, Ended, Running, assert_one_message, command_line, wait_until
from in_process import Run
from users_files import write_images

from tlsweep.store import Results, open_results

PLAIN = "-o model.weights=none -o controls=[]"
"""The digits without pretraining and its control arm."""
SMALL = f"{PLAIN} -o search.strategy=random -o search.trials=2 -o train.epochs=2 -o train.batch_size=8".split()
# They are only looked at: a network that takes its time leaves the cores to other tests.
ENDLESS = (
    f"{PLAIN} -o search.strategy=pbt -o search.population=3 -o search.interval=5 -o train.epochs=100000 "
    "-o train.batch_size=8 -o model.name=own_code:paced -o model.args.seconds=0.005"
).split()
FOLDER = ["-o", "model.name=cnn", "-o", "model.weights=none", "-o", "data.image_size=32", "-o", "train.batch_size=8"]
FEW = ["-o", "search.trials=2", "-o", "search.min_epochs=1", "-o", "train.epochs=2"]
PRIVATE = ("--local", "--no-dashboard")


@pytest.fixture
def tlsweep(tmp_path: Path) -> Iterator[CommandLine]:
    """An empty working directory, and no Ray that runs."""
    with command_line(tmp_path) as one:
        yield one


@pytest.fixture
def on_cluster(tlsweep: CommandLine, ray_address: str, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """An empty working directory, and a cluster that a variable names, here too: two CPUs, no GPU."""
    tlsweep.environment = {"RAY_ADDRESS": ray_address}
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    return tlsweep


def reported_rows(tlsweep: CommandLine) -> int:
    """Rows of reports.parquet; 0 while there is none."""
    path = tlsweep.results / "digits/reports.parquet"
    # Not by its path: pandas would open the file twice, and between the two there may be a new one.
    return len(pd.read_parquet(io.BytesIO(path.read_bytes()))) if path.exists() else 0


def assert_complete(results: Results) -> None:
    """Each (trial, generation, epoch) is there once, and none is missing before another."""
    reports, events = results.to_pandas("reports"), results.to_pandas("events")
    assert len(reports) > 0
    exploits = events[events.kind == "exploited"]
    begins = {(row.trial, row.generation): json.loads(row.details)["donor_epoch"] for row in exploits.itertuples()}
    for key, rows in reports.groupby(["trial", "generation"]):
        first = begins.get(key, 0) + 1
        assert rows.epoch.tolist() == list(range(first, first + len(rows)))


def assert_interrupted_in_order(tlsweep: CommandLine, ended: Ended) -> None:
    """Exit code, what to type next, whole tables, no process of a private Ray left."""
    assert (ended.code, ended.err) == (130, "")
    assert "The sweep was interrupted; everything up to then is kept." in ended.out
    assert "tlsweep report digits" in ended.out
    results = open_results(results=tlsweep.results)
    assert_complete(results)
    assert set(results.to_pandas("trials").status) == {"interrupted"}
    assert_no_ray_left(tlsweep)


def assert_no_ray_left(tlsweep: CommandLine) -> None:
    try:
        wait_until(lambda: not tlsweep.ray_processes())
    except TimeoutError:
        pytest.fail(f"still running: {tlsweep.ray_processes()}")


# A sweep that is watched, then interrupted


@dataclass(frozen=True)
class Watched:
    """What was seen of a sweep while it ran, and its end."""

    tables: list[int]
    report: Ended
    dashboard: int
    tlsweep: CommandLine
    ended: Ended


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with command_line(tmp_path_factory.mktemp("watched")) as tlsweep:
        shutil.copy(own_code.__file__, tlsweep.cwd)
        with tlsweep.start("launch", "digits", *ENDLESS, "--local") as running:
            running.until(lambda: reported_rows(tlsweep))
            tables = [reported_rows(tlsweep)]
            report = tlsweep.run("report")
            running.until(lambda: tables.append(reported_rows(tlsweep)) or tables[-1] > tables[0])
            address = re.search(r"^dashboard at (http\S+)$", running.out, re.MULTILINE)
            assert address is not None
            with urllib.request.urlopen(address[1], timeout=60) as page:
                dashboard = page.status
            ended = running.interrupt()
        yield Watched(tables, report, dashboard, tlsweep, ended)


def test_the_tables_are_whole_at_any_moment_and_grow(watched: Watched) -> None:
    assert watched.tables == sorted(watched.tables)
    assert watched.tables[-1] > watched.tables[0]


def test_report_works_while_the_sweep_runs(watched: Watched) -> None:
    assert (watched.report.code, watched.report.err) == (0, "")
    assert re.search(r"^main  t000\d +\d", watched.report.out, re.MULTILINE)  # whichever member was first to report


def test_the_address_of_the_dashboard_answers(watched: Watched) -> None:
    assert watched.dashboard == 200


def test_sigint_ends_a_sweep_in_order(watched: Watched) -> None:
    assert_interrupted_in_order(watched.tlsweep, watched.ended)


def interrupted_until_it_is_heard(running: Running, said: str) -> Ended:
    """Press Ctrl-C again and again until `said` is read, as people do: two signals that are pending at once are one."""

    def heard() -> bool:
        if said in running.err or running.process.poll() is not None:
            return True
        running.process.send_signal(signal.SIGINT)
        return False

    wait_until(heard)
    return running.wait()


def test_sigint_twice_ends_at_once_with_what_was_reported(tlsweep: CommandLine, run: Run) -> None:
    shutil.copy(own_code.__file__, tlsweep.cwd)
    tlsweep.environment = {"RAY_ADDRESS": "127.0.0.1:9"}  # nobody is there, and --local does not ask
    said = "stopped at once; what was reported until now is on disk, and 'tlsweep resume digits' goes on with it"
    with tlsweep.start("launch", "digits", *ENDLESS, *PRIVATE) as running:
        running.until(lambda: reported_rows(tlsweep))
        ended = interrupted_until_it_is_heard(running, said)
    assert (ended.code, ended.err) == (130, f"\n{said}\n")
    assert "The sweep was interrupted" not in ended.out  # for which it would have had to wait
    assert_complete(open_results(results=tlsweep.results))
    assert run("report")[0] == 0
    wait_until(lambda: not tlsweep.ray_processes())


@pytest.mark.slow
def test_own_code_runs_once_at_a_time_and_is_finished_by_the_command_that_its_interrupt_names(
    on_cluster: CommandLine, run: Run
) -> None:
    shutil.copy(users_files.__file__, on_cluster.cwd / "mine.py")
    gate = on_cluster.cwd / "gate"
    own = (
        f"-o data.source=python -o data.function=mine:stripes -o data.args.count=100 -o model.name=mine:gated "
        f"-o model.args.gate={gate} -o search.strategy=random -o search.trials=2 -o train.epochs=3 "
        "-o train.batch_size=4"
    )
    with on_cluster.start("launch", "digits", *PLAIN.split(), *own.split(), program=SCRIPT) as running:
        running.until(lambda: reported_rows(on_cluster))
        code, out, err = run("resume", "digits")
        assert (code, out) == (2, "")
        assert f"is being run by process {running.process.pid} on" in err
        stopped = running.interrupt(signal.SIGTERM)  # in the middle of an epoch, which ends only with the gate
    assert_interrupted_in_order(on_cluster, stopped)
    gate.touch()
    command = re.search(r"^next +tlsweep (resume digits) ", stopped.out, re.MULTILINE)
    assert command is not None
    ended = on_cluster.run(*command[1].split())
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    assert "tlsweep report digits" in ended.out.splitlines()[-1]
    results = open_results(results=on_cluster.results)
    assert_complete(results)
    assert {one.status for one in results.state().trials.values()} == {"finished"}
    assert results.environment["data"]["classes"] == ["0", "1"]


def test_a_signal_before_trials_run_leaves_nothing_behind(tlsweep: CommandLine) -> None:
    with tlsweep.start("launch", "digits", *PRIVATE) as running:
        running.until(lambda: "building the network" in running.out)
        ended = running.interrupt()
    assert (ended.code, ended.err) == (130, "interrupted; no trial had begun\n")
    assert list(tlsweep.results.iterdir()) == []
    wait_until(lambda: not tlsweep.ray_processes())


@pytest.mark.slow  # as slow tests have this Ray anyway
@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.name=resnet19", ["unknown network 'resnet19'", "did you mean resnet18"]),
        ("resources.gpus=1", ["resources.gpus = 1", "cannot have more than there are (0)", "--address"]),
    ],
)
def test_what_turns_out_wrong_while_joining_a_cluster_leaves_nothing(
    on_cluster: CommandLine, run: Run, override: str, told: list[str]
) -> None:
    assert_one_message(Ended(*run("launch", "digits", *SMALL, "-o", override)), told)
    assert list(on_cluster.results.iterdir()) == []


# Own images, own code


@pytest.mark.slow
def test_own_images_from_the_preset_to_the_model_and_what_goes_into_a_pipe(on_cluster: CommandLine, run: Run) -> None:
    write_images(on_cluster.cwd / "pictures", red=12, green=12, blue=12)
    (on_cluster.cwd / "my.yaml").write_text(run("presets", "folder")[1])
    options = ["my.yaml", "-o", "data.path=pictures", *FOLDER]

    code, out, err = run("check", *options)
    assert (code, err) == (0, "")
    assert "3: blue, green, red" in out
    assert not on_cluster.results.exists()

    quiet = on_cluster.run("launch", *options, *FEW, "--quiet")
    assert (quiet.code, quiet.err) == (0, "")
    headline, won, place = quiet.out.splitlines()
    assert re.fullmatch(r"my: 2 trials \(.*[12] finished.*\), [234] epochs in \d+s", headline)
    assert re.fullmatch(r"best of main: t000\d, val accuracy \d\.\d+, test accuracy \d\.\d+", won)
    assert place == "results in results/my"

    best = on_cluster.results / "my/best"
    assert {"model.safetensors", "classes.json"} <= {path.name for path in best.iterdir()}
    assert json.loads((best / "classes.json").read_text()) == ["blue", "green", "red"]
    results = open_results(results=on_cluster.results)
    assert results.environment["hardware"]["cpus"] == 2
    assert not on_cluster.ray_was_started()

    winner = results.winner()
    assert winner is not None
    assert json.loads(run("best", "--json")[1])["trial"] == winner.trial
    for verb in ("best", "report"):
        code, out, err = run(verb)
        assert (code, err) == (0, "")
        assert winner.trial in out
        assert "\x1b" not in out

    predict = on_cluster.run("predict", "my", "pictures", "--out", "found.csv")
    assert (predict.code, predict.err) == (0, "")
    found, tested = pd.read_csv(on_cluster.cwd / "found.csv"), open_results(best.parent).to_pandas("predictions")
    tested = tested[tested.arm == "main"]
    # The images of a sweep are numbered class by class, as folders are read.
    again = found.loc[tested.image]
    assert again.predicted.tolist() == tested.predicted.tolist()
    assert again.probability.tolist() == pytest.approx(tested.probability.tolist(), abs=1e-5)


def test_debug_trains_in_this_process_with_breakpoints_and_without_ray(tlsweep: CommandLine) -> None:
    shutil.copy(users_files.__file__, tlsweep.cwd / "mine.py")
    ended = tlsweep.run("debug", "digits", *SMALL, "-o", "model.name=mine:debugged", stdin="p answer\nc\n")
    assert (ended.code, ended.err) == (0, "")
    assert "(Pdb) 42" in ended.out
    assert re.findall(r"epoch \d+", ended.out) == ["epoch 1", "epoch 2"]
    assert len(set((tlsweep.cwd / "built").read_text().split())) == 1
    assert not tlsweep.results.exists()


def test_an_error_in_own_code_keeps_its_traceback_under_debug(tlsweep: CommandLine) -> None:
    shutil.copy(users_files.__file__, tlsweep.cwd / "mine.py")
    ended = tlsweep.run("debug", "digits", *SMALL, "-o", "model.name=mine:broken")
    assert (ended.code, ended.out) == (1, "")
    *_, frame, line, error = ended.err.splitlines()
    assert re.fullmatch(rf'  File "{re.escape(str(tlsweep.cwd))}/mine.py", line \d+, in broken', frame)
    assert line == '    raise ZeroDivisionError("in my own code")'
    assert error == "ZeroDivisionError: in my own code"


def test_the_installed_script_answers_help_within_half_a_second(tlsweep: CommandLine) -> None:
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert tlsweep.run("--help", program=SCRIPT).code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5  # of processor time: other programs may run
