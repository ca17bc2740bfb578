"""What it costs to lose nothing: journal, checkpoints, digests and tables, at epochs of 2 s.

    python tests/bench/durability.py

A sweep of one trial whose epochs take 2 s, on a private Ray, with networks of several sizes. `overhead` is all the time
between the first and the last report that is neither training nor validation, as a share of these: making and hashing
the checkpoint, writing it, sending the report, the journal with its fsync, the decision, and the tables.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

EPOCHS, SECONDS, IMAGES = 12, 2.0, 100
PARAMETERS = (0, 200_000, 1_000_000, 11_000_000)


def run(folder: Path, parameters: int) -> dict[str, Any]:
    """Train, and account for the time."""
    from tlsweep.spec import load_spec
    from tlsweep.sweep import launch

    spec = load_spec(
        {
            "data": {"source": "digits", "labels_per_class": IMAGES // 10},
            "model": {
                "name": "exploit:sleeper",
                "args": {"parameters": parameters, "seconds_per_sample": SECONDS / IMAGES},
            },
            "train": {"epochs": EPOCHS, "lr": 0.01, "batch_size": 50},
            "search": {"strategy": "random", "trials": 1},
            "resources": {"gpus": 0},
        }
    )
    results = launch(spec, results=folder, local=True, dashboard=False)
    rows = sorted(results.reports.to_pylist(), key=lambda row: row["epoch"])
    work = sum(row["train_seconds"] + row["eval_seconds"] for row in rows[1:])
    wall = (rows[-1]["time"] - rows[0]["time"]).total_seconds()
    newest = max(results.folder.checkpoints.rglob("*.pt"), key=lambda path: path.stat().st_mtime)
    return {"checkpoint_bytes": newest.stat().st_size, "epoch": work / len(rows[1:]), "overhead": (wall - work) / work}


def measure(parameters: int) -> dict[str, Any]:
    """Run it in a process of its own."""
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = [sys.executable, __file__, "--one", str(parameters), "--folder", folder]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(here)}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment, cwd=here)
        found: dict[str, Any] = json.loads((Path(folder) / "summary.json").read_text())
    return {"parameters": parameters, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        (arguments.folder / "summary.json").write_text(json.dumps(run(arguments.folder, arguments.one)))
        return
    figures = []
    for parameters in PARAMETERS:
        figures.append(found := measure(parameters))
        print(
            f"{parameters:>12,} parameters, checkpoint {found['checkpoint_bytes'] / 2**20:6.1f} MB, "
            f"epoch {found['epoch']:.2f} s, overhead {found['overhead']:.1%}"
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
