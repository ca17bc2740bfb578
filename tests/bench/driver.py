"""What reports cost the driver, by tlsweep and by plain Ray Tune: time, processor time, and memory as it grows.

    python tests/bench/driver.py --trials 1000 --output results/bench/driver.parquet

Each system runs as many trials in a process of its own, one system after the other, on a private Ray with two workers
that are used again; no trial is stopped early, and none trains anything. Ratios within one run are what counts:
machines differ, and other work disturbs.

- tlsweep: `launch`, random search, of trials that report the same row of some fifty columns again and again
  (`idle.py`). The journal, all tables, and checkpoints of the last and the best epoch are written. As nobody decides
  anything about such trials before their end, the reports of a second go as one message.
- ray: `Tuner` with its default loggers (CSV, JSON, TensorBoard), of a loop that reports two numbers.

Time counts from the moment at which the first trial begins to the end of the last. Memory is what the driver's process
holds (resident), looked at five times a second. What a report more takes is the slope of a line through that (least
squares), without the first tenth of the reports, in which modules are still loaded.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORKERS = 2
SYSTEMS = ("tlsweep", "ray")
EVERY = 0.2
"""Seconds between two looks at the memory."""


class Meter:
    """Time, processor time and memory of this process, while reports come in."""

    def __init__(self) -> None:
        self.reports = 0
        self.seconds = self.working = 0.0
        self._memory: list[tuple[int, int]] = []
        """How many reports there were, and bytes."""
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)

    def begin(self) -> None:
        """The first trial begins."""
        self.seconds, self.working = time.monotonic(), time.process_time()
        self._watching.start()

    def end(self) -> None:
        """The last trial has ended."""
        self.seconds, self.working = time.monotonic() - self.seconds, time.process_time() - self.working
        self._ended.set()
        self._watching.join()

    def _watch(self) -> None:
        while True:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self._memory.append((self.reports, pages * os.sysconf("SC_PAGE_SIZE")))
            if self._ended.wait(EVERY):
                return

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps pickled copies of its callbacks, which nobody reads; threads do not pickle."""
        return {}

    def figures(self) -> dict[str, float]:
        """What came out."""
        import numpy as np

        reports, memory = np.array(self._memory, dtype=np.float64).T
        later = reports >= self.reports / 10
        slope, _ = np.polyfit(reports[later], memory[later], 1)
        return {
            "reports": self.reports,
            "seconds": self.seconds,
            "reports a second": self.reports / self.seconds,
            "ms of the processor for a report": 1e3 * self.working / self.reports,
            "MB of memory at most, more than at the start": (memory.max() - memory[0]) / 1e6,
            "bytes of memory for one report more": slope,
        }


def tlsweep(trials: int, epochs: int, folder: str) -> dict[str, float]:
    """Launch a sweep."""
    from tlsweep.observer import Silence
    from tlsweep.spec import load_spec
    from tlsweep.sweep import launch

    meter = Meter()

    class Watching(Silence):
        """Tells the meter."""

        def record(self, record: Any) -> None:
            if not meter.seconds and record.get("kind") == "started":
                meter.begin()
            meter.reports += record["type"] == "report"

        def end(self) -> None:
            meter.end()

    spec = load_spec(
        {
            "data": {"source": "digits", "labels_per_class": 10},
            "model": {"name": "idle:network"},
            "train": {"epochs": epochs, "lr": {"loguniform": [1e-4, 0.1]}, "batch_size": 50},
            "search": {"strategy": "random", "trials": trials},
            "resources": {"gpus": 0},
        }
    )
    launch(spec, results=folder, local=True, dashboard=False, observer=Watching())
    return meter.figures()


def ray(trials: int, epochs: int, folder: str) -> dict[str, float]:
    """Run a `Tuner`."""
    import ray
    from ray import tune

    meter = Meter()

    class Watching(tune.Callback):
        """Tells the meter; Tune adds its loggers to it."""

        def on_trial_start(self, **info: Any) -> None:
            if not meter.seconds:
                meter.begin()

        def on_trial_result(self, **info: Any) -> None:
            meter.reports += 1

        def on_experiment_end(self, **info: Any) -> None:
            meter.end()

    def trainable(config: dict[str, Any]) -> None:
        for epoch in range(epochs):
            tune.report({"val_loss": 1 / (1 + epoch), "val_accuracy": config["number"] / trials})

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"number": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=folder, name="ray", verbose=0, callbacks=[Watching()]),
    ).fit()
    ray.shutdown()
    return meter.figures()


def measure(system: str, trials: int, epochs: int) -> dict[str, float]:
    """Run a system in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = [sys.executable, __file__, "--one", system, "--trials", str(trials), "--epochs", str(epochs)]
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
        }
        command += ["--folder", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=HERE, env=environment)
        found: dict[str, float] = json.loads(Path(folder, "figures.json").read_text())
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, choices=SYSTEMS)
    parser.add_argument("--output", type=Path, help="write the figures to this Parquet file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        figures = {"tlsweep": tlsweep, "ray": ray}[arguments.one](arguments.trials, arguments.epochs, arguments.folder)
        Path(arguments.folder, "figures.json").write_text(json.dumps(figures))
        return
    found = {system: measure(system, arguments.trials, arguments.epochs) for system in arguments.systems}
    first = found[arguments.systems[0]]
    for what in first:
        print(f"{what:45}", *(f"{figures[what]:12.4g}" for figures in found.values()), sep="")
    if arguments.output:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [
            {"system": system, "trials": arguments.trials, "epochs": arguments.epochs} | figures
            for system, figures in found.items()
        ]
        pq.write_table(pa.Table.from_pylist(rows), arguments.output)


if __name__ == "__main__":
    main()
