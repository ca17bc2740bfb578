"""Which form of ASHA finds more with the same number of epochs? Both, by the real rules, over curves made once.

    python tests/bench/asha_forms.py --curves curves.json --out forms.json

The curves are those of random configurations of the digits preset, each trained to the last epoch (minutes; made if the
file is not there). A simulated sweep starts them in random order on that many slots, at speeds that differ by a third,
until its budget of epochs is used up; what counts is the best validation accuracy that any of its trials reported.
All forms see the same orders and speeds, so differences are paired.
"""

import argparse
import heapq
import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from tlsweep.schedulers import Continue, Ended, Hold, Observation, Promote, Promoted, PromotionAsha, StoppingAsha
from tlsweep.spec import AshaSearch

BUDGETS = (60, 120, 240, 480)
Curves = list[list[float]]


@dataclass(frozen=True)
class Setting:
    form: str
    eta: float
    min_reports: int
    min_epochs: int
    slots: int
    trials: int

    def rules(self, epochs: int) -> StoppingAsha | PromotionAsha:
        search = AshaSearch(
            strategy="asha", trials=self.trials, min_epochs=self.min_epochs, reduction_factor=self.eta,
            form="promotion" if self.form == "promotion" else "stopping", min_reports=self.min_reports,
        )  # fmt: skip
        return (PromotionAsha if self.form == "promotion" else StoppingAsha)(search, epochs)


def make_curves(count: int) -> Curves:
    """Validation accuracy at each epoch of some configurations of the digits preset; NaN once one diverged."""
    from overhead import material, train

    from tlsweep.spec import load_spec

    spec = load_spec("digits", ["controls=[]", "resources.gpus=0", "data.normalize=train", "train.head=random"])
    task, weights = material(spec)
    curves: Curves = []
    for number in range(count):
        curve: list[float] = []
        train(spec, number, task, weights, lambda epoch, accuracy, seconds, curve=curve: curve.append(accuracy))
        curves.append(curve)
        print(f"\r{number + 1} of {count} configurations trained", end="", flush=True)
    print()
    return curves


def simulate(setting: Setting, curves: Curves, seed: int, budget: int) -> list[float]:
    """The best accuracy so far after each epoch that was spent; shorter than the budget where the trials ran out."""
    rng, epochs = random.Random(seed), len(curves[0])
    order = rng.sample(range(len(curves)), len(curves))
    speeds = [rng.uniform(0.67, 1.33) for _ in order]
    new, rules = list(reversed(order[: setting.trials])), setting.rules(epochs)
    done, best = dict.fromkeys(order, 0), [0.0]
    running: list[tuple[float, int]] = []
    now = 0.0
    while len(best) <= budget:
        while len(running) < setting.slots:
            steps = rules.next_steps(idle=not running and not new).items()
            promoted = next((trial for trial, step in steps if isinstance(step, Promote)), None)
            if promoted:
                rules.apply(Promoted(promoted))
            trial = int(promoted) if promoted else new.pop() if new else None
            if trial is None:
                break
            heapq.heappush(running, (now + speeds[trial], trial))
        if not running:
            break
        now, trial = heapq.heappop(running)
        score = curves[trial][done[trial]]
        done[trial] += 1
        best.append(max(best[-1], score) if score == score else best[-1])
        report = Observation(str(trial), trial, 0, done[trial], score, {}, None)
        rules.apply(report)
        decision = rules.decide(report)
        if isinstance(decision, Continue) and done[trial] < epochs:
            heapq.heappush(running, (now + speeds[trial], trial))
        elif not isinstance(decision, Hold):
            rules.apply(Ended(report.trial))
    return best[1:]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5


def measure(setting: Setting, curves: Curves, orders: int) -> list[list[float]]:
    return [simulate(setting, curves, seed, max(BUDGETS)) for seed in range(orders)]


def at_budgets(settings: Sequence[Setting], curves: Curves, orders: int) -> list[dict[str, Any]]:
    """Configurations never run out: what each budget finds; and against the stopping form as Ray has it."""
    rows, measured = [], {one: measure(one, curves, orders) for one in settings}
    for setting, runs in measured.items():
        like_ray = replace(setting, form="stopping", min_reports=1)
        base = measured.get(like_ray) or measure(like_ray, curves, orders)
        for budget in BUDGETS:
            found = [run[min(budget, len(run)) - 1] for run in runs]
            ahead = [
                run[min(budget, len(run)) - 1] - b[min(budget, len(b)) - 1] for run, b in zip(runs, base, strict=True)
            ]
            accuracy, error = mean_and_error(found)
            gain, gain_error = mean_and_error(ahead)
            row = {**asdict(setting), "budget": budget, "accuracy": accuracy, "error": error, "gain": gain,
                   "gain_error": gain_error}  # fmt: skip
            rows.append(row)
        show(rows[-len(BUDGETS) :])
    return rows


def to_the_end(settings: Sequence[Setting], curves: Curves, orders: int) -> list[dict[str, Any]]:
    """A fixed number of configurations, no budget: what is found, and how many epochs that takes."""
    rows = []
    for setting in settings:
        runs = [simulate(setting, curves, seed, len(curves) * len(curves[0])) for seed in range(orders)]
        accuracy, error = mean_and_error([run[-1] for run in runs])
        epochs, epochs_error = mean_and_error([float(len(run)) for run in runs])
        row = {**asdict(setting), "accuracy": accuracy, "error": error, "epochs": epochs, "epochs_error": epochs_error}
        rows.append(row)
        print(
            f"{_name(row)} all {setting.trials} trials: {accuracy:.4f} ± {error:.4f} in {epochs:5.0f} epochs",
            flush=True,
        )
    return rows


def _name(row: dict[str, Any]) -> str:
    return (
        f"{row['form']:9} eta {row['eta']:g} min_reports {row['min_reports']} min_epochs {row['min_epochs']} "
        f"slots {row['slots']:2}"
    )


def show(rows: Sequence[dict[str, Any]]) -> None:
    cells = [f"{row['budget']}: {row['accuracy']:.4f} ({row['gain']:+.4f} ± {row['gain_error']:.4f})" for row in rows]
    print(_name(rows[0]), " ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, required=True, help="JSON of learning curves, made if it is not there")
    parser.add_argument("--configurations", type=int, default=200)
    parser.add_argument("--orders", type=int, default=100)
    parser.add_argument("--eta", type=float, nargs="+", default=[2, 3, 4])
    parser.add_argument("--min-reports", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--min-epochs", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 8, 32])
    parser.add_argument("--trials", type=int, default=24, help="configurations of the sweeps without a budget")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    if not arguments.curves.exists():
        arguments.curves.write_text(json.dumps(make_curves(arguments.configurations)) + "\n")
    curves: Curves = json.loads(arguments.curves.read_text())
    grid = list(
        product(("stopping", "promotion"), arguments.eta, arguments.min_reports, arguments.min_epochs, arguments.slots)
    )
    rows = {
        "budgets": at_budgets([Setting(*one, trials=len(curves)) for one in grid], curves, arguments.orders),
        "to_the_end": to_the_end([Setting(*one, trials=arguments.trials) for one in grid], curves, arguments.orders),
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
