"""How long until a good model is there: tlsweep, Optuna and plain Ray Tune on the same task, space and trials.

    python tests/bench/time_to_accuracy.py --data FOLDER --output results/bench/time_to_accuracy.parquet \
        [--tasks digits mnist-to-semeion ants-bees-squeezenet-128] [--seeds 5] [--systems tlsweep optuna]

FOLDER is that of `practice.py`. Each system runs as a process of its own, with two trials at a time; its clock starts
with the process. A system has arrived when it has written down a validation accuracy within 0.005 of the best that any
of them found with that seed; the others get three times as many trials. Source weights are trained before, and cached.

- tlsweep: the preset, `launch`; what trials begin with counts, at the time at which that is known.
- optuna: what one would write with tlsweep's own fine-tuning function, in two processes: TPE over the same ranges,
  journal storage in a file, SuccessiveHalvingPruner with the same rungs. Heads begin as torch makes them.
- ray: the same with Ray Tune's ASHAScheduler and its default settings, random search; for six times as long as tlsweep
  needed at most.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from overhead import SLOTS, run_asha
from practice import starting_weights, sweep_spec

from tlsweep.schedulers.tpe import from_optuna, known_to_optuna
from tlsweep.spec import MAIN_ARM, AshaSearch, ImageSpec, load_spec
from tlsweep.spec.search.space import Value

SYSTEMS = ("tlsweep", "optuna", "ray")
TASKS = ("digits", "mnist-to-semeion", "ants-bees-squeezenet-128")
NEAR = 0.005
PATIENCE = 3
"""How many times as many trials the others get: one whose search has ended without a good model would search on."""
GIVE_UP = 6
"""How many times as long as tlsweep needed plain Ray Tune may take: with a process for each trial it would go on for
minutes, and has lost by then."""
ROWS = "rows.txt"
"""Where a system that is not tlsweep writes a line for each epoch: the time, and the validation accuracy."""


def spec_of(task: str, seed: int, folder: Path) -> ImageSpec:
    """The preset on a task, without controls."""
    if task == "digits":
        return load_spec("digits", [f"seed={seed}", "controls=[]", "resources.gpus=0"])
    found = sweep_spec("preset", task, seed, folder)
    return ImageSpec.model_validate(found | {"controls": []})


def run_tlsweep(spec: ImageSpec, folder: Path, _: float | None) -> list[tuple[float, float]]:
    from tlsweep.sweep import launch

    results = launch(spec, results=folder, local=True, dashboard=False)
    metric = spec.search.metric
    known = results.environment.get("start", {}).get(MAIN_ARM, {})
    launched = next(row["time"] for row in results.events.to_pylist() if row["kind"] == "launched")
    starts = [(launched.timestamp(), figures[metric]) for figures in known.values()]
    return starts + [(row["time"].timestamp(), row[metric]) for row in results.reports.to_pylist()]


def trained(spec: ImageSpec, folder: Path) -> Callable[[Mapping[str, Value], int, Callable[[int, float], None]], None]:
    """What a user has at hand: a function that trains searched values, and tells of each epoch; it may be ended by what
    that raises."""
    from tlsweep.data import load_task
    from tlsweep.sweep.assignment import completed, trained_with
    from tlsweep.training import Compute, Transfer, finetune

    task, weights = load_task(spec.data, spec.seed), starting_weights(spec)

    def train(values: Mapping[str, Value], number: int, tell: Callable[[int, float], None]) -> None:
        def report(row: Any, _: Any) -> None:
            with (folder / ROWS).open("a") as file:
                file.write(f"{time.time()} {row.val_accuracy}\n")
            tell(row.epoch, row.val_accuracy)

        configuration = trained_with(completed(spec, MAIN_ARM, spec.train.scaling.in_force(dict(values))))
        transfer = Transfer(task, spec.model, weights=weights, seed=spec.seed + number)
        finetune(configuration, spec.train.settings(), transfer, report=report, compute=Compute("cpu", threads=1))

    return train


def _optuna_worker(text: str, folder: Path, number: int) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.study import MaxTrialsCallback

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = ImageSpec.model_validate_json(text)
    assert isinstance(spec.search, AshaSearch)
    train = trained(spec, folder)
    space = {name: known_to_optuna(distribution) for name, distribution in spec.space.items()}

    def objective(trial: Any) -> float:
        best = 0.0
        values = {name: from_optuna(spec.space[name], trial._suggest(name, space[name])) for name in space}

        def tell(epoch: int, accuracy: float) -> None:
            nonlocal best
            best = max(best, accuracy)
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        train(values, trial.number, tell)
        return best

    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
        study_name="bench",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=spec.seed * SLOTS + number),
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=spec.search.min_epochs, reduction_factor=int(spec.search.reduction_factor)
        ),
        load_if_exists=True,
    )
    study.optimize(objective, callbacks=[MaxTrialsCallback(PATIENCE * spec.trials_per_arm, states=None)])


def run_optuna(spec: ImageSpec, folder: Path, _: float | None) -> list[tuple[float, float]]:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_optuna_worker, args=(spec.model_dump_json(), folder, number)) for number in range(SLOTS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return _read(folder)


def run_ray(spec: ImageSpec, folder: Path, seconds: float | None) -> list[tuple[float, float]]:
    from ray import tune

    from tlsweep.sweep.assignment import drawn

    def trainable(config: dict[str, Any]) -> None:
        # What is drawn is in force already; to scale it again changes nothing where lr is not given per batch size.
        values = spec.train.scaling.searched(drawn(spec, config["number"]))
        trained(spec, folder)(
            values, config["number"], lambda epoch, accuracy: tune.report({"epoch": epoch, "accuracy": accuracy})
        )

    run_asha(spec, trainable, PATIENCE * spec.trials_per_arm, folder, seconds)
    return _read(folder)


def _read(folder: Path) -> list[tuple[float, float]]:
    lines = (folder / ROWS).read_text().splitlines()
    return [(float(at), float(accuracy)) for at, accuracy in map(str.split, lines)]


def measure(system: str, task: str, seed: int, data: Path, seconds: float | None) -> list[tuple[float, float]]:
    """Run a system in a process of its own: the seconds since its start and the accuracy of each epoch, in order."""
    one = ["--one", system, "--tasks", task, "--seeds", str(seed), "--data", str(data)]
    limit = [] if seconds is None else ["--seconds", str(seconds)]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        began = time.time()
        subprocess.run(
            [sys.executable, __file__, *one, *limit, "--folder", folder],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        found = json.loads((Path(folder) / "curve.json").read_text())
    return sorted((at - began, accuracy) for at, accuracy in found)


def measured(task: str, seed: int, data: Path, systems: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """One system after another; plain Ray Tune last, as its time depends on what tlsweep took."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for system in sorted(systems, key=SYSTEMS.index):
        seconds = None
        if system == "ray" and "tlsweep" in curves:
            ours = next(row for row in arrivals(curves) if row["system"] == "tlsweep")
            seconds = GIVE_UP * (ours["arrived"] or ours["last_epoch"])
        curves[system] = measure(system, task, seed, data, seconds)
    return curves


def arrivals(curves: Mapping[str, list[tuple[float, float]]]) -> list[dict[str, Any]]:
    """When each system had what is as good as the best that any of them found; `arrived` is None where it never had."""
    best = max(accuracy for curve in curves.values() for _, accuracy in curve)
    return [
        {
            "system": system,
            "best_known": best,
            "best": max(accuracy for _, accuracy in curve),
            "arrived": next((at for at, accuracy in curve if accuracy >= best - NEAR), None),
            "last_epoch": curve[-1][0],
        }
        for system, curve in curves.items()
    ]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Medians over seeds; one that never arrived counts as infinitely late."""
    late = rows.assign(arrived=rows.arrived.fillna(float("inf")))
    found = late.groupby(["task", "system"], sort=False).agg(
        n=("seed", "nunique"), best=("best", "mean"), arrived=("arrived", "median"),
        never=("arrived", lambda times: int((times == float("inf")).sum())),
    )  # fmt: skip
    ours = found.xs("tlsweep", level="system").arrived
    return found.assign(ours_to_theirs=ours.reindex(found.index, level="task") / found.arrived)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS[:2])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        run = {"tlsweep": run_tlsweep, "ray": run_ray, "optuna": run_optuna}[args.one]
        curve = run(spec_of(args.tasks[0], args.seeds, args.data), args.folder, args.seconds)
        (args.folder / "curve.json").write_text(json.dumps(curve))
        return
    rows: list[dict[str, Any]] = []
    for task in args.tasks:
        for seed in range(args.seeds):
            starting_weights(spec_of(task, seed, args.data))
            curves = measured(task, seed, args.data, args.systems)
            rows += ({"task": task, "seed": seed, **row} for row in arrivals(curves))
            print(pd.DataFrame(rows[-len(curves) :]).to_string(header=len(rows) == len(curves)), flush=True)
            if args.output:
                pd.DataFrame(rows).to_parquet(args.output, index=False)
    print(summary(pd.DataFrame(rows)).to_string())


if __name__ == "__main__":
    main()
