"""The fine-tuning function: one trial, from the first epoch to the last."""

import time

from tlsweep.spec import Hyperparameters, TrainSettings
from tlsweep.training.devices import Compute, isolated, reset_peak_memory
from tlsweep.training.frozen import FeatureSource
from tlsweep.training.packs.company import Company
from tlsweep.training.reports import Receiver
from tlsweep.training.runs import Runs
from tlsweep.training.transfer import Transfer


def finetune(
    hyperparameters: Hyperparameters,
    settings: TrainSettings,
    transfer: Transfer,
    *,
    report: Receiver,
    resume: bytes | None = None,
    compute: Compute = Compute(),
    features: FeatureSource | None = None,
) -> None:
    """Fine-tune a network on a task for `settings.epochs` epochs, with a report at the end of each.

    The numbers follow from the arguments alone, whatever this process did before. Going on from a checkpoint gives the
    same later reports, bit for bit on a CPU, as never having stopped.

    Args:
        hyperparameters: those in force from the first step to the last, also after a restore.
        settings: what all trials of a sweep share.
        transfer: the network, what it starts from, and the images.
        report: receives each epoch's row, and a function that copies the state, to be called before it returns; it
            ends the trial by raising.
        resume: a checkpoint of this trial or of another one with the same model and task.
        compute: device, threads, and how much the memory is known to take.
        features: has what frozen layers give, for epochs in which the head alone learns: numbers are the same but for
            the order in which kernels add up. None: the frozen layers compute it in each epoch.

    Raises:
        ModelError: the weights or the checkpoint do not fit the network.
        ResultsError: the checkpoint cannot be read.
        ResourceError: the device does not exist, or its memory is too small for one image; `micro_batch` below 1.
    """
    with isolated(compute) as device:
        reset_peak_memory(device)
        runs = Runs(hyperparameters, settings, transfer, compute, features)
        if resume is not None:
            runs.restore(resume)
        company, name = Company(device), "the only one"
        company.join(name, runs)
        while runs.epoch < settings.epochs:
            row = company.advance()[name]
            started = time.perf_counter()
            report(row, runs.copy)
            # Told with the next report, as this one has been sent.
            company.waited([name], time.perf_counter() - started)
