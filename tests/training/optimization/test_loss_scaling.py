"""Training in float16: torch's loss scaling, on CPUs that are told that they take part in it."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from training_trials import SMALL_CNN, Train, same_checkpoint

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.errors import ResourceError
from tlsweep.models import build_network
from tlsweep.spec import Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training.checkpoint import dump_checkpoint, load_checkpoint
from tlsweep.training.devices import lower_precision, move_to_device
from tlsweep.training.optimization.averaging import Average
from tlsweep.training.optimization.loss_scaling import LossScaling
from tlsweep.training.optimization.optimizers import allocate_state, build_optimizer, set_training

NO_DROPOUT = ModelSpec(name="cnn", args={"channels": [8, 8], "dense": [16]})


@pytest.fixture
def fp16_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlsweep.training.devices.computes_in_fp16", lambda device: True)


def chosen(**values: Any) -> Hyperparameters:
    return Hyperparameters.model_validate({"lr": 0.05, "batch_size": 20} | values)


def test_it_is_refused_where_nothing_computes_in_it(train: Train) -> None:
    with pytest.raises(ResourceError, match=r"train.precision = fp16: training on cpu has no use .+ write bf16, fp32"):
        train(precision="fp16")


@pytest.mark.parametrize(
    ("has_bf16", "capability", "settings", "wanted"),
    [
        (True, (9, 0), {}, torch.bfloat16), (False, (7, 5), {}, torch.float16), (False, (6, 1), {}, None),
        (False, (7, 5), {"noise_scale": True}, None), (True, (9, 0), {"precision": "fp16"}, torch.float16),
        (False, (7, 0), {"precision": "fp32"}, None),
    ],
)  # fmt: skip
def test_auto_takes_what_the_gpu_computes_fast(
    monkeypatch: pytest.MonkeyPatch,
    has_bf16: bool,
    capability: tuple[int, int],
    settings: dict[str, Any],
    wanted: torch.dtype | None,
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    assert lower_precision(TrainSettings.model_validate(settings), "cuda") is wanted


@pytest.mark.usefixtures("fp16_here")
@pytest.mark.parametrize("clip_norm", [0, 0.05])
def test_two_epochs_equal_a_plain_loop_with_torchs_scaler(digits: Task, train: Train, clip_norm: float) -> None:
    hyperparameters = chosen(clip_norm=clip_norm, lr_schedule="constant")
    trial = train(hyperparameters, epochs=2, seed=3, model=NO_DROPOUT, precision="fp16")
    sizes = {"num_classes": digits.num_classes, "channels": digits.channels, "image_size": digits.image_size}
    module = build_network(NO_DROPOUT, **sizes, seed=3).module
    batches = Batches(digits, channels_last=move_to_device(module, "cpu"))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu")
    for epoch in range(2):
        for images, labels in batches.train(epoch, 20, 3):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                loss = F.cross_entropy(module(images), labels)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(module.parameters(), clip_norm or math.inf)
            scaler.step(optimizer)
            scaler.update()
    kept = load_checkpoint(trial.checkpoints[-1])
    for name, tensor in module.state_dict().items():
        assert kept.tensors[name].dtype == torch.float32
        torch.testing.assert_close(kept.tensors[name], tensor, rtol=0, atol=1e-5)
    assert kept.scaling == {"scale": scaler.get_scale(), "steps": 10}


@pytest.mark.usefixtures("fp16_here")
@pytest.mark.parametrize(
    "values", [{}, {"optimizer": "adamw", "lr": 0.005, "ema": 0.4}, {"freeze": "gradual"}], ids=str
)
def test_going_on_is_as_never_having_stopped(train: Train, values: dict[str, Any]) -> None:
    whole = train(chosen(**values), precision="fp16")
    rest = train(chosen(**values), precision="fp16", resume=whole.checkpoints[0])
    assert rest.numbers == whole.numbers[1:]
    assert same_checkpoint(rest.checkpoints[-1], whole.checkpoints[-1])
    assert rest.numbers != train(chosen(**values)).numbers[1:]


@pytest.mark.usefixtures("fp16_here")
def test_a_scale_that_is_too_large_costs_the_first_steps_alone(train: Train) -> None:
    begun = load_checkpoint(train(chosen(), precision="fp16", epochs=1).checkpoints[0])
    begun.scaling["scale"] = 2.0**28
    trial = train(chosen(), precision="fp16", epochs=4, resume=dump_checkpoint(begun))
    assert 2.0**8 < load_checkpoint(trial.checkpoints[-1]).scaling["scale"] < 2.0**28
    assert math.isfinite(trial.rows[-1].train_loss)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "schedule_free_sgd", "prodigy"])
def test_a_step_that_overflows_moves_neither_weights_nor_their_average(kind: str) -> None:
    network = build_network(SMALL_CNN, num_classes=3, channels=1, image_size=8, seed=0)
    optimizer = build_optimizer(Hyperparameters.model_validate({"optimizer": kind, "lr": 0.1}), network)
    allocate_state(optimizer)
    set_training(optimizer, True)
    scaling, average = LossScaling(optimizer, "cpu", enabled=True), Average(network.module, 0.5)

    def step(gradient: float) -> list[torch.Tensor]:
        scaling.scale(torch.ones(()))
        for parameter in network.module.parameters():
            parameter.grad = torch.full_like(parameter, gradient * scaling.state()["scale"])
        scaling.unscale()
        scaling.step()
        average.update(0.1, scaling.stepped)
        return [tensor.clone() for tensor in (*network.module.parameters(), *average._other.values())]

    begun = len(list(network.module.parameters()))
    assert len(step(math.inf)) == begun  # the average has not begun
    first, second = step(1.0), step(2.0)
    assert len(first) == 2 * begun
    assert not any(map(torch.equal, first[:begun], second[:begun]))
    assert not any(map(torch.equal, first[begun:], second[begun:]))
    assert all(map(torch.equal, second, step(math.inf)))
    assert scaling.state() == {"scale": 2.0**14, "steps": 0}
