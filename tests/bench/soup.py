"""What averaging the best networks of a sweep is worth: the best one, the greedy soup, the ensemble, on the test split.

    python tests/bench/soup.py --results DIR [--seeds 3] [--preset folder --task ants-bees] [-o data.path=…]

Each sweep is `tlsweep launch PRESET -o soup=NETWORKS -o controls=[]` with a seed of its own. What is complete in DIR is
not run again. A row for each sweep goes to results/reference/soup/TASK.csv; `soup` is empty where no average was
better than the best network alone on the half of the validation images that chooses, and that network is handed over.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from tlsweep import open_results
from tlsweep.report import arm_results, find_soup, load_tables

KEPT = Path(__file__).parents[2] / "results" / "reference" / "soup"


def run(name: str, preset: str, seed: int, networks: int, results: Path, overrides: list[str]) -> Path:
    """Run a sweep unless it is complete; its folder."""
    if (results / name / "recipe.yaml").exists():
        return results / name
    settings = [f"name={name}", f"seed={seed}", f"soup={networks}", "controls=[]", *overrides]
    command = [sys.executable, "-m", "tlsweep", "launch", preset, "--local", "--results", str(results)]
    done = subprocess.run(
        [*command, *(word for setting in settings for word in ("-o", setting))], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return results / name


def row(folder: Path, task: str, seed: int, networks: int) -> dict[str, Any]:
    """The figures of a complete sweep."""
    tables = load_tables(open_results(folder))
    arms = {result.arm: result for result in arm_results(tables)}
    soup = find_soup(tables)
    assert soup is not None
    averaged = arms.get("soup")
    single, greedy = arms["main"].test["accuracy"], averaged.test["accuracy"] if averaged else None
    ahead = averaged.ahead.reversed() if averaged and averaged.ahead else None
    return {
        "task": task, "seed": seed, "networks": networks, "ingredients": len(soup.trials),
        "start_share": soup.start_share, "single": single, "soup": greedy,
        "soup_ahead": ahead.value if ahead else None, "soup_low": ahead.low if ahead else None,
        "soup_high": ahead.high if ahead else None,
        "judged_ahead": soup.ahead.value if soup.ahead else None, "handed_over": soup.handed_over,
        "result": greedy if soup.handed_over else single, "ensemble": soup.ensemble.get("accuracy"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--task", help="what it is called, if not as the preset")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("-o", dest="overrides", action="append", default=[], help="as of tlsweep launch")
    args = parser.parse_args()
    rows, task = [], args.task or args.preset
    for seed in range(args.seeds):
        name = f"soup-{task}-{seed}"
        folder = run(name, args.preset, seed, args.networks, args.results, args.overrides)
        rows.append(row(folder, task, seed, args.networks))
    table = pd.DataFrame(rows)
    KEPT.mkdir(parents=True, exist_ok=True)
    table.to_csv(KEPT / f"{task}.csv", index=False)
    print(table.to_string())
    # A soup that does not exist is the single network.
    compared = table.assign(soup=table.soup.fillna(table.single))[["single", "soup", "result", "ensemble"]]
    print(pd.DataFrame({"mean": compared.mean(), "standard error": compared.sem(),
                        "ahead of single": compared.sub(compared.single, axis=0).mean(),
                        "its standard error": compared.sub(compared.single, axis=0).sem()}).to_string())  # fmt: skip


if __name__ == "__main__":
    main()
