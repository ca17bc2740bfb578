"""What a user would otherwise do, against the `folder` preset: a probe, a hand-written loop, the preset as it was.

    python tests/bench/practice.py --data FOLDER --results DIR [--settings ants-bees-squeezenet-128 …] [--seeds 3]
    python tests/bench/practice.py --ablation --data FOLDER --results DIR [--settings …] [--seeds 3]
    python tests/bench/practice.py --examples --data FOLDER --results DIR [--seeds 3]
    python tests/bench/practice.py --table

FOLDER holds `datasets/` and `weights/` as `TLSWEEP_TEST_DATA` does, with `cifar10_jpeg` and MNIST's files unpacked.
Every contender has the same images and splits of a seed. The loop is the one of PyTorch's tutorial on transfer
learning, 25 epochs with a learning rate of 0.001, then again with a tenth of it, as one who sees the loss stand still
would try, and so on, until it has trained as many epochs as all trials of the preset together, or its processor time is
the sweep's wall time; its best epoch on validation counts. Digits are not flipped, and the loop does not crop them
either. `runs.csv` has a row for each contender, setting and seed; those that it has are not
run again, and a sweep that was cut short goes on. `right.parquet` has which test images each of them got right, so that
two can be compared image by image: all seeds of a setting have the same test images, or most of them, and the standard
error over seeds knows nothing of another draw of images.

Of a sweep that hands over the winner with a share of its start, `preset, no soup` is the winner alone.

`--ablation` runs the preset with one thing changed at a time; `ablation.csv` has its rows; the whole preset's are in
`runs.csv`. `--examples` runs what other presets have in their middle, alone and as the sweep's centre; `examples.csv`.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import yaml
from sweeps import complete

from tlsweep.report.arms import arm_results
from tlsweep.report.best import find_best
from tlsweep.report.tables import load_tables
from tlsweep.spec import ImageSpec, SourceTask
from tlsweep.spec.loading import presets

if TYPE_CHECKING:
    from tlsweep.models import Weights

HERE = Path(__file__).parents[2] / "results" / "reference" / "practice"
KEY = ("setting", "seed", "contender")
FIELDS = (*KEY, "train_images", "val_accuracy", "test_accuracy", "seconds", "epochs")
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
SQUEEZENET = {"name": "squeezenet1_1", "weights": "FOLDER/weights/squeezenet1_1_imagenet1k_v1_fp16rounded.pth"}
MOBILENET = {"name": "mobilenet_v2", "weights": "FOLDER/weights/mobilenet_v2_imagenet_tfqat_dequant.pth"}
ANTS_BEES = {
    "path": "FOLDER/datasets/hymenoptera_data",
    "splits": {"train": "train", "test": "val"},
    "on_bad_image": "skip",
}
CIFAR = {"path": "FOLDER/cifar10_jpeg", "image_size": 64, "val_fraction": 0.05}
DIGITS = {"source": "torchvision", "image_size": 16}
MNIST = DIGITS | {"dataset": "MNIST", "root": "FOLDER/datasets", "augment": {"crop": "resized"}}
SEMEION = DIGITS | {"dataset": "SEMEION", "root": "FOLDER/datasets/SEMEION", "val_fraction": 0.3, "test_fraction": 0.3}
CNN_OF_MNIST = {
    "name": "cnn",
    "weights": {"data": MNIST, "epochs": 5, "train": {"optimizer": "adam", "lr": 2e-3, "batch_size": 64}},
}


CONTENDERS = ("preset", "before", "loop")
ABLATION: dict[str, dict[str, Any]] = {
    "normalize: train": {"data": {"normalize": "train"}},
    "head: zero": {"train": {"head": "zero"}},
    "head: random": {"train": {"head": "random"}},
    "augment: none": {"data": {"augment": {"crop": "none", "flip": False}}},
    "augment: medium": {"data": {"augment": "medium"}},
    "ema: 0.5": {"train": {"ema": 0.5}},
}


@dataclass(frozen=True)
class Setting:
    """A backbone and images; `FOLDER` stands for where they lie."""

    model: dict[str, Any]
    data: dict[str, Any]
    preset: str = "folder"


SETTINGS = {
    "ants-bees-squeezenet-128": Setting(SQUEEZENET, ANTS_BEES | {"image_size": 128}),
    "ants-bees-mobilenet-128": Setting(MOBILENET, ANTS_BEES | {"image_size": 128}),
    "ants-bees-squeezenet-224": Setting(SQUEEZENET, ANTS_BEES | {"image_size": 224}),
    "ants-bees-mobilenet-224": Setting(MOBILENET, ANTS_BEES | {"image_size": 224}),
    "cifar-1000": Setting(SQUEEZENET, CIFAR | {"labels_per_class": 100}),
    "cifar-5000": Setting(SQUEEZENET, CIFAR | {"labels_per_class": 500}),
    "mnist-to-semeion": Setting(CNN_OF_MNIST, SEMEION | {"augment": {"crop": "shift", "flip": False}}),
}


EXAMPLES = {
    "cnn-cifar10-jpeg": Setting({}, CIFAR | {"source": "folder", "image_size": 32}, "cifar10-cnn"),
    "mlp-mnist": Setting({}, {"root": "FOLDER/datasets"}, "mlp"),
}


def sweep_spec(contender: str, setting: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return the spec of a contender that is a sweep."""
    changed = ABLATION.get(contender, {})
    at = (SETTINGS | EXAMPLES)[setting]
    spec = yaml.safe_load((HERE / "before.yaml").read_text() if contender == "before" else presets()[at.preset])
    of_the_preset = spec["data"]
    if at.data.get("source", of_the_preset["source"]) != of_the_preset["source"]:
        of_the_preset = {name: value for name, value in of_the_preset.items() if name in ("normalize", "augment")}
    if contender == "alone":
        spec["search"] = {"strategy": "random", "trials": 1, "points_to_evaluate": spec["search"]["points_to_evaluate"]}
    spec |= {
        "name": f"{setting}-{contender.replace(': ', '-')}-{seed}",
        "seed": seed,
        "model": spec["model"] | at.model,
        "data": of_the_preset | at.data | changed.get("data", {}),
        "train": spec["train"] | changed.get("train", {}),
        "controls": ["probe"] if contender == "preset" and at.model else [],
    }
    text = yaml.safe_dump(spec).replace("FOLDER", str(folder))
    return cast(dict[str, Any], yaml.safe_load(text))


def sweep(contender: str, setting: str, seed: int, folder: Path, results: Path) -> Iterator[dict[str, Any]]:
    """Run a sweep to its end, and tell how its winner did; of the preset also how its trials began."""
    found, seconds = complete(sweep_spec(contender, setting, seed, folder), results)
    tables, shown = load_tables(found), found.to_pandas("predictions")
    shown["right"] = shown.label == shown.predicted
    handed_over = find_best(tables).result.arm
    for arm in arm_results(tables):
        who = contender if arm.arm == handed_over else {"main": f"{contender}, no soup"}.get(arm.arm, arm.arm)
        if who == "soup":
            continue
        keep_right(setting, seed, who, shown[shown.arm == arm.arm].sort_values("image"))
        yield {
            "contender": who,
            "train_images": found.environment["data"]["images"]["train"],
            "val_accuracy": arm.val["accuracy"],
            "test_accuracy": arm.test["accuracy"],
            "seconds": seconds,
            "epochs": sum(report["arm"] == ("main" if who == contender else arm.arm) for report in tables.reports),
        }


def keep_right(setting: str, seed: int, contender: str, shown: pd.DataFrame) -> None:
    """Keep which test images a contender got right: columns `image` (as the sweep counts them) and `right`."""
    new = shown[["image", "right"]].assign(setting=setting, seed=seed, contender=contender)
    if RIGHT.exists():
        known = pd.read_parquet(RIGHT)
        same = (known.setting == setting) & (known.seed == seed) & (known.contender == contender)
        new = pd.concat([known[~same], new])
    new.to_parquet(RIGHT, index=False, compression="zstd")


def loop(spec: ImageSpec, epochs: int, seconds: float) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train as PyTorch's tutorial on transfer learning: SGD 0.001, momentum 0.9, batches of 4, lr / 10 every 7 epochs.

    https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html
    """
    import torch
    from torch import nn
    from torchvision.transforms import v2

    from tlsweep.data import load_task
    from tlsweep.models import build_network

    torch.set_num_threads(1)  # of batches of four images a second one gains nothing
    torch.manual_seed(spec.seed)
    task = load_task(spec.data, spec.seed)
    size = task.image_size
    photos = task.channels == 3
    normalise = v2.Normalize(*(IMAGENET if photos else (list(task.mean), list(task.std))))
    as_floats = v2.ToDtype(torch.float32, scale=True)
    augment = [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip()] if photos else [v2.CenterCrop(size)]
    changed = v2.Compose([*augment, as_floats, normalise])
    plain = v2.Compose([v2.CenterCrop(size), as_floats, normalise])

    def batches(split: str, count: int, change: Callable[..., Any], order: Any) -> Iterator[tuple[Any, Any]]:
        indices = task.splits[split][order]
        for start in range(0, len(indices), count):
            chosen = indices[start : start + count]
            images = torch.from_numpy(task.images[chosen]).permute(0, 3, 1, 2)
            yield torch.stack([change(image) for image in images]), torch.from_numpy(task.labels[chosen])

    def right(network: nn.Module, split: str) -> Any:
        network.eval()
        with torch.inference_mode():
            return torch.cat(
                [network(images).argmax(1) == labels for images, labels in batches(split, 32, plain, slice(None))]
            )

    weights = starting_weights(spec)
    sizes = {"num_classes": task.num_classes, "channels": task.channels, "image_size": size}
    started, used, best = time.perf_counter(), time.process_time(), -1.0
    for epoch in range(epochs):
        if time.process_time() - used > seconds:
            epochs = epoch
            break
        run, epoch_of_run = divmod(epoch, 25)
        if epoch_of_run == 0:
            network = build_network(spec.model, **sizes, seed=spec.seed + run, weights=weights).module
            optimizer = torch.optim.SGD(network.parameters(), lr=(0.001, 0.0001)[run % 2], momentum=0.9)
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
        network.train()
        for images, labels in batches("train", 4, changed, torch.randperm(task.size("train")).numpy()):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
        if (reached := float(right(network, "val").double().mean())) > best:
            best, test = reached, right(network, "test")
    row = {
        "contender": "loop",
        "train_images": task.size("train"),
        "val_accuracy": best,
        "test_accuracy": float(test.double().mean()),
        "seconds": round(time.perf_counter() - started, 1),
        "epochs": epochs,
    }
    return row, pd.DataFrame({"image": task.splits["test"], "right": test.numpy()})


def starting_weights(spec: ImageSpec) -> "Weights | None":
    """Return the weights that the tutorial begins with; those of a source task are trained, if nobody has."""
    from tlsweep.data import load_task
    from tlsweep.models import resolve_weights
    from tlsweep.pretrained import pretrained
    from tlsweep.sweep.prepare import source_cache

    source = spec.model.weights
    if not isinstance(source, SourceTask):
        return resolve_weights(spec.model)
    task = load_task(source.data, spec.seed)
    return pretrained(source, spec.model, task, seed=spec.seed, cache=source_cache())


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Return test accuracies, mean ± standard error over seeds."""
    groups = runs.groupby(["setting", "contender"], sort=False).test_accuracy
    cells = groups.mean().map("{:.3f}".format) + " ± " + groups.sem().map("{:.3f}".format)
    return cells.unstack().assign(n=runs.groupby("setting").seed.nunique())


def ahead(right: pd.DataFrame) -> pd.DataFrame:
    """Return by how much the preset is ahead of each contender on test images that both were shown, all seeds together,
    with the standard error over images: an image that several seeds were shown is one draw."""
    both = right.pivot(index=["setting", "seed", "image"], columns="contender", values="right")
    cells = {}
    for contender in both.columns.drop("preset"):
        difference = (both.preset.astype(float) - both[contender].astype(float)).dropna()
        for setting, one in difference.groupby("setting"):
            of_images = (one - one.mean()).groupby("image").sum()
            cells[setting, contender] = f"{one.mean():+.3f} ± {(of_images**2).sum() ** 0.5 / len(one):.3f}"
    return pd.Series(cells).unstack()


@dataclass(frozen=True)
class Table:
    """A file of runs, and what has a row in it for each setting and seed."""

    file: Path
    contenders: tuple[str, ...]

    def read(self) -> pd.DataFrame:
        return pd.read_csv(self.file) if self.file.exists() else pd.DataFrame(columns=list(FIELDS))

    def keep(self, row: dict[str, Any]) -> None:
        known = self.read()
        same = (known[list(KEY)] == [row[name] for name in KEY]).all(axis="columns")
        pd.concat([known[~same], pd.DataFrame([row])])[list(FIELDS)].to_csv(self.file, index=False)


RIGHT = HERE / "right.parquet"
PRACTICE = Table(HERE / "runs.csv", CONTENDERS)
PARTS = Table(HERE / "ablation.csv", tuple(ABLATION))
CENTRES = Table(HERE / "examples.csv", ("alone", "preset"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ablation", action="store_true", help="the preset with one thing changed at a time")
    parser.add_argument("--data", type=Path, help="the folder of datasets/ and weights/")
    parser.add_argument("--results", type=Path, help="where the sweeps are kept")
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--contenders", nargs="*", help="default: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", action="store_true", help="what is in the middle of other presets")
    parser.add_argument("--table", action="store_true", help="run nothing, summarise what is complete")
    args = parser.parse_args()
    table, settings = PARTS if args.ablation else PRACTICE, args.settings
    if args.examples:
        table, settings = CENTRES, list(EXAMPLES)
    for seed in range(0 if args.table else args.seeds):  # seed by seed, so that what has been run can be compared
        for setting in settings:
            for contender in args.contenders or table.contenders:
                run(table, contender, setting, seed, args.data, args.results)
    runs = table.read()
    if args.ablation:
        whole = PRACTICE.read()
        runs = pd.concat([whole[(whole.contender == "preset") & whole.setting.isin(runs.setting)], runs])
    print(summary(runs).to_string())
    if table is PRACTICE and RIGHT.exists():
        print(ahead(pd.read_parquet(RIGHT)).to_string())


def run(table: Table, contender: str, setting: str, seed: int, folder: Path, results: Path) -> None:
    """Run a contender, if it has no row yet."""
    known = table.read()
    here = known[(known.setting == setting) & (known.seed == seed)].set_index("contender")
    if contender in here.index:
        return
    if contender == "loop":
        spec = ImageSpec.model_validate(sweep_spec("preset", setting, seed, folder))
        row, right = loop(spec, int(here.epochs["preset"]), here.seconds["preset"])
        keep_right(setting, seed, "loop", right)
        rows = [row]
    else:
        rows = list(sweep(contender, setting, seed, folder, results))
    for row in rows:
        table.keep({"setting": setting, "seed": seed} | row)


if __name__ == "__main__":
    main()
