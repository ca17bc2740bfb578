"""What a sweep costs beyond training: the same trials by tlsweep, by plain Ray Tune, and by Optuna.

    python tests/bench/overhead.py --trials 60 240

Each system trains the same configurations of the digits CNN with tlsweep's own fine-tuning function, two at a time,
under successive halving with the same rungs, in a process of its own; source weights and images are cached beforehand.
Ratios within one run are what counts: machines differ, and these figures are noisy.

- tlsweep: `tlsweep launch`, private Ray, no dashboard, checkpoint and journal at each decision.
- ray: `Tuner` with ASHAScheduler and default settings (a new process for each trial, CSV, JSON and TensorBoard logs).
- optuna: two processes, journal storage in a file, SuccessiveHalvingPruner; no checkpoints.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tlsweep.spec import AshaSearch, SourceTask, SweepSpec, load_spec

SLOTS = 2
SYSTEMS = ("tlsweep", "optuna", "ray")


def overrides(trials: int) -> list[str]:
    """What makes of the preset `digits` a sweep without a control arm, as others would run it."""
    as_others_do = ["search.form=stopping", "search.min_reports=1", "train.head=random", "data.normalize=train"]
    return [f"search.trials={trials}", "controls=[]", "resources.gpus=0", *as_others_do]


def bench_spec(trials: int) -> SweepSpec:
    return load_spec("digits", overrides(trials))


def material(spec: SweepSpec) -> tuple[Any, Any]:
    """Images and source weights, from the cache if they are there."""
    from tlsweep.data import load_task
    from tlsweep.pretrained import pretrained
    from tlsweep.sweep.prepare import source_cache
    from tlsweep.training import Compute

    assert isinstance(spec.model.weights, SourceTask)
    source = load_task(spec.model.weights.data, spec.seed)
    weights = pretrained(
        spec.model.weights, spec.model, source, seed=spec.seed, cache=source_cache(), compute=Compute(threads=1)
    )
    return load_task(spec.data, spec.seed), weights


def train(spec: SweepSpec, number: int, task: Any, weights: Any, report: Any) -> None:
    """One trial; `report(epoch, accuracy, seconds)` may end it by raising."""
    from tlsweep.sweep.assignment import configuration, trial_seed
    from tlsweep.training import Compute, Transfer, finetune

    finetune(
        configuration(spec, number),
        spec.train.settings(),
        Transfer(task, spec.model, weights=weights, seed=trial_seed(spec, number)),
        report=lambda row, _: report(row.epoch, row.val_accuracy, row.train_seconds + row.eval_seconds),
        compute=Compute("cpu", threads=1),
    )


def tlsweep_command(trials: int, folder: Path) -> list[str]:
    changes = [part for change in overrides(trials) for part in ("-o", change)]
    where = ["--local", "--no-dashboard", "--quiet", "--results", str(folder), "--name", "bench"]
    return [sys.executable, "-m", "tlsweep", "launch", "digits", *changes, *where]


def of_tlsweep(folder: Path) -> dict[str, float]:
    from tlsweep.store import Results, find_sweep_folder, to_location

    rows = Results(find_sweep_folder(to_location(str(folder)), "bench")).reports.to_pylist()
    return _summary([(row["time"].timestamp(), row["train_seconds"] + row["eval_seconds"]) for row in rows])


def _summary(rows: list[tuple[float, float]]) -> dict[str, float]:
    """Work it out from pairs (time of a report, seconds of its epoch)."""
    return {
        "epochs": len(rows),
        "train_seconds": sum(seconds for _, seconds in rows),
        "first": min(at - seconds for at, seconds in rows),
        "last": max(at for at, _ in rows),
    }


def run_asha(
    spec: SweepSpec,
    trainable: Callable[[dict[str, Any]], None],
    trials: int,
    folder: Path,
    seconds: float | None = None,
) -> None:
    """Have plain Ray Tune train so many configurations with the rungs of a spec: `config["number"]`, from 0."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    assert isinstance(spec.search, AshaSearch)
    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    scheduler = ASHAScheduler(
        time_attr="epoch", max_t=spec.epochs, grace_period=spec.search.min_epochs,
        reduction_factor=spec.search.reduction_factor,
    )  # fmt: skip
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"number": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(metric="accuracy", mode="max", scheduler=scheduler, time_budget_s=seconds),
        run_config=tune.RunConfig(storage_path=str(folder), name="ray", verbose=0),
    ).fit()
    ray.shutdown()


def run_ray(trials: int, folder: Path) -> dict[str, float]:
    from ray import tune

    spec = bench_spec(trials)
    log = folder / "rows.txt"

    def trainable(config: dict[str, Any]) -> None:
        def report(epoch: int, accuracy: float, seconds: float) -> None:
            with log.open("a") as file:
                file.write(f"{time.time()} {seconds}\n")
            tune.report({"epoch": epoch, "accuracy": accuracy})

        train(spec, config["number"], *material(spec), report)

    run_asha(spec, trainable, trials, folder)
    return _summary([tuple(map(float, line.split())) for line in log.read_text().splitlines()])  # type: ignore[misc]


def _optuna_worker(trials: int, folder: Path) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.study import MaxTrialsCallback

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = bench_spec(trials)
    assert isinstance(spec.search, AshaSearch)
    task, weights = material(spec)

    def objective(trial: Any) -> float:
        best = 0.0

        def report(epoch: int, accuracy: float, seconds: float) -> None:
            nonlocal best
            best = max(best, accuracy)
            with (folder / "rows.txt").open("a") as file:
                file.write(f"{time.time()} {seconds}\n")
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        train(spec, trial.number, task, weights, report)
        return best

    pruner = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=spec.search.min_epochs, reduction_factor=int(spec.search.reduction_factor)
    )
    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    study = optuna.create_study(
        storage=storage, study_name="bench", direction="maximize", pruner=pruner, load_if_exists=True
    )
    study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=None)])


def run_optuna(trials: int, folder: Path) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_optuna_worker, args=(trials, folder)) for _ in range(SLOTS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return _summary([tuple(map(float, line.split())) for line in (folder / "rows.txt").read_text().splitlines()])  # type: ignore[misc]


def measure(system: str, trials: int) -> dict[str, float]:
    """Run a system in a process of its own; wall time counts from the start of that process."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = [sys.executable, __file__, "--one", system, "--trials", str(trials), "--folder", folder]
        if system == "tlsweep":
            command = tlsweep_command(trials, Path(folder))
        began = time.time()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
        wall = time.time() - began
        summary = Path(folder) / "summary.json"
        found = of_tlsweep(Path(folder)) if system == "tlsweep" else json.loads(summary.read_text())
    steady = found["last"] - found["first"]
    return {
        "trials": trials,
        "wall": wall,
        "start": found["first"] - began,
        "epochs": found["epochs"],
        "train_seconds": found["train_seconds"],
        "use": found["train_seconds"] / SLOTS / wall,
        "steady_use": found["train_seconds"] / SLOTS / steady,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[60])
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, choices=SYSTEMS)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run = {"ray": run_ray, "optuna": run_optuna}[arguments.one]
        summary = run(arguments.trials[0], arguments.folder)
        (arguments.folder / "summary.json").write_text(json.dumps(summary))
        return
    material(bench_spec(1))
    rows = []
    print("system   trials   wall s  x tlsweep  start s  epochs  training s   use  steady use", flush=True)
    for trials in arguments.trials:
        base = np.nan
        for system in arguments.systems:
            row = measure(system, trials)
            base = row["wall"] if system == "tlsweep" else base
            rows.append({"system": system, **row, "ratio": row["wall"] / base})
            print(
                f"{system:8} {trials:6} {row['wall']:8.1f} {row['wall'] / base:10.2f} {row['start']:8.1f} "
                f"{row['epochs']:7.0f} {row['train_seconds']:11.1f} {row['use']:5.0%} {row['steady_use']:11.0%}",
                flush=True,
            )
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
