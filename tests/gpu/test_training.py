"""Training on a GPU: precision, memory format, memory that is too small, going on, compiling.

With TLSWEEP_GPU_TESTS_ON=cpu much of it runs without a GPU: so far these tests have been run in this way only.
"""

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tlsweep.data import Task, load_task
from tlsweep.models import Weights
from tlsweep.pretrained.features import KeptFeatures
from tlsweep.spec import Augment, DigitsData, Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training import Compute, EpochReport, Snapshot, Transfer, finetune
from tlsweep.training.networks import new_network
from tlsweep.training.trainer import Trainer

DEVICE = os.environ.get("TLSWEEP_GPU_TESTS_ON", "cuda")
ON_GPU = torch.cuda.is_available() and DEVICE.startswith("cuda")
CNN = ModelSpec(name="cnn", args={"channels": [16, 16], "dense": [32], "dropout": 0.2})
WIDE = ModelSpec(name="cnn", args={"channels": [64, 64], "dense": [32], "dropout": 0.2})
"""Takes some 100 MB for 200 images of 64 × 64 pixels; torch takes memory from a GPU by 20 MB or more."""

pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not ON_GPU, reason="needs a CUDA device")
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="needs a CUDA device")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Twenty digits of each class to train on."""
    return load_task(DigitsData(source="digits", labels_per_class=20), 0, cache=tmp_path_factory.mktemp("digits"))


class Trained:
    """The reports and checkpoints of a trial."""

    def __init__(
        self,
        task: Task,
        *,
        model: ModelSpec = CNN,
        epochs: int = 4,
        batch_size: int = 32,
        resume: bytes | None = None,
        micro_batch: int | None = None,
        ema: float = 0,
        clip_norm: float = 0,
        **settings: Any,
    ) -> None:
        self.reports: list[EpochReport] = []
        self.checkpoints: list[bytes] = []
        finetune(
            Hyperparameters(lr=0.05, batch_size=batch_size, ema=ema, clip_norm=clip_norm),
            TrainSettings(epochs=epochs, **settings),
            Transfer(task, model, weights=None, seed=1),
            report=self._keep,
            resume=resume,
            compute=Compute(DEVICE, threads=1, micro_batch=micro_batch),
        )

    def _keep(self, report: EpochReport, snapshot: Snapshot) -> None:
        self.reports.append(report)
        self.checkpoints.append(snapshot()())

    @property
    def losses(self) -> list[float]:
        return [report.train_loss for report in self.reports]

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The trained weights of the last checkpoint."""
        found: dict[str, torch.Tensor] = torch.load(io.BytesIO(self.checkpoints[-1]), weights_only=True)["tensors"]
        return found


@pytest.fixture(scope="module")
def plain(task: Task) -> Trained:
    """Single precision, channels first, neither divided nor compiled."""
    return Trained(task, precision="fp32", channels_last=False)


def test_the_report_names_the_device_and_its_memory(plain: Trained) -> None:
    wanted = torch.cuda.get_device_name() if ON_GPU else DEVICE
    assert {report.device for report in plain.reports} == {wanted}
    assert all((report.device_memory > 0) == ON_GPU for report in plain.reports)
    assert plain.losses[-1] < plain.losses[0]


def test_bf16_learns_as_single_precision_does_and_keeps_weights_whole(task: Task, plain: Trained) -> None:
    half = Trained(task, precision="bf16", channels_last=False)
    assert half.losses == pytest.approx(plain.losses, rel=0.05)
    assert half.losses != plain.losses
    floating = [tensor.dtype for tensor in half.tensors.values() if tensor.is_floating_point()]
    assert set(floating) == {torch.float32}


@needs_gpu
@pytest.mark.parametrize("ema", [0, 0.5])
def test_fp16_learns_as_single_precision_does_and_goes_on_with_its_scale(
    task: Task, plain: Trained, ema: float
) -> None:
    options: dict[str, Any] = {"precision": "fp16", "channels_last": False, "ema": ema, "clip_norm": 10}
    half = Trained(task, **options)
    assert half.losses == pytest.approx(plain.losses, rel=0.1)  # clips nothing, and its first steps may overflow
    assert {tensor.dtype for tensor in half.tensors.values() if tensor.is_floating_point()} == {torch.float32}
    rest = Trained(task, resume=half.checkpoints[1], **options)
    assert rest.losses == pytest.approx(half.losses[2:], rel=1e-2)
    scales = [torch.load(io.BytesIO(one.checkpoints[-1]), weights_only=True)["scaling"] for one in (half, rest)]
    assert scales[0] == scales[1]
    assert scales[0]["scale"] > 1


@needs_gpu
def test_neither_clipping_nor_averaging_nor_scaling_waits_for_the_gpu(task: Task) -> None:
    hyperparameters = Hyperparameters(lr=0.05, clip_norm=1, ema=0.5)
    trainer = Trainer(
        hyperparameters,
        TrainSettings(precision="fp16", channels_last=False),
        Transfer(task, CNN, weights=None, seed=1),
        Compute(DEVICE, threads=1),
    )
    for step, (images, labels) in enumerate(trainer.batches.train(0, 32, 1)):
        # Until the scale fits, the average has not begun, and asks for each step whether it was made.
        torch.cuda.set_sync_debug_mode("error" if step >= 4 else "default")
        try:
            trainer.train_step(images, labels, seen=32 * step)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@needs_gpu
def test_auto_is_bf16_and_channels_last_on_a_gpu_that_has_them(task: Task) -> None:
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("needs a CUDA device that computes in bfloat16")
    named = Trained(task, precision="bf16", channels_last=True)
    assert Trained(task).losses == pytest.approx(named.losses, rel=0.01)


def test_channels_last_changes_no_more_than_rounding(task: Task, plain: Trained) -> None:
    last = Trained(task, precision="fp32", channels_last=True)
    assert last.losses == pytest.approx(plain.losses, rel=1e-3)


def test_a_batch_that_was_divided_trains_as_a_whole_one(task: Task) -> None:
    whole, divided = (Trained(task, precision="fp32", batch_size=64, micro_batch=limit) for limit in (None, 16))
    assert {report.micro_batch for report in divided.reports} == {16}
    # Dropout draws other masks for parts than for the whole.
    assert divided.losses == pytest.approx(whole.losses, rel=0.1)


@needs_gpu
def test_memory_that_is_too_small_divides_the_batch_as_if_that_had_been_known(tmp_path: Path) -> None:
    """A real error of torch's allocator, which is allowed a part of what the whole batch took."""
    task = load_task(DigitsData(source="digits", labels_per_class=20, image_size=64), 0, cache=tmp_path)
    options: dict[str, Any] = {"model": WIDE, "precision": "fp32", "batch_size": 200, "epochs": 2}
    whole = Trained(task, **options)
    assert {report.micro_batch for report in whole.reports} == {200}
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.6 * whole.reports[-1].device_memory / total)
    try:
        found = Trained(task, **options)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    (limit,) = {report.micro_batch for report in found.reports}
    assert limit < 200
    told = Trained(task, micro_batch=limit, **options)
    assert found.losses == pytest.approx(told.losses, rel=1e-3)


def test_going_on_from_a_checkpoint_gives_the_same_reports(task: Task) -> None:
    """Bit for bit on a CPU; on a GPU as near as its sums in changing order come."""
    whole = Trained(task, precision="fp32")
    rest = Trained(task, precision="fp32", resume=whole.checkpoints[1])
    assert [report.epoch for report in rest.reports] == [3, 4]
    assert rest.losses == pytest.approx(whole.losses[2:], rel=1e-3 if ON_GPU else 0)


@needs_gpu
def test_a_compiled_network_learns_as_a_plain_one(task: Task, plain: Trained) -> None:
    compiled = Trained(task, precision="fp32", channels_last=False, compile=True)
    assert compiled.losses == pytest.approx(plain.losses, rel=0.02)  # dropout draws from another generator


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_heads_on_kept_features_learn_as_behind_the_layers_that_compute_them(
    task: Task, tmp_path: Path, precision: str
) -> None:
    """Dropout before the head has the same masks, from the generator of the device."""
    still = replace(task, augment=Augment(crop="none", flip=False))
    untrained = new_network(Transfer(still, CNN, weights=None, seed=9)).module.state_dict()
    transfer = Transfer(still, CNN, Weights.from_state_dict(untrained, "elsewhere"), seed=1)
    lines: list[str] = []
    losses: list[list[float]] = []
    for features in (None, KeptFeatures(tmp_path, lines.append)):
        losses.append([])
        finetune(
            Hyperparameters(lr=0.05, freeze="backbone"),
            TrainSettings(epochs=3, precision=precision),
            transfer,
            report=lambda report, _: losses[-1].append(report.train_loss),
            compute=Compute(DEVICE, threads=1),
            features=features,
        )
    assert lines == []
    assert losses[0] == pytest.approx(losses[1], rel={"fp32": 1e-4, "bf16": 1e-2}[precision])
