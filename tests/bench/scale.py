"""What a sweep costs its driver and its network as it grows: reports, trials, tables, and what a new node fetches.

    python tests/bench/scale.py --output results/reference/scale.json
    python tests/bench/scale.py --large --output results/bench/large.parquet

`reports`: the real ledger, referee, retention and journal take down reports of simulated trials; no Ray, no training.
`fsync` shows what putting each line on disk costs: it depends on the disk alone, the rest on the processor. Memory is
the growth of the process, tables written. `tables`: the files are written again now and then; how long that takes at
10^5 reports. `new_node`: the bytes that a node fetches from the object store before its first trial. What Ray Tune adds
is measured by `driver.py`.

`--large` measures a million reports alone: 10,000 trials of 100 epochs (`--trials`, `--epochs` for others), tables
written whenever they are due, each figure of a report drawn by itself; then the commands that read the folder, each a
process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE)]

from simulated_sweep import SimulatedSweep, Stay, message, report_row  # noqa: E402

from tlsweep.spec import dump_spec  # noqa: E402
from tlsweep.store import TrialState  # noqa: E402
from tlsweep.store.files import write_text  # noqa: E402
from tlsweep.store.schema import METRICS  # noqa: E402
from tlsweep.sweep.assignment import Message  # noqa: E402
from tlsweep.sweep.referee import Referee  # noqa: E402

TRIALS = (10, 100, 1_000, 10_000)
GPUS = 1_000
"""Trials that run at once, at most."""
EPOCHS = 10
STRATEGIES = ("random", "asha", "pbt")
MOST_SECONDS = 30.0
"""A case that takes longer is cut, and says how far it came."""


class Timed(SimulatedSweep):
    """Trains nothing, writes no checkpoint, and notes how long each question to the referee takes."""

    def __init__(self, path: Path, *overrides: str, slots: int) -> None:
        super().__init__(path, *overrides, slots=slots)
        self.observing: list[float] = []
        """Seconds of each report: the journal's line, the decision, and what follows from it."""
        self.placing: list[float] = []
        """Seconds to find out who gets the next place."""
        self.cut = False
        """Whether it took too long, and was not run to its end."""

    def _run(self, referee: Referee, steps: int | None) -> None:
        ledger, written = referee._ledger, 0
        ledger._tables._due = float("inf")  # measured by themselves
        stays: list[Stay] = []
        ends = time.monotonic() + MOST_SECONDS
        while not self.cut:
            self.cut = time.monotonic() > ends
            while len(stays) < self.slots and (assignment := _timed(self.placing, referee.assign)):
                stays.append(Stay(assignment, epoch=_epoch(referee.state.trials.get(assignment.trial))))
                referee.started(assignment.trial)
            if not stays:
                return
            stays = [stay for stay in stays if _timed(self.observing, referee.observe, self._message(stay))]
            if len(self.observing) - written > 10_000:  # rows that no table has yet would count as memory
                ledger.write_tables()
                ledger._tables._due, written = float("inf"), len(self.observing)

    def _message(self, stay: Stay) -> Message:
        stay.epoch += 1
        checkpoint = f"checkpoints/{stay.assignment.trial}/g{stay.assignment.generation}-e{stay.epoch:04d}-01234567.pt"
        row = report_row(stay.assignment, stay.epoch, self.random.random())
        return message(row | {"checkpoint": checkpoint, "digest": "0" * 64})


class Large(Timed):
    """As `Timed`, to its end, with tables written as they are due; memory is looked at on the way."""

    def __init__(self, path: Path, trials: int, epochs: int) -> None:
        chosen = ("search.strategy=random", f"search.trials={trials}", f"train.epochs={epochs}")
        super().__init__(path, *chosen, slots=GPUS)
        self.memory: list[int] = []
        """Bytes of the process, after each tenth of the reports."""
        self.working: list[float] = []
        """Processor seconds of each report: a machine that is busy makes the others look longer."""
        self._tenth = trials * epochs // 10

    def _run(self, referee: Referee, steps: int | None) -> None:
        stays: list[Stay] = []
        while True:
            while len(stays) < self.slots and (assignment := referee.assign()):
                stays.append(Stay(assignment, epoch=_epoch(referee.state.trials.get(assignment.trial))))
                referee.started(assignment.trial)
            if not stays:
                return
            stays = [stay for stay in stays if self._observed(referee, stay)]

    def _observed(self, referee: Referee, stay: Stay) -> bool:
        told, began = self._message(stay), time.thread_time()
        goes_on: bool = _timed(self.observing, referee.observe, told)
        self.working.append(time.thread_time() - began)
        if len(self.observing) % self._tenth == 0:
            self.memory.append(_memory())
        return goes_on

    def _message(self, stay: Stay) -> Message:
        found = super()._message(stay)
        return replace(found, figures={**found.figures, **{name: self.random.random() for name in METRICS}})


def _memory() -> int:
    import psutil

    size: int = psutil.Process().memory_info().rss
    return size


def _epoch(trial: TrialState | None) -> int:
    return trial.epoch if trial else 0


def _timed(seconds: list[float], ask: Any, *arguments: Any) -> Any:
    began = time.perf_counter()
    answer = ask(*arguments)
    seconds.append(time.perf_counter() - began)
    return answer


def overrides(strategy: str, trials: int) -> list[str]:
    """The spec of a case."""
    count = f"search.population={trials}" if strategy == "pbt" else f"search.trials={trials}"
    return [f"search.strategy={strategy}", count, f"train.epochs={EPOCHS}"]


def reports(strategy: str, trials: int, fsync: bool) -> dict[str, Any]:
    """Run a simulated sweep in this process."""
    import psutil

    if not fsync:
        os.fdatasync = lambda file: None
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Timed(Path(folder) / "first", *overrides(strategy, 4), slots=4).launch()  # whatever is imported on the way
        sweep = Timed(Path(folder) / "sweep", *overrides(strategy, trials), slots=min(trials, GPUS))
        before = psutil.Process().memory_info().rss
        sweep.launch()
        after = psutil.Process().memory_info().rss
        count = len(sweep.observing)
        return {
            "strategy": strategy,
            "trials": trials,
            "fsync": fsync,
            "reports": count,
            "cut": sweep.cut,
            "report_us": _microseconds(sweep.observing),
            "place_us": _microseconds(sweep.placing),
            "journal_bytes_per_report": round(sweep.folder.journal.stat().st_size / count),
            "memory_bytes": after - before,
        }


def _microseconds(seconds: list[float]) -> float:
    return round(1e6 * sum(seconds) / len(seconds), 1)


def tables(count: int) -> dict[str, Any]:
    """Write and read tables of `count` reports, of trials of ten epochs."""
    from tlsweep.store.tables import TableWriter

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        sweep = Timed(Path(folder) / "sweep", *overrides("random", count // EPOCHS), slots=GPUS)
        os.fdatasync = lambda file: None
        state = sweep.launch()
        records = sweep.records()
        writer = TableWriter(sweep.folder.path, "sweep")
        began = time.perf_counter()
        writer.add(records)
        writer.write(state)
        first = time.perf_counter() - began
        began = time.perf_counter()
        writer.add(records[-1:])
        writer.write(state)
        again = time.perf_counter() - began
        replayed = time.perf_counter()
        sweep.state()
        return {
            "reports": sum(record["type"] == "report" for record in records),
            "records": len(records),
            "first_write_s": round(first, 2),
            "rewrite_s": round(again, 2),
            "parquet_bytes": (sweep.folder.path / "reports.parquet").stat().st_size,
            "replay_s": round(time.perf_counter() - replayed, 2),
        }


def large(trials: int, epochs: int, folder: str) -> list[dict[str, Any]]:
    """Run a large simulated sweep in this process; rows of figures."""
    os.fdatasync = lambda file: None
    Timed(Path(folder) / "first", *overrides("random", 4), slots=4).launch()
    sweep, before = Large(Path(folder) / "sweep", trials, epochs), _memory()
    write_text(sweep.folder.spec, dump_spec(sweep.spec))
    sweep.launch()
    tenth = len(sweep.working) // 10
    files = {path.name: path.stat().st_size for path in Path(folder, "sweep").iterdir() if path.is_file()}
    figures = {
        "first tenth: s for each report": sum(sweep.working[:tenth]) / tenth,
        "last tenth: s for each report": sum(sweep.working[-tenth:]) / tenth,
        "longest report: processor s": max(sweep.working),
        "longest report: s": max(sweep.observing),
        "memory after the first tenth: MB more than at the start": (sweep.memory[0] - before) / 1e6,
        "memory after the last tenth: MB more than at the start": (sweep.memory[-1] - before) / 1e6,
        "reports.parquet: MB": files["reports.parquet"] / 1e6,
        "journal: MB": files["journal.jsonl"] / 1e6,
    }
    return [{"what": f"driver, {what}", "value": value} for what, value in figures.items()]


READING = (("best",), ("report",), ("report", "--metric", "val_f1"), ("trial", "t0007"), ("repair",))


def reading(folder: str) -> Iterator[dict[str, Any]]:
    """Run each command that reads a sweep as a process; rows of figures."""
    for verb, *more in READING:
        command = [sys.executable, "-m", "tlsweep", verb, "sweep", *more, "--results", folder]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        assert status == 0, command
        figures = {
            "s": time.perf_counter() - began,
            "processor s": used.ru_utime + used.ru_stime,
            "memory, MB": used.ru_maxrss / 1e3,
        }
        for what, value in figures.items():
            yield {"what": f"{' '.join([verb, *more])}: {what}", "value": value}


def write_large(trials: int, epochs: int, output: Path | None) -> None:
    """Measure a large sweep, and what reads it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = [*apart("large", trials, epochs, folder), *reading(folder)]
    for row in rows:
        print(f"{row['what']:60} {row['value']:12.6g}")
    if output:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([{"trials": trials, "epochs": epochs} | row for row in rows]), output)


def new_node(data: Path | None) -> list[dict[str, Any]]:
    """Bytes of the task (its arrays, as the object store holds them) and of the weights, for some sweeps."""
    import pickle

    from tlsweep.data import load_task
    from tlsweep.models import resolve_weights
    from tlsweep.spec import load_spec

    def size(value: Any) -> int:
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        return len(head) + sum(buffer.raw().nbytes for buffer in buffers)

    cases: dict[str, dict[str, Any]] = {"digits": {"data": {"source": "digits"}}}
    if data is not None:
        cases["ants and bees, 224 px, SqueezeNet 1.1"] = {
            "data": {"source": "folder", "path": str(data / "datasets" / "hymenoptera_data"), "on_bad_image": "skip"},
            "model": {
                "name": "squeezenet1_1",
                "weights": str(data / "weights" / "squeezenet1_1_imagenet1k_v1_fp16rounded.pth"),
            },
        }
    found = []
    for name, tree in cases.items():
        spec = load_spec({**tree, "search": {"strategy": "random"}, "train": {"batch_size": 8}})
        task, weights = load_task(spec.data, spec.seed), resolve_weights(spec.model)
        found.append({"sweep": name, "task_bytes": size(task), "weights_bytes": size(weights) if weights else 0})
    # 60,000 images of 32 x 32 x 3 bytes and a label, by arithmetic; ResNet-18: 11.7 million parameters of 4 bytes.
    found.append(
        {"sweep": "CIFAR-10, ResNet-18 (computed)", "task_bytes": 60_000 * (3072 + 8), "weights_bytes": 46_800_000}
    )
    return found


def apart(case: str, *arguments: Any) -> Any:
    """Measure in a process of its own: memory of one case must not be another's."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        output = Path(folder) / "figures.json"
        command = [sys.executable, __file__, "--case", json.dumps([case, *arguments]), "--output", str(output)]
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
        }
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment, cwd=HERE)
        return json.loads(output.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file, of a large sweep Parquet")
    parser.add_argument("--data", type=Path, help="folder of real images, to measure one more sweep's arrays")
    parser.add_argument("--large", action="store_true", help="measure a large sweep, and nothing else")
    parser.add_argument("--trials", type=int, default=10_000, help="of the large sweep")
    parser.add_argument("--epochs", type=int, default=100, help="of each of its trials")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.large:
        write_large(arguments.trials, arguments.epochs, arguments.output)
        return
    if arguments.case:
        name, *values = json.loads(arguments.case)
        figures: Any = {"reports": reports, "tables": tables, "large": large}[name](*values)
    else:
        figures = {"reports": [], "tables": apart("tables", 100_000)}
        for strategy in STRATEGIES:
            for trials in TRIALS[: 3 if strategy == "pbt" else None]:  # nobody has a population of ten thousand
                for fsync in (False, True) if strategy == "random" else (False,):
                    figures["reports"].append(found := apart("reports", strategy, trials, fsync))
                    print(
                        {name: round(value, 1) if isinstance(value, float) else value for name, value in found.items()}
                    )
        print(figures["tables"])
        figures["new_node"] = new_node(arguments.data)
        print(figures["new_node"])
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
