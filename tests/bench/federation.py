"""What a search over a federation's hyperparameters is worth beside the values that papers give, and what it costs that
clients differ.

    python tests/bench/federation.py --data FOLDER --results DIR [--seeds 3]
    python tests/bench/federation.py --table

FOLDER holds FashionMNIST as torchvision leaves it. 6,000 of its images, 600 of each class, are divided among 10
clients, `{dirichlet: 0.5}`; all of them take part in each of 20 rounds of one local epoch. `METHODS` has the values
that Reddi et al. (2021) found best on EMNIST's characters; FedAvg's trial also trains in the arms of `study:
federation`. `ASHA` searches the clients' lr and batch size and the server's lr, of FedAvg; its winner has as many
rounds as theirs, the whole search more. `runs.csv` in results/reference/federation has a row for each sweep and arm;
those that it has are not run again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from sweeps import complete

from tlsweep.report.arms import arm_results, winner
from tlsweep.report.tables import load_tables

RUNS = Path(__file__).parents[2] / "results" / "reference" / "federation" / "runs.csv"
ROUNDS = 20

# https://github.com/google-research/federated, optimization/docs/hyperparameters.md: emnist_character, to the base 10
METHODS: dict[str, dict[str, Any]] = {
    "FedAvg": {"lr": 10**-1.0, "server_lr": 1.0},
    "FedAvgM": {"lr": 10**-1.5, "server_lr": 10**-0.5, "server_momentum": 0.9},
    "FedAdam": {"lr": 10**-1.5, "server_lr": 10**-2.5, "server_optimizer": "adam"},
    "FedYogi": {"lr": 10**-1.5, "server_lr": 10**-2.5, "server_optimizer": "yogi"},
}
SEARCH: dict[str, Any] = {
    "lr": {"loguniform": [0.003, 0.3]},
    "batch_size": {"powers_of_two": [8, 64]},
    "server_lr": {"loguniform": [0.3, 3.0]},
}
CONTENDERS = (*METHODS, "ASHA")
SEARCHED = ("lr", "batch_size", "server_lr")


def spec(contender: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return the spec of a sweep."""
    values = SEARCH if contender == "ASHA" else {"batch_size": 20, **METHODS[contender]}
    asha = {"strategy": "asha", "trials": 16, "min_epochs": 2, "sampler": "sobol"}
    return {
        "name": f"federation-{contender.lower()}-{seed}",
        "seed": seed,
        "data": {
            "source": "torchvision", "dataset": "FashionMNIST", "root": str(folder), "val_fraction": 0.02,
            "labels_per_class": 600, "augment": {"crop": "none"},
        },
        "model": {"name": "cnn", "args": {"channels": [16, 32], "dense": [64]}},
        "train": {
            "epochs": ROUNDS, "momentum": 0.0, "federated": {"clients": 10, "split": {"dirichlet": 0.5}}, **values,
        },
        "search": asha if contender == "ASHA" else {"strategy": "random", "trials": 1},
        "study": {"federation": contender == "FedAvg"},
    }  # fmt: skip


def run(contender: str, seed: int, folder: Path, results: Path) -> Iterator[dict[str, Any]]:
    """Run a sweep to its end, and tell how the winner of each arm did."""
    found, seconds = complete(spec(contender, seed, folder), results)
    tables = load_tables(found)
    for arm in arm_results(tables):
        best = winner(tables, arm.arm)
        assert best is not None
        yield {
            "seed": seed,
            "contender": contender,
            "split": "dirichlet-0.5" if arm.arm == "main" else arm.arm,
            **{name: best.hyperparameters[name] for name in SEARCHED},
            "round": best.best_epoch,
            "val_accuracy": arm.val["accuracy"],
            "val_worst_client": best.metrics.get("val_worst_client"),
            "test_accuracy": arm.test["accuracy"],
            "rounds": sum(report["arm"] == arm.arm for report in tables.reports),
            "seconds": seconds,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=" ".join((__doc__ or "").split("\n\n")[0].split()))
    parser.add_argument("--data", type=Path, help="the folder of FashionMNIST/")
    parser.add_argument("--results", type=Path, help="where the sweeps are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="run nothing, summarise what is there")
    args = parser.parse_args()
    rows: list[Any] = pd.read_csv(RUNS).to_dict("records") if RUNS.exists() else []
    for seed in range(0 if args.table else args.seeds):
        for contender in CONTENDERS:
            if not any((row["seed"], row["contender"]) == (seed, contender) for row in rows):
                rows.extend(run(contender, seed, args.data.resolve(), args.results))
                RUNS.parent.mkdir(parents=True, exist_ok=True)
                pd.DataFrame(rows).to_csv(RUNS, index=False)
    runs = pd.DataFrame(rows)
    groups = runs.groupby(["split", "contender"], sort=False)
    figures = groups[["val_accuracy", "val_worst_client", "test_accuracy"]]
    cells = figures.mean().map("{:.3f}".format) + " ± " + figures.sem().map("{:.3f}".format)
    print(cells.assign(rounds=groups.rounds.mean(), n=groups.seed.nunique()).to_string())
    mixed = runs[runs.split == "dirichlet-0.5"].pivot(index="seed", columns="contender", values="test_accuracy")
    ahead = mixed.rsub(mixed["ASHA"], axis=0).drop(columns="ASHA")
    print("ASHA is ahead by", (ahead.mean().map("{:+.3f}".format) + " ± " + ahead.sem().map("{:.3f}".format)).to_dict())


if __name__ == "__main__":
    main()
