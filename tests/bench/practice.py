"""What a user would otherwise do, against the `folder` preset: a probe, a hand-written loop, the preset as it was.

    python tests/bench/practice.py --data FOLDER --results DIR [--settings ants-bees-squeezenet-128 …] [--seeds 3]
    python tests/bench/practice.py --table

FOLDER holds `datasets/` and `weights/` as `TLSWEEP_TEST_DATA` does, with `cifar10_jpeg` unpacked beside them. Every
contender has the same images and splits of a seed. The loop is the one of PyTorch's tutorial on transfer learning, with
two threads, begun again from the pretrained weights after its 25 epochs, until it has had the whole wall time of the
preset's sweep; its best epoch on validation counts. `runs.csv` has a row for each contender, setting and seed; those
that it has are not run again, and a sweep that was cut short goes on.
"""

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tlsweep import load_spec, open_results
from tlsweep.report.arms import arm_results
from tlsweep.report.tables import load_tables
from tlsweep.spec import SweepSpec

HERE = Path(__file__).parents[2] / "results" / "reference" / "practice"
RUNS = HERE / "runs.csv"
FIELDS = ("setting", "seed", "contender", "train_images", "val_accuracy", "test_accuracy", "seconds", "epochs")
SQUEEZENET = ("squeezenet1_1", "weights/squeezenet1_1_imagenet1k_v1_fp16rounded.pth")
MOBILENET = ("mobilenet_v2", "weights/mobilenet_v2_imagenet_tfqat_dequant.pth")
ANTS_BEES = {"path": "datasets/hymenoptera_data", "splits": "{train: train, test: val}", "on_bad_image": "skip"}


@dataclass(frozen=True)
class Setting:
    """Images and a backbone."""

    network: tuple[str, str]
    data: dict[str, Any]

    def overrides(self, folder: Path) -> list[str]:
        """Return what makes a spec of the preset for this setting."""
        data = self.data | {"path": folder / self.data["path"]}
        return [
            *(f"data.{name}={value}" for name, value in data.items()),
            f"model.name={self.network[0]}",
            f"model.weights={folder / self.network[1]}",
        ]


SETTINGS = {
    "ants-bees-squeezenet-128": Setting(SQUEEZENET, ANTS_BEES | {"image_size": 128}),
    "ants-bees-mobilenet-128": Setting(MOBILENET, ANTS_BEES | {"image_size": 128}),
    "ants-bees-squeezenet-224": Setting(SQUEEZENET, ANTS_BEES | {"image_size": 224}),
    "ants-bees-mobilenet-224": Setting(MOBILENET, ANTS_BEES | {"image_size": 224}),
    "cifar-1000": Setting(SQUEEZENET, {"path": "cifar10_jpeg", "image_size": 64, "labels_per_class": 100}),
    "cifar-5000": Setting(SQUEEZENET, {"path": "cifar10_jpeg", "image_size": 64, "labels_per_class": 500}),
}


def sweep_spec(contender: str, setting: str, seed: int, folder: Path) -> tuple[str, list[str]]:
    """Return the file and the overrides of a contender that is a sweep."""
    source, own = ("folder", ["controls=[probe]"]) if contender == "preset" else (str(HERE / "before.yaml"), [])
    return source, [*SETTINGS[setting].overrides(folder), *own, f"seed={seed}", f"name={setting}-{contender}-{seed}"]


def sweep(contender: str, setting: str, seed: int, folder: Path, results: Path) -> Iterator[dict[str, Any]]:
    """Run a sweep to its end, and tell how its winner did; of the preset also how its trials began."""
    source, overrides = sweep_spec(contender, setting, seed, folder)
    name = f"{setting}-{contender}-{seed}"
    verb = ["resume", name] if (results / name / "spec.yaml").exists() else ["launch", source, "--local"]
    changes = [word for override in overrides for word in ("-o", override)] if verb[0] == "launch" else []
    command = [sys.executable, "-m", "tlsweep", *verb, "--results", str(results), *changes]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    seconds = round(time.perf_counter() - started, 1)
    found = open_results(results / name)
    tables = load_tables(found)
    for arm in arm_results(tables):
        yield {
            "contender": contender if arm.arm == "main" else arm.arm,
            "train_images": found.environment["data"]["images"]["train"],
            "val_accuracy": arm.val["accuracy"],
            "test_accuracy": arm.test["accuracy"],
            "seconds": seconds,
            "epochs": sum(report["arm"] == arm.arm for report in tables.reports),
        }


def loop(spec: SweepSpec, seconds: float) -> dict[str, Any]:
    """Train as PyTorch's tutorial on transfer learning: SGD 0.001, momentum 0.9, batches of 4, lr / 10 every 7 epochs.

    https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html
    """
    import torch
    from torch import nn
    from torchvision import models
    from torchvision.transforms import v2

    from tlsweep.data import load_task

    torch.set_num_threads(2)
    torch.manual_seed(spec.seed)
    task = load_task(spec.data, spec.seed)
    size = task.image_size
    normalise = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    as_floats = v2.ToDtype(torch.float32, scale=True)
    changed = v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), as_floats, normalise])
    plain = v2.Compose([v2.CenterCrop(size), as_floats, normalise])

    def batches(split: str, count: int, change: Callable[..., Any], order: Any) -> Iterator[tuple[Any, Any]]:
        indices = task.splits[split][order]
        for start in range(0, len(indices), count):
            chosen = indices[start : start + count]
            images = torch.from_numpy(task.images[chosen]).permute(0, 3, 1, 2)
            yield torch.stack([change(image) for image in images]), torch.from_numpy(task.labels[chosen])

    def accuracy(network: nn.Module, split: str) -> float:
        network.eval()
        with torch.inference_mode():
            hits = sum(
                int((network(images).argmax(1) == labels).sum())
                for images, labels in batches(split, 32, plain, slice(None))
            )
        return hits / task.size(split)

    def pretrained() -> nn.Module:
        network: nn.Module = models.get_model(spec.model.name, weights=None)
        network.load_state_dict(torch.load(str(spec.model.weights), weights_only=True))
        if spec.model.name.startswith("squeezenet"):
            network.classifier[1] = nn.Conv2d(512, task.num_classes, kernel_size=1)  # type: ignore[index, operator]
        else:
            network.classifier[1] = nn.Linear(network.last_channel, task.num_classes)  # type: ignore
        return network

    ends, best, test, epochs = time.perf_counter() + seconds, -1.0, 0.0, 0
    while time.perf_counter() < ends:
        if epochs % 25 == 0:
            network = pretrained()
            optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
        network.train()
        for images, labels in batches("train", 4, changed, torch.randperm(task.size("train")).numpy()):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
        schedule.step()
        epochs += 1
        if (reached := accuracy(network, "val")) > best:
            best, test = reached, accuracy(network, "test")
    return {
        "contender": "loop",
        "train_images": task.size("train"),
        "val_accuracy": best,
        "test_accuracy": test,
        "seconds": round(seconds, 1),
        "epochs": epochs,
    }


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Return test accuracies, mean ± standard error over seeds."""
    groups = runs.groupby(["setting", "contender"], sort=False).test_accuracy
    cells = groups.mean().map("{:.3f}".format) + " ± " + groups.sem().map("{:.3f}".format)
    return cells.unstack().assign(n=runs.groupby("setting").seed.nunique())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="the folder of datasets/ and weights/")
    parser.add_argument("--results", type=Path, help="where the sweeps are kept")
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="run nothing, summarise what is complete")
    args = parser.parse_args()
    known = pd.read_csv(RUNS) if RUNS.exists() else pd.DataFrame(columns=list(FIELDS))
    done = set(zip(known.setting, known.seed, known.contender, strict=True))
    for seed in range(0 if args.table else args.seeds):  # seed by seed, so that what has been run can be compared
        for setting in args.settings:
            run(setting, seed, done, args.data, args.results)
    print(summary(pd.read_csv(RUNS)).to_string())


def run(setting: str, seed: int, done: set[tuple[str, int, str]], folder: Path, results: Path) -> None:
    """Run the contenders of a setting and a seed that have no row yet."""
    source, overrides = sweep_spec("preset", setting, seed, folder)
    spec = load_spec(source, overrides)
    for contender in ("preset", "before", "loop"):
        if (setting, seed, contender) in done:
            continue
        if contender == "loop":
            runs = pd.read_csv(RUNS)
            here = runs[(runs.setting == setting) & (runs.seed == seed) & (runs.contender == "preset")]
            rows = [loop(spec, float(here.seconds.iloc[0]))]
        else:
            rows = list(sweep(contender, setting, seed, folder, results))
        for row in rows:
            keep({"setting": setting, "seed": seed} | row)


def keep(row: dict[str, Any]) -> None:
    new = not RUNS.exists()
    with RUNS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
