"""Runs a sweep as its user would, for what measures sweeps."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tlsweep import open_results
from tlsweep.store import Results


def complete(spec: dict[str, Any], results: Path) -> tuple[Results, float]:
    """Run a sweep that has a name to its end, or go on with one that was cut short; and the seconds of the command."""
    name = spec["name"]
    file = results / f"{name}.yaml"
    results.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(spec))
    verb = ["resume", name] if (results / name / "spec.yaml").exists() else ["launch", str(file), "--local"]
    command = [sys.executable, "-m", "tlsweep", *verb, "--results", str(results)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return open_results(results / name), round(time.perf_counter() - started, 1)
