"""Federated averaging on MNIST, as in table 2 of its paper (McMahan et al. 2017)."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_trials import ONE_THREAD

from tlsweep.data import load_task
from tlsweep.data.task import Federation
from tlsweep.data.views import with_splits
from tlsweep.spec import Augment, Hyperparameters, ModelSpec, TorchvisionData, TrainSettings
from tlsweep.spec.federation import Federated, Split
from tlsweep.training import EpochReport, Snapshot, Transfer, finetune

CNN = ModelSpec(name="training_networks:of_federated_averaging")


class _Reached(Exception):
    """The accuracy was reached."""


@pytest.mark.hours
@pytest.mark.data
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("local_epochs", "paper"), [(1, 34), (5, 20)])
def test_rounds_to_99_percent(test_data: Path, tmp_path: Path, local_epochs: int, paper: int) -> None:
    """100 clients, a tenth of them in each round, batches of 10; the paper chose the best lr of several, here it is
    one."""
    shutil.copytree(test_data / "datasets" / "MNIST", tmp_path / "MNIST")
    for folder in (tmp_path / "MNIST", tmp_path / "MNIST" / "raw"):
        folder.chmod(0o755)  # torchvision unpacks the files there
    data = TorchvisionData(
        source="torchvision",
        dataset="MNIST",
        root=str(tmp_path),
        download=True,
        augment=Augment(crop="none"),
        normalize="train",
    )
    whole = load_task(data, 0, cache=tmp_path / "cache")
    everything = np.sort(np.concatenate([whole.splits["train"], whole.splits["val"]]))
    # All 60,000 images are trained on, and the 10,000 of the test tell when it is enough, as in the paper.
    task = with_splits(whole, {"train": everything, "val": whole.splits["test"]})
    task = replace(task, federation=Federation(100, Split(), 0))
    federated = Federated(clients=100, fraction=0.1, local_epochs=local_epochs)
    values = Hyperparameters(lr=0.1, batch_size=10, momentum=0.0, lr_schedule="constant")

    def report(row: EpochReport, snapshot: Snapshot) -> None:
        if row.val_accuracy >= 0.99:
            raise _Reached

    settings = TrainSettings(epochs=int(1.5 * paper), federated=federated)
    with pytest.raises(_Reached):
        finetune(values, settings, Transfer(task, CNN, None, seed=0), report=report, compute=ONE_THREAD)
