"""What training minimises, against torch's own losses and the papers' formulas."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from training_trials import same_checkpoint

from tlsweep.data import Task
from tlsweep.spec import Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training import Transfer
from tlsweep.training.devices import Compute
from tlsweep.training.figures import means
from tlsweep.training.optimization.losses import Loss
from tlsweep.training.trainer import Trainer

NO_DROPOUT = ModelSpec(name="cnn", args={"channels": [8, 8], "dense": [16]})
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(12, 5, generator=GENERATOR, dtype=torch.float64)
INDICES = torch.arange(12) % 5
PROBABILITIES = torch.rand(12, 5, generator=GENERATOR, dtype=torch.float64).softmax(1)
WEIGHTS = torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0], dtype=torch.float64)
SMOOTHINGS = [0.0, 0.1]


def one_hot(indices: Tensor) -> Tensor:
    return F.one_hot(indices, 5).double()


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_of_class_indices_it_is_torchs_cross_entropy_to_the_last_bit(smoothing: float, weights: Tensor | None) -> None:
    expected = F.cross_entropy(LOGITS, INDICES, weights, label_smoothing=smoothing)
    assert torch.equal(Loss(smoothing, 0.0, weights)(LOGITS, INDICES), expected)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("targets", [INDICES, PROBABILITIES], ids=["indices", "probabilities"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_it_is_the_formula_of_the_focal_loss(
    smoothing: float, gamma: float, targets: Tensor, weights: Tensor | None
) -> None:
    of_classes = targets if targets.is_floating_point() else one_hot(targets)
    w = torch.ones(5, dtype=torch.float64) if weights is None else weights
    p = LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True)
    terms = -w * (1 - p) ** gamma * ((1 - smoothing) * of_classes + smoothing / 5) * p.log()
    torch.testing.assert_close(Loss(smoothing, gamma, weights)(LOGITS, targets), terms.sum() / (of_classes @ w).sum())


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_an_image_of_one_class_is_the_same_as_index_and_as_probabilities(gamma: float) -> None:
    loss = Loss(0.1, gamma, WEIGHTS)
    torch.testing.assert_close(loss(LOGITS, INDICES), loss(LOGITS, one_hot(INDICES)))


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("targets", [INDICES, PROBABILITIES], ids=["indices", "probabilities"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_the_mean_over_a_batch_is_that_over_its_parts(gamma: float, targets: Tensor, weights: Tensor | None) -> None:
    loss = Loss(0.1, gamma, weights)
    parts = zip(LOGITS.tensor_split(5), targets.tensor_split(5), strict=True)
    divided = sum(loss(logits, some) * (loss.weight(some) / loss.weight(targets)) for logits, some in parts)
    torch.testing.assert_close(divided, loss(LOGITS, targets))


@pytest.mark.parametrize("gamma", [0.01, 0.5, 2.0])
def test_what_is_certain_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    Loss(focal_gamma=gamma)(logits, torch.tensor([0, 0])).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0].abs().max() == 0
    torch.testing.assert_close(logits.grad[1], torch.tensor([-0.5, 0.5]))


SETTINGS = [
    {"class_weights": {"0": 5, "7": 0.2}},
    {"class_weights": "balanced", "sampler": "balanced"},
    {"loss": "focal", "class_weights": {"0": 5}, "sampler": "balanced"},
]


def trainer(task: Task, settings: dict[str, object], micro_batch: int | None = None) -> Trainer:
    return Trainer(
        # One of them with images of several classes.
        Hyperparameters(lr=0.02, batch_size=24, label_smoothing=0.1, mixup=0.4 if "loss" in settings else 0),
        TrainSettings.model_validate({"epochs": 3, **settings}),
        Transfer(task, NO_DROPOUT, weights=None, seed=1),
        Compute(device="cpu", threads=1, micro_batch=micro_batch),
    )


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_trial_goes_on_from_a_checkpoint_as_if_it_had_never_ended(digits: Task, settings: dict[str, object]) -> None:
    ahead, later = trainer(digits, settings), trainer(digits, settings)
    ahead.train_epoch()
    later.restore(ahead.snapshot())
    assert ahead.train_epoch().loss == later.train_epoch().loss
    assert same_checkpoint(ahead.snapshot(), later.snapshot())


@pytest.mark.parametrize("settings", SETTINGS)
def test_validation_reports_plain_cross_entropy(digits: Task, settings: dict[str, object]) -> None:
    trial = trainer(digits, settings)
    images, labels = next(iter(trial.batches.evaluate("val", digits.size("val"))))
    loss = trial.evaluate("val").loss
    assert loss == pytest.approx(float(F.cross_entropy(trial.module(images).detach(), labels)), rel=1e-5)


@pytest.mark.parametrize("settings", [*SETTINGS, {}])
def test_the_loss_that_is_reported_does_not_depend_on_how_batches_are_divided(
    digits: Task, settings: dict[str, object]
) -> None:
    """Of the first step, in which the network is the same."""
    trials = [trainer(digits, settings, micro_batch) for micro_batch in (None, 5)]
    images, labels = next(iter(trials[0].batches.train(0, 24, 1)))
    figures = [means(trial.step_with(0.1, images, labels)) for trial in trials]
    assert figures[1] == pytest.approx(figures[0], rel=1e-5)
