"""The gradient noise scale: against per-sample gradients, and without a trace in the training."""

import io
import math
from statistics import harmonic_mean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from training_trials import ONE_THREAD, SMALL_CNN, Train, same

from tlsweep.data import Task
from tlsweep.models import set_frozen
from tlsweep.planning.noise_measurement import measure_noise_scale, noise_scale_at
from tlsweep.spec import Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training.devices import Compute
from tlsweep.training.noise_scale import NoiseScale, unbiased
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer

BATCH_NORM = ModelSpec(name="training_networks:with_batch_norm")


@given(
    sizes=st.lists(st.integers(1, 100), min_size=2, max_size=5),
    gradient=st.floats(0.1, 10),
    trace=st.floats(0.1, 1000),
)
def test_squared_norms_as_they_are_expected_give_both_unknowns_back(
    sizes: list[int], gradient: float, trace: float
) -> None:
    total = sum(sizes)
    found = unbiased([(size, gradient + trace / size) for size in sizes], (total, gradient + trace / total))
    assert found == pytest.approx((gradient, trace), rel=1e-6)


def some_network(task: Task, frozen: int) -> Trainer:
    """The digits' CNN after three epochs of training, with some layer groups frozen from now on."""
    hyperparameters = Hyperparameters(lr=1e-3, batch_size=64, optimizer="adam", lr_schedule="constant")
    settings = TrainSettings(epochs=1000, noise_scale=True)
    trainer = Trainer(
        hyperparameters, settings, Transfer(task, ModelSpec(name="cnn"), weights=None, seed=0), Compute("cpu")
    )
    for _ in range(3):
        trainer.train_epoch()
    set_frozen(trainer.network, frozen)
    return trainer


def brute_force(trainer: Trainer) -> float:
    """tr(Σ) / |G|² from the gradient of each training image, by torch.func; |G|² without the part that is noise."""
    trained = {name: value for name, value in trainer.module.named_parameters() if value.requires_grad}

    def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(trainer.module, parameters, (image[None],)), label[None])

    images, labels = next(iter(trainer.batches.train(0, trainer.task.size("train"), 0)))
    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(trained, images, labels)
    each = [gradient.detach() for gradient in gradients.values()]
    trace = sum(float(gradient.var(0).sum()) for gradient in each)
    square = sum(float(gradient.mean(0).square().sum()) for gradient in each)
    return trace / (square - trace / len(labels))


@pytest.mark.parametrize("frozen", [0, 4])
def test_both_estimates_agree_with_brute_force(clean_digits: Task, frozen: int) -> None:
    """At a fixed state: no parameter changes between the measurements, since steps are taken with lr 0."""
    trainer = some_network(clean_digits, frozen)
    truth = brute_force(trainer)
    batches = trainer.batches.train(0, 16, 0)
    at_once = noise_scale_at(lambda images, labels: trainer.loss(images, labels)[0], trainer.module, batches)
    assert at_once == pytest.approx(truth, rel=0.25)
    trainer.noise, found = NoiseScale(), []
    for epoch in range(30):
        for images, labels in trainer.batches.train(epoch, 64, 0):
            trainer.step_with(0.0, images, labels)
        assert trainer.noise is not None
        found.append(trainer.noise.value)
    # It is |G|² that scatters, and it is the denominator.
    assert harmonic_mean(found[10:]) == pytest.approx(truth, rel=0.25)


@pytest.mark.parametrize("micro_batch", [None, 3], ids=["whole", "divided"])
@pytest.mark.parametrize("model", [SMALL_CNN, BATCH_NORM], ids=["dropout", "batch norm"])
def test_measuring_changes_no_other_number(train: Train, model: ModelSpec, micro_batch: int | None) -> None:
    hyperparameters = Hyperparameters(lr=0.05, batch_size=8)
    off, on = (
        train(hyperparameters, model=model, noise_scale=noise, micro_batch=micro_batch, pack="off")
        for noise in (False, True)
    )
    assert all(math.isnan(row.noise_scale) for row in off.rows)
    at = list(vars(on.rows[0])).index("noise_scale")
    without = [[row[:at] + row[at + 1 :] for row in one.numbers] for one in (off, on)]
    assert without[0] == without[1]
    contents = [torch.load(io.BytesIO(one.checkpoints[-1]), weights_only=True) for one in (off, on)]
    assert [content.pop("noise").get("measurements") for content in contents] == [None, 2]
    assert same(*contents)


def test_resumed_it_goes_on_from_its_averages(train: Train) -> None:
    hyperparameters = Hyperparameters(lr=0.05, batch_size=8)
    whole = train(hyperparameters, epochs=5, noise_scale=True)
    resumed = train(hyperparameters, epochs=5, noise_scale=True, resume=whole.checkpoints[1])
    assert resumed.numbers == whole.numbers[2:]
    assert resumed.checkpoints[-1] == whole.checkpoints[-1]


def test_a_batch_too_small_to_halve_is_not_measured(train: Train) -> None:
    rows = train(Hyperparameters(lr=0.01, batch_size=2), epochs=1, noise_scale=True).rows
    assert math.isnan(rows[0].noise_scale)


def test_before_a_sweep_it_is_measured_at_two_states(clean_digits: Task) -> None:
    hyperparameters = Hyperparameters(lr=1e-3, batch_size=32, optimizer="adam")

    def measured(steps: int) -> tuple[float, float]:
        return measure_noise_scale(
            hyperparameters,
            TrainSettings(),
            Transfer(clean_digits, ModelSpec(name="cnn"), weights=None, seed=0),
            steps=steps,
            compute=ONE_THREAD,
        )

    first, second = measured(0), measured(30)
    assert second == measured(30)
    assert math.isfinite(first[0])
    assert math.isfinite(second[1])
    assert first[0] == first[1] == second[0]  # without a step, and before the first, it is the same network
    assert second[1] != pytest.approx(second[0], rel=0.1)
