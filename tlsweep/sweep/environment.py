"""What a result depended on beside its spec: versions, commit, hardware, fingerprints."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tlsweep.data import Task
from tlsweep.sweep.nodes import Cluster

PACKAGES = ("tlsweep", "torch", "torchvision", "ray", "numpy", "pyarrow", "scikit-learn")


def environment(task: Task, cluster: Cluster, weights: Any) -> dict[str, Any]:
    """The content of environment.json."""
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": _commit(),
        "hardware": {
            "system": platform.platform(),
            "processor": _processor(),
            "cpus": cluster.cpus,
            "gpus": cluster.gpus,
            "private_ray": cluster.local,
        },
        "data": {
            "fingerprint": task.fingerprint,
            "classes": list(task.classes),
            "images": {split: task.size(split) for split in task.splits},
            "shape": list(task.images.shape[1:]),
            "image_size": task.image_size,
            "skipped": len(task.skipped),
            "skipped_files": list(task.skipped),
        },
        "weights": {"origin": weights.origin, "sha256": weights.sha256} if weights else None,
        "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the code that runs, where it runs from a git checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def _processor() -> str:
    """The model of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
