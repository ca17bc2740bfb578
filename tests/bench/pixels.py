"""What a file of decoded images is worth: waiting for data in epochs after the first, ants and bees at 224 pixels.

    python tests/bench/pixels.py --data hymenoptera_data [--output FILE.parquet]

The images are above `data.memory_limit`, which is set to 1 MB: once in the file that all trials map (`mapped`), once
decoded again in every epoch (`streamed`, `data.disk_limit: 0`), and below the limit for comparison (`memory`). Trials
of SqueezeNet 1.1, backbone frozen, batches of 16, one thread, take turns within one run: with nothing augmented, and
with the crop and flip that folders have by default. `wait` is what trials report as waiting for data, in which
normalisation and augmentation are included, and `reading` what the reader alone takes for the same images.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tlsweep.data import Task, load_task
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


def reading(task: Task) -> float:
    """Seconds for the training images in some order, without anything that is made of them."""
    torch.set_num_threads(1)
    images = torch.from_numpy(task.splits["train"])
    order = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    bounds = [(start, min(start + BATCH, len(order))) for start in range(0, len(order), BATCH)]
    reader = make_reader(task.images, torch.device("cpu"), 0)
    began = time.perf_counter()
    for _ in reader.read(order, bounds):
        pass
    return time.perf_counter() - began


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
    """One trial, its waiting and reading in milliseconds for each image: medians over epochs after the first."""
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
    return {
        "images": form,
        "augment": augmented,
        "training_images": images,
        "side": int(task.images.shape[1]),
        "epochs": len(rows),
        "wait": 1000 * median(row.wait_seconds for row in rows) / images,
        "reading": 1000 * median(reading(task) for _ in rows) / images,
        "training": 1000 * median(row.train_seconds for row in rows) / images,
        "train_loss": rows[-1].train_loss,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="ants and bees")
    parser.add_argument("--epochs", type=int, default=5, help="of each trial; the first does not count")
    parser.add_argument("--output", type=Path, help="write the figures to this Parquet file")
    arguments = parser.parse_args()
    arguments.data = arguments.data.resolve()
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-pixels-") as cache:
        arguments.cache = Path(cache)
        for augmented in AUGMENTED:
            found = {form: measure(form, augmented, arguments) for form in FORMS}
            for row in found.values():
                print({name: round(value, 4) if type(value) is float else value for name, value in row.items()})
            for clock in ("wait", "reading"):
                ratio = found["mapped"][clock] / found["streamed"][clock]
                print(f"{augmented}: {clock}, mapped / streamed: {ratio:.3f}")
            sys.stdout.flush()
            rows += found.values()
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), arguments.output)


if __name__ == "__main__":
    main()
