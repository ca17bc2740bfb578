"""What a file of decoded images is worth: waiting for data in epochs after the first, ants and bees at 224 pixels.

    python tests/bench/pixels.py --data hymenoptera_data [--output FILE.parquet]

The images are above `data.memory_limit`, which is set to 1 MB: once in the file that all trials map (`mapped`), once
decoded again in every epoch (`streamed`, `data.disk_limit: 0`), and below the limit for comparison (`memory`). Trials
of SqueezeNet 1.1, backbone frozen, batches of 16, one thread, follow each other in one run, in a process that keeps its
memory as workers do: with nothing augmented, and with the crop and flip that folders have by default. `wait` is what
trials report as waiting for data, normalised and augmented. On a busy machine that is waiting for other programs too,
so a pass over the same batches without a network is measured by processor time: `batches`, and `reading` of the pixels
alone. All are milliseconds for each image, of the best epoch after the first.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tlsweep.allocation import keep_freed_memory
from tlsweep.data import Task, load_task
from tlsweep.data.batches import Batches, batch_bounds
from tlsweep.data.pixels.readers import make_reader
from tlsweep.spec import Augment, FolderData, Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training import Compute, EpochReport, Snapshot, Transfer, finetune

FORMS: dict[str, dict[str, int]] = {
    "memory": {},
    "mapped": {"memory_limit": 2**20},
    "streamed": {"memory_limit": 2**20, "disk_limit": 0},
}
AUGMENTED = {"none": Augment(crop="none", flip=False), "crop and flip": Augment(crop="shift", flip=True)}
BATCH = 16
MODEL = ModelSpec(name="squeezenet1_1")


def passes(task: Task, epochs: int) -> tuple[float, float]:
    """Processor seconds for the training images as batches, and for their pixels alone."""
    torch.set_num_threads(1)
    batches, order = Batches(task, channels_last=True), torch.from_numpy(task.splits["train"])
    bounds = batch_bounds(len(order), BATCH)
    reader = make_reader(task.images, torch.device("cpu"), 0)
    whole, alone = [], []
    for epoch in range(epochs):
        shuffled = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(epoch))]
        whole.append(processor_seconds(batches.train(epoch, BATCH, 0)))
        alone.append(processor_seconds(reader.read(shuffled, bounds)))
    return min(whole[1:]), min(alone[1:])


def processor_seconds(passing: Iterator[Any]) -> float:
    began = time.process_time()
    for _ in passing:
        pass
    return time.process_time() - began


def trial(task: Task, epochs: int) -> list[EpochReport]:
    """Train and validate a trial; what it reports."""
    rows: list[EpochReport] = []

    def report(row: EpochReport, snapshot: Snapshot) -> None:
        rows.append(row)

    hyperparameters = Hyperparameters(lr=1e-3, batch_size=BATCH, freeze="backbone")
    transfer = Transfer(task, MODEL, weights=None, seed=0)
    finetune(hyperparameters, TrainSettings(epochs=epochs), transfer, report=report, compute=Compute("cpu", 1))
    return rows


def measure(form: str, augmented: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One trial, and passes without it."""
    data = FolderData(
        source="folder",
        path=str(arguments.data),
        on_bad_image="skip",
        image_size=224,
        augment=AUGMENTED[augmented],
        **FORMS[form],
    )
    task = load_task(data, 0, cache=arguments.cache)
    images = task.size("train")
    rows = trial(task, arguments.epochs)[1:]
    batches, reading = passes(task, arguments.epochs)
    return {
        "images": form,
        "augment": augmented,
        "training_images": images,
        "side": int(task.images.shape[1]),
        "epochs": len(rows),
        "wait": 1000 * min(row.wait_seconds for row in rows) / images,
        "training": 1000 * min(row.train_seconds for row in rows) / images,
        "batches": 1000 * batches / images,
        "reading": 1000 * reading / images,
        "train_loss": rows[-1].train_loss,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="ants and bees")
    parser.add_argument("--epochs", type=int, default=5, help="of each trial; the first does not count")
    parser.add_argument("--output", type=Path, help="write the figures to this Parquet file")
    arguments = parser.parse_args()
    arguments.data = arguments.data.resolve()
    keep_freed_memory()
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-pixels-") as cache:
        arguments.cache = Path(cache)
        for augmented in AUGMENTED:
            found = {form: measure(form, augmented, arguments) for form in FORMS}
            for row in found.values():
                print({name: round(value, 4) if type(value) is float else value for name, value in row.items()})
            for clock in ("wait", "batches", "reading"):
                ratio = found["mapped"][clock] / found["streamed"][clock]
                print(f"{augmented}: {clock}, mapped / streamed: {ratio:.3f}")
            sys.stdout.flush()
            rows += found.values()
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), arguments.output)


if __name__ == "__main__":
    main()
