"""Which search wins at the same budget of epochs: random, ASHA, PBT with and without exploring, ASHA then PBT.

    python tests/bench/strategies.py digits semeion ants-bees --results DIR -o data.path=…

Every sweep is `tlsweep launch` of a spec in results/reference/strategies with a search of its own; the number of trials
or members follows from the budget. Sweeps that are complete in DIR are not run again, one that was cut short goes on:
press Ctrl-C and call it again. `runs.csv` beside the specs has a row for each sweep, `--table` prints the summary.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tlsweep import load_spec, open_results
from tlsweep.errors import UserError
from tlsweep.report.arms import arm_results
from tlsweep.report.tables import load_tables
from tlsweep.spec import SweepSpec

SPECS = Path(__file__).parents[2] / "results" / "reference" / "strategies"
SEEDS = {"digits": 5, "digits-small": 5, "semeion": 5, "ants-bees": 3}


def searches(spec: SweepSpec) -> dict[str, dict[str, Any]]:
    """The search of each contender; all are given the budget's epochs and can use (nearly) all of them."""
    epochs, budget = spec.train.epochs, spec.budget.epochs
    assert budget is not None
    whole = budget // epochs  # trials that can be trained to the end
    first = max(1, epochs // 9)  # the first rung, and the interval of a population
    population = {"strategy": "pbt", "population": whole, "interval": first}
    return {
        "random": {"strategy": "random", "trials": whole},
        "asha": {"strategy": "asha", "trials": 4 * whole, "min_epochs": first},
        "pbt": population,
        "pbt, no exploring": population | {"explore": False},
        "asha_then_pbt": {
            "strategy": "asha_then_pbt", "trials": 3 * whole, "min_epochs": first, "screening_epochs": 3 * first,
            "screening_share": 0.6, "population": round(0.6 * whole), "interval": first,
        },
    }  # fmt: skip


def base(task: str, search: dict[str, Any], overrides: list[str]) -> SweepSpec:
    """The spec of a task with a search."""
    settings = [f"search.{name}={value}" for name, value in search.items()]
    return load_spec(SPECS / f"{task}.yaml", [*settings, *overrides])


def contenders(task: str) -> dict[str, dict[str, Any]]:
    return searches(base(task, {"strategy": "random"}, []))


def folder_name(task: str, contender: str, seed: int) -> str:
    """Read the figures of a sweep's results."""
    return f"{task}-{contender.replace(', ', '-').replace(' ', '-')}-{seed}"


def run(task: str, contender: str, seed: int, results: Path, overrides: list[str]) -> None:
    """Run a sweep to its end, from wherever it is."""
    name = folder_name(task, contender, seed)
    if (results / name / "recipe.yaml").exists():
        return
    tlsweep = [sys.executable, "-m", "tlsweep", "launch", "--results", str(results), "--local"]
    if (results / name / "spec.yaml").exists():
        command = [*tlsweep, "--resume", name]
    else:
        search = [f"search.{field}={value}" for field, value in contenders(task)[contender].items()]
        extra = [f"name={name}", f"seed={seed}", *search, *overrides]
        command = [*tlsweep, str(SPECS / f"{task}.yaml"), *(word for one in extra for word in ("-o", one))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def rows(results: Path) -> Iterator[dict[str, Any]]:
    """One for each sweep that is complete."""
    for task, seeds in SEEDS.items():
        for seed in range(seeds):
            for contender in contenders(task):
                name = folder_name(task, contender, seed)
                try:
                    tables = load_tables(open_results(results / name))
                except UserError:
                    continue
                if not (results / name / "recipe.yaml").exists():
                    continue
                (main,) = arm_results(tables)
                epochs = len(tables.reports)
                took = pd.Series([one["time"] for one in tables.reports])
                yield {
                    "task": task, "search": contender, "seed": seed, "trials": len(tables.trials), "epochs": epochs,
                    "val_accuracy": main.val["accuracy"], "test_accuracy": main.test["accuracy"],
                    "seconds": round(float(took.max() - took.min()), 1),
                }  # fmt: skip


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard error over seeds, and of the difference to random search with the same seed."""
    random = runs[runs.search == "random"].set_index(["task", "seed"]).test_accuracy
    ahead = runs.test_accuracy.to_numpy() - random.reindex(pd.MultiIndex.from_frame(runs[["task", "seed"]])).to_numpy()
    grouped = runs.assign(ahead=ahead).groupby(["task", "search"], sort=False)

    def spread(column: str) -> pd.Series:
        mean, error = grouped[column].mean(), grouped[column].sem()
        return mean.map("{:.3f}".format) + " ± " + error.map("{:.3f}".format)

    return pd.DataFrame(
        {
            "n": grouped.size(), "trials": grouped.trials.mean().round(), "epochs": grouped.epochs.mean().round(),
            "validation": spread("val_accuracy"), "test": spread("test_accuracy"), "ahead of random": spread("ahead"),
        }
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tasks", nargs="*", choices=[*SEEDS, []])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="run nothing, summarise what is complete")
    parser.add_argument("-o", dest="overrides", action="append", default=[], help="as of tlsweep launch")
    args = parser.parse_args()
    # Seed by seed, so that whatever has been run is a fair comparison.
    for task in [] if args.table else args.tasks:
        for seed in range(SEEDS[task]):
            for contender in contenders(task):
                run(task, contender, seed, args.results, args.overrides)
    table = pd.DataFrame(rows(args.results))
    table.to_csv(SPECS / "runs.csv", index=False)
    print(summary(table).to_string())


if __name__ == "__main__":
    main()
