"""What kept features are worth: head-only trials on ants and bees, SqueezeNet 1.1 at 224 pixels, whole process.

    python tests/bench/features.py --data hymenoptera_data --weights squeezenet1_1.pth [--output FILE.parquet]

The same configurations (random search, 10 epochs, AdamW, batches of 8 to 32, nothing augmented), with features that are
computed once (`kept`) and with the same network as own code, whose features each trial computes in each epoch (`each
trial`); with `train.dropout: 0`, and, a quarter of the trials, with the dropout of 0.5 that SqueezeNet has before its
head. A sweep begins with decoded images and no features or heads in its cache. Seconds are those of the command from
start to end, `processor` those of all its processes.

100 trials that compute their features would take hours, so `each trial` runs 4. With K(n) and E(n) the seconds of n
trials, k = (K(100) - K(4)) / 96 is what one more takes on kept features, start = K(4) - 4 k, and the last lines say
what 100 trials would take: start + 100 (E(4) - start) / 4.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

OWN, EPOCHS, FEW = "features:squeezenet", 10, 4
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def squeezenet(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Build torchvision's network as own code, of which nothing is kept."""
    from torchvision.models import squeezenet1_1

    network: nn.Module = squeezenet1_1(num_classes=num_classes)
    return network


def run(arguments: argparse.Namespace) -> None:
    """Launch a sweep in this process, and leave its figures beside it."""
    from tlsweep.spec import load_spec
    from tlsweep.sweep import launch

    spec: dict[str, Any] = {
        "data": {
            "source": "folder", "path": str(arguments.data), "on_bad_image": "skip", "image_size": 224,
            "augment": "none", "normalize": IMAGENET, "interpolation": "bilinear", "crop_fraction": 1.0,
        },
        "model": {
            "name": OWN if arguments.one == "each trial" else "squeezenet1_1", "weights": str(arguments.weights),
        },
        "train": {
            "epochs": EPOCHS, "freeze": "backbone", "optimizer": "adamw", "lr": {"loguniform": [1e-4, 1e-2]},
            "batch_size": {"powers_of_two": [8, 32]},
        } | ({} if arguments.dropout is None else {"dropout": arguments.dropout}),
        "search": {"strategy": "random", "trials": arguments.count},
    }  # fmt: skip
    results = launch(load_spec(spec), results=arguments.folder, local=True, dashboard=False)
    rows = results.reports.to_pylist()
    found = {
        "epochs": len(rows),
        "training": sum(row["train_seconds"] + row["eval_seconds"] + row["wait_seconds"] for row in rows),
        "val_accuracy": max(row["val_accuracy"] for row in rows),
        "val_loss": min(row["val_loss"] for row in rows),
    }
    (arguments.folder / "found.json").write_text(json.dumps(found))


def measure(arguments: argparse.Namespace, variant: str, dropout: float | None, count: int) -> dict[str, Any]:
    """Run it in a process of its own, with a cache of its own in which there are images alone."""
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        images = arguments.cache / "images"
        images.mkdir(parents=True, exist_ok=True)
        cache = Path(folder) / "cache"
        cache.mkdir()
        (cache / "images").symlink_to(images)
        command = [sys.executable, __file__, "--one", variant, "--count", str(count), "--folder", folder]
        command += ["--data", str(arguments.data), "--weights", str(arguments.weights)]
        command += [] if dropout is None else ["--dropout", str(dropout)]
        environment = os.environ | {"TLSWEEP_CACHE": str(cache), "PYTHONPATH": str(here)}
        began = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, cwd=here) as process:
            processor = processor_seconds(process)
        wall = time.monotonic() - began
        if process.returncode:
            raise SystemExit(process.returncode)
        found: dict[str, Any] = json.loads((Path(folder) / "found.json").read_text())
    dropped = 0.5 if dropout is None else dropout
    return {"features": variant, "dropout": dropped, "trials": count, "wall": wall, "processor": processor, **found}


def processor_seconds(process: "subprocess.Popen[bytes]") -> float:
    """Seconds of a process and of all that it starts, asked for five times a second until it ends.

    Not from the system's own count of children: Ray's raylet ignores its own, whose time is then nobody's (wait(2)).
    """
    import ray  # noqa: F401  # brings psutil with it
    import psutil  # isort: skip

    used: dict[tuple[int, float], float] = {}
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            main = psutil.Process(process.pid)
            for member in (main, *main.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    times = member.cpu_times()
                    used[member.pid, member.create_time()] = times.user + times.system
        time.sleep(0.2)
    return sum(used.values())


def extrapolated(rows: list[dict[str, Any]], clock: str) -> str:
    """What as many trials as ran on kept features would take if each computed its own, by a column of seconds."""
    few, many, each = (row[clock] for row in rows)
    count = rows[1]["trials"]
    start = few - FEW * (many - few) / (count - FEW)
    whole = start + count * (each - start) / FEW
    return (
        f"{clock}: {count} trials on kept features {many:.0f} s, on their own about {whole:.0f} s, {whole / many:.1f} ×"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="ants and bees")
    parser.add_argument("--weights", type=Path, required=True, help="SqueezeNet 1.1's of ImageNet")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--output", type=Path, help="write the figures to this Parquet file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--dropout", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.data, arguments.weights = arguments.data.resolve(), arguments.weights.resolve()
    if arguments.one is not None:
        run(arguments)
        return
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-images-") as cache:
        arguments.cache = Path(cache)
        measure(arguments, "kept", 0.0, 1)  # decodes the images
        for dropout, trials in ((0.0, arguments.trials), (None, arguments.trials // 4)):
            for variant, count in (("kept", FEW), ("kept", trials), ("each trial", FEW)):
                rows.append(found := measure(arguments, variant, dropout, count))
                print({name: round(value, 4) if type(value) is float else value for name, value in found.items()})
                sys.stdout.flush()
            print(*(extrapolated(rows[-3:], clock) for clock in ("wall", "processor")), sep="\n", flush=True)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), arguments.output)


if __name__ == "__main__":
    main()
