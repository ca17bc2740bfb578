"""What a result depended on beside its spec: versions, commit, hardware, fingerprints."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tlsweep.cluster.nodes import Cluster
from tlsweep.data import Task
from tlsweep.data.federation import Clients

if TYPE_CHECKING:
    from tlsweep.pretrained.starting import Beginning

PACKAGES = ("tlsweep", "torch", "torchvision", "ray", "numpy", "pyarrow", "scikit-learn", "timm")


def environment(
    task: Task,
    cluster: Cluster,
    weights: Mapping[str, Any],
    beginnings: "Mapping[str, Beginning]" = MappingProxyType({}),
    start: Mapping[str, Any] = MappingProxyType({}),
    clients: Mapping[str, Clients] = MappingProxyType({}),
) -> dict[str, Any]:
    """The content of environment.json.

    Args:
        task: the main arm's.
        cluster: what trials run on.
        weights: those that they may start from, by name; None for random ones.
        beginnings: what the heads behind them begin with.
        start: how far they are before any training, by arm and weights.
        clients: those of federations, by arm.
    """
    return {
        **machine(cluster),
        "data": {
            "fingerprint": task.fingerprint,
            "classes": list(task.classes),
            "images": {split: task.size(split) for split in task.splits},
            "shape": list(task.images.shape[1:]),
            "image_size": task.image_size,
            "skipped": len(task.skipped),
            "skipped_files": list(task.skipped),
            "single_colour": task.findings.single_colour.count,
            "dark": task.findings.dark.count,
            "mostly_cropped": task.findings.cropped.count,
            "duplicates": task.duplicates.counts(),
            "notes": list(task.notes),
            "clients": {arm: _clients(known) for arm, known in clients.items()},
        },
        "weights": _weights(weights),
        "normalize": _normalisations(task, weights),
        "head": {name: {"begins_with": head.how, "why": head.why} for name, head in beginnings.items()},
        "start": dict(start),
    }


def _clients(known: Clients) -> dict[str, Any]:
    """Who has how many images; the fingerprint says which."""
    train = [len(indices) for indices in known.train]
    return {"fingerprint": known.fingerprint, "train_images": train, "val_images": known.val_images.tolist()}


def machine(cluster: Cluster) -> dict[str, Any]:
    """The part of environment.json that is the same whatever is trained."""
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
        "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],
    }


def weights_hash(weights: Mapping[str, Any]) -> str | None:
    """SHA-256 of the weights that trials start from: of a choice, over that of each; None for random ones alone."""
    hashes = {name: loaded.sha256 if loaded else None for name, loaded in weights.items()}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _weights(weights: Mapping[str, Any]) -> dict[str, Any] | None:
    facts = {
        name: {"origin": loaded.origin, "sha256": loaded.sha256} if loaded else None for name, loaded in weights.items()
    }
    if len(facts) == 1:
        return next(iter(facts.values()))
    return {"origin": f"one of {', '.join(facts)}", "sha256": weights_hash(weights), "choice": facts}


def _normalisations(task: Task, weights: Mapping[str, Any]) -> dict[str, str]:
    """Say what `data.normalize` came to, for each name of weights."""
    from tlsweep.training.normalising import normalisation_in_words, statistics_of

    return {name: normalisation_in_words(task, statistics_of(loaded)) for name, loaded in weights.items()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the code that runs, where it runs from a git checkout."""
    try:
        found = subprocess.run(
            # With what is not committed said as well: the commit alone would name another code.
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            # The repository may lie on a network file system that does not answer.
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if found.returncode == 0:
        return found.stdout.strip() or None
    return None


def _processor() -> str:
    """The model of the CPU."""
    try:
        # On most Linux systems platform.processor() is empty, or no more than x86_64.
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
