"""What small trials gain from being trained together: whole epochs of them, one by one and side by side.

    python tests/bench/packs.py [--output FILE.parquet]

One core, one process, warm: an epoch of each has been done before the clock starts. `alone` is with `train.pack: off`.
Training and evaluation are given apart: in the latter networks compute one by one, and are only judged together.

- heads: linear heads on 512 kept features of the digits (179 images to train on, 359 to validate), batches of 16.
- digits: the small CNN, with the values that the preset draws: batches of 4 to 64.
- mlp: a perceptron on the same images, batches of 16.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlsweep.allocation import keep_freed_memory
from tlsweep.data import load_task
from tlsweep.pretrained import pretrained
from tlsweep.pretrained.features import KeptFeatures, feature_cache
from tlsweep.spec import ImageSpec, SourceTask, load_spec
from tlsweep.sweep.assignment import configuration, trial_seed
from tlsweep.sweep.prepare import source_cache
from tlsweep.training import Compute, Transfer
from tlsweep.training.devices import isolated
from tlsweep.training.packs.company import Company
from tlsweep.training.runs import Runs

ONE_THREAD = Compute("cpu", threads=1)
HEADS = ["model.name=mlp", "model.args={hidden: [512]}", "train.freeze=backbone", "model.weights.epochs=1",
         "data.labels_per_class=null", "train.batch_size=16"]  # fmt: skip
CASES: dict[str, tuple[int, list[str]]] = {
    "heads": (64, HEADS),
    "digits": (24, []),
    "mlp": (24, ["model.name=mlp", "train.batch_size=16"]),
}


def made(spec: ImageSpec, trials: int, material: tuple[Any, Any], pack: str | int) -> list[Runs]:
    """New trials, with the values that the sweep draws for them."""
    task, weights = material
    settings = spec.train.settings().model_copy(update={"pack": pack})
    features = KeptFeatures(feature_cache(), tell=print)
    return [
        Runs(
            configuration(spec, number),
            settings,
            Transfer(task, spec.model, weights, trial_seed(spec, number)),
            ONE_THREAD,
            features,
        )
        for number in range(trials)
    ]


def epochs(companies: Sequence[Sequence[Runs]], count: int) -> dict[str, float]:
    """Seconds of so many epochs of each, by the wall, in training and in evaluation; the first is not counted."""
    took = {"seconds": 0.0, "training": 0.0, "evaluation": 0.0}
    for members in companies:
        with isolated(ONE_THREAD) as device:
            company = Company(device)
            for number, runs in enumerate(members):
                company.join(str(number), runs)
            began = 0.0
            for epoch in range(count + 1):
                began = time.perf_counter() if epoch == 1 else began
                rows = [row for _ in range(len(members)) if any(one.epoch == epoch for one in members)
                        for row in company.advance().values()]  # fmt: skip
                if epoch:
                    took["training"] += sum(row.train_seconds + row.wait_seconds for row in rows)
                    took["evaluation"] += sum(row.eval_seconds for row in rows)
            took["seconds"] += time.perf_counter() - began
    return took


def measure(name: str, repeats: int, count: int) -> list[dict[str, Any]]:
    trials, overrides = CASES[name]
    spec = load_spec("digits", ["controls=[]", f"search.trials={trials}", *overrides])
    assert isinstance(spec, ImageSpec)
    assert isinstance(spec.model.weights, SourceTask)
    source = load_task(spec.model.weights.data, spec.seed)
    weights = pretrained(
        spec.model.weights, spec.model, source, seed=spec.seed, cache=source_cache(), compute=ONE_THREAD
    )
    material = load_task(spec.data, spec.seed), weights
    rows = []
    for repeat in range(repeats):  # in turns, as other programs come and go
        alone = epochs([[one] for one in made(spec, trials, material, "off")], count)
        packed = epochs([made(spec, trials, material, trials if name == "heads" else "auto")], count)
        rows += [
            {"case": name, "trials": trials, "repeat": repeat, "packed": which, **took}
            for which, took in ((False, alone), (True, packed))
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=[*CASES], choices=[*CASES])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the figures to this Parquet file")
    arguments = parser.parse_args()
    keep_freed_memory()
    rows: list[dict[str, Any]] = []
    for name in arguments.cases:
        measured = measure(name, arguments.repeats, arguments.epochs)
        rows += measured
        print(name, *(f"{what} {median_ratio(measured, what):.2f} x" for what in ("seconds", "training", "evaluation")))
    if arguments.output:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), arguments.output)


def median_ratio(rows: Sequence[dict[str, Any]], what: str) -> float:
    """How many times as long they take alone, the median over repeats."""
    alone, packed = ([row[what] for row in rows if row["packed"] is which] for which in (False, True))
    return statistics.median(one / other for one, other in zip(alone, packed, strict=True))


if __name__ == "__main__":
    main()
