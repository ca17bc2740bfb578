"""What a new head begins with: the probe's own logits in every family of networks, once for all, of training images."""

import threading
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm_families import LARGE as LARGE_OF_TIMM
from timm_families import SMALL
from training_trials import ONE_THREAD, SMALL_CNN, Train

from tlsweep.data import Task, load_task
from tlsweep.data.batches import Batches
from tlsweep.data.views import with_few_labels
from tlsweep.errors import ModelError, SpecError
from tlsweep.models import Weights
from tlsweep.models.probe import as_linear_head, fitted, linear_probe
from tlsweep.models.starting_head import HeadUnfitError, has_bias, head_of, same_logits
from tlsweep.pretrained import starting as starting_module
from tlsweep.pretrained.features import features
from tlsweep.pretrained.starting import beginning, begins_with, started
from tlsweep.spec import DigitsData, Hyperparameters, ModelSpec, TrainSettings, load_spec
from tlsweep.spec.loading import StoredSpec
from tlsweep.training import Transfer, evaluate_checkpoint
from tlsweep.training.networks import new_network

PROBE, ZERO = TrainSettings(head="probe"), TrainSettings(head="zero")


@cache
def plain_digits() -> Task:
    return load_task(DigitsData(source="digits"), 0)


def colour(side: int) -> Task:
    """Noise in three classes: a training and a validation image of each."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, side, side, 3), dtype=np.uint8)
    splits = {"train": np.arange(3), "val": np.arange(3, 6), "test": np.arange(3, 6)}
    return replace(
        plain_digits(), images=pixels, labels=np.arange(6) % 3, splits=splits,
        classes=("a", "b", "c"), mean=(0.5,) * 3, std=(0.3,) * 3, image_size=side, normalize="train",
        fingerprint=f"noise {side}", moments=np.zeros((6, 2, 3), np.int64),
    )  # fmt: skip


def pretrained(task: Task, model: ModelSpec) -> Weights:
    """Random weights as if they had been found somewhere; nothing is spent on their hash."""
    state = new_network(Transfer(task, model, None, 9)).module.state_dict()
    return Weights({name: tensor.numpy() for name, tensor in state.items()}, "elsewhere", f"{model.name}")


def logits(transfer: Transfer, split: str = "val") -> torch.Tensor:
    module = new_network(transfer).module.eval()
    with torch.inference_mode():
        return torch.cat([module(images) for images, _ in Batches(transfer.task).evaluate(split, 64)])


def centred(values: torch.Tensor) -> torch.Tensor:
    return values - values.mean(1, keepdim=True)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_a_fitted_probe_is_a_linear_layer(classes: int, bias: bool) -> None:
    rng = np.random.default_rng(classes)
    labels = np.arange(60) % classes
    found = rng.normal(size=(60, 9)) * np.arange(1, 10) + labels[:, None] + 5
    found[:, 3] = 2.0  # a feature that never varies
    probe = fitted(found, labels, bias=bias)
    head = as_linear_head(probe)
    made, expected = found @ head.weight.T + head.bias, probe.decision_function(found)
    made = made[:, 1] - made[:, 0] if classes == 2 else made
    assert np.abs(made - expected).max() < 1e-4
    assert bias or not head.bias.any()
    plain = make_pipeline(StandardScaler(with_mean=bias), LogisticRegression(C=probe[-1].C, fit_intercept=bias))
    assert np.allclose(plain.fit(found, labels).decision_function(found), expected, atol=1e-2)


LARGE = ("alexnet", "maxvit_t", "vgg11_bn", "vit_b_32")


SIDES = {"inception_v3": 80, "maxvit_t": 224, "vit_b_32": 224, "alexnet": 64}
HEADS = {
    "beit_base_patch16_224": "a norm of the mean (fc_norm)", "cait_xxs24_224": "a class token of its own blocks",
    "convit_tiny": "a linear layer", "crossvit_tiny_240": "two, of features of two scales",
    "deit_tiny_distilled_patch16_224": "two, of two tokens", "dla46x_c": "a convolution, flattened behind it",
    "inception_next_atto": "an MLP with a norm",
    "levit_128s": "two, each with a norm",
    "naflexvit_base_patch16_gap": "a mean of tokens", "pit_ti_distilled_224": "two, of a sequence",
    "poolformerv2_s12": "a norm of a map", "repvit_m0_9": "two, within one module",
    "resnetv2_18": "a convolution of a pooled map",
    "test_byobnet": "pool and linear", "test_convnext": "pool, norm and linear (NormMlp)",
    "test_efficientnet": "a convolution before it", "mambaout_femto": "pool, norm, MLP, linear (ClNormMlp)",
    "volo_d1_224": "without the auxiliary one", "xcit_nano_12_p8_224": "attention of the class token",
}  # fmt: skip
"""Families of timm's networks with heads of all kinds."""
NEEDS_TIMM = pytest.mark.skipif(find_spec("timm") is None, reason="needs timm, which is an extra")


@pytest.mark.parametrize(
    ("name", "args", "side"),
    [
        *(
            pytest.param(name, {}, SIDES.get(name, 40), id=name, marks=pytest.mark.slow if name in LARGE else ())
            for name in sorted(FAMILIES)
        ),
        *(
            pytest.param(
                f"timm/{name}",
                *(SMALL | LARGE_OF_TIMM)[name],
                id=name,
                marks=[NEEDS_TIMM, *([pytest.mark.slow] if name in LARGE_OF_TIMM else [])],
            )
            for name in HEADS
        ),
    ],
)
def test_every_family_begins_with_the_logits_of_the_probe(name: str, args: dict[str, Any], side: int) -> None:
    task, model = colour(side), ModelSpec(name=name, args=args)
    transfer = Transfer(task, model, pretrained(task, model), 3)
    train, labels = features(transfer, "train", compute=ONE_THREAD)
    val, _ = features(transfer, "val", compute=ONE_THREAD)
    bias = has_bias(new_network(transfer))  # MaxViT has none
    head = as_linear_head(fitted(train.astype(np.float64), labels, bias=bias))
    expected = torch.from_numpy(val @ head.weight.T + head.bias)
    # What float32 makes of features that are large beside their differences, as those of random networks are.
    tolerance = 1e-4 + 1e-5 * float((np.abs(val) @ np.abs(head.weight).T).max())
    begun = started(transfer, PROBE, compute=ONE_THREAD)
    assert torch.allclose(centred(logits(begun)), centred(expected), atol=tolerance)
    zero = started(transfer, ZERO, compute=ONE_THREAD)
    assert centred(logits(zero)).abs().max() < 1e-6
    learns(zero)


@NEEDS_TIMM
def test_heads_that_count_differently_begin_with_torch_s() -> None:
    args, side = SMALL["efficientvim_m1"]
    task, model = colour(side), ModelSpec(name="timm/efficientvim_m1", args=args)
    even = pretrained(task, model)
    learnt = replace(even, tensors={**even.tensors, "weights": np.arange(4, dtype=np.float32)})
    assert started(Transfer(task, model, learnt, 3), TrainSettings(), compute=ONE_THREAD).heads == ()
    with pytest.raises(HeadUnfitError, match=r"no longer linear .*heads.0..heads.1.*; write train.head: random"):
        started(Transfer(task, model, learnt, 3), PROBE, compute=ONE_THREAD)


def learns(transfer: Transfer) -> None:
    """The head has a gradient."""
    network = new_network(transfer)
    images, labels = next(iter(Batches(transfer.task).evaluate("train", 2)))
    torch.nn.functional.cross_entropy(network.module.eval()(images), labels).backward()  # type: ignore[no-untyped-call]
    assert any(bool(parameter.grad.any()) for parameter in head_of(network).parameters() if parameter.grad is not None)


@pytest.fixture(scope="module")
def weights(digits: Task) -> Weights:
    return pretrained(digits, SMALL_CNN)


def test_a_trial_begins_at_the_accuracy_of_the_probe(digits: Task, weights: Weights, train: Train) -> None:
    transfer = Transfer(digits, SMALL_CNN, weights, 1)
    found = [array for split in ("train", "val") for array in features(transfer, split, compute=ONE_THREAD)]
    accuracy, _ = linear_probe(found[0].astype(np.float64), *found[1:])
    begun = started(transfer, TrainSettings(), compute=ONE_THREAD)
    assert begun.heads[0].validation["accuracy"] == accuracy
    assert accuracy > 0.3
    wrong = digits.labels[digits.splits["val"]] != logits(begun).argmax(1).numpy()
    assert 1 - wrong.mean() == accuracy
    still = train(Hyperparameters(lr=1e-30), weights=weights, heads=begun.heads, epochs=1)
    assert still.rows[0].val_accuracy == pytest.approx(accuracy, abs=1e-9)


def test_all_trials_begin_at_one_point_and_go_on_bit_for_bit(digits: Task, weights: Weights, train: Train) -> None:
    one, other = (started(Transfer(digits, SMALL_CNN, weights, seed), PROBE, compute=ONE_THREAD) for seed in (1, 2))
    assert torch.equal(logits(one), logits(other))
    whole = train(weights=weights, heads=one.heads)
    again = train(weights=weights, heads=one.heads, resume=whole.checkpoints[0])
    assert again.numbers == whole.numbers[1:]
    # A checkpoint holds the head: what goes on from it needs no other one, and an evaluation none.
    assert train(weights=weights, resume=whole.checkpoints[0]).numbers == again.numbers
    alone = evaluate_checkpoint(
        whole.checkpoints[-1], Transfer(digits, SMALL_CNN, weights, 1), split="val", compute=ONE_THREAD
    )
    assert alone.loss == whole.rows[-1].val_loss


def test_each_fold_begins_with_the_probe_of_its_own_training_images(tmp_path: Path) -> None:
    task = load_task(DigitsData(source="digits", folds=3, labels_per_class=5), 0, cache=tmp_path)
    transfer = Transfer(task, SMALL_CNN, pretrained(task, SMALL_CNN), 1)
    begun = started(transfer, PROBE, compute=ONE_THREAD)
    assert len(begun.heads) == 3
    for run, whole in zip(begun.runs(), transfer.runs(), strict=True):
        (alone,) = started(whole, PROBE, compute=ONE_THREAD).heads
        assert np.array_equal(alone.tensors["weight"], run.heads[0].tensors["weight"])
        # Other labels of what validates it change nothing but the figures.
        val = whole.task.splits["val"]
        labels = whole.task.labels.copy()
        labels[val] = (labels[val] + 1) % 10
        (blind,) = started(replace(whole, task=replace(whole.task, labels=labels)), PROBE, compute=ONE_THREAD).heads
        assert np.array_equal(alone.tensors["weight"], blind.tensors["weight"])
        assert blind.validation != alone.validation


def test_progress_is_told_from_the_first_image_to_the_last_regression(digits: Task, tmp_path: Path) -> None:
    task = load_task(DigitsData(source="digits", folds=3, labels_per_class=5), 0, cache=tmp_path)
    told: list[tuple[int, int]] = []
    transfer = Transfer(task, SMALL_CNN, pretrained(task, SMALL_CNN), 1)
    started(transfer, PROBE, compute=ONE_THREAD, progress=lambda *now: told.append(now))
    assert told == sorted(told)
    assert {total for _, total in told} == {300}
    for run in range(3):  # of each half for the features, then for each regression of the cross-validation
        own = [done - 100 * run for done, _ in told if 100 * run < done <= 100 * (run + 1)]
        assert own[0] == 50
        assert len(own) > 10
        assert max(own) > 90


def test_it_is_solved_once_for_each_thing_that_changes_it(
    digits: Task, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved: list[Transfer] = []
    solve = starting_module._solved

    def counted(run: Transfer, *rest: Any) -> Any:
        solved.append(run)
        return solve(run, *rest)

    monkeypatch.setattr(starting_module, "_solved", counted)
    transfer = Transfer(digits, SMALL_CNN, weights, 1)

    def begin(what: Transfer = transfer) -> Any:
        return started(what, PROBE, cache=tmp_path, compute=ONE_THREAD).heads[0]

    both = [threading.Thread(target=begin) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(solved) == 1
    first = begin(replace(transfer, seed=2))
    assert len(solved) == 1
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-50])
    again = begin()
    assert len(solved) == 2
    assert np.array_equal(first.tensors["weight"], again.tensors["weight"])
    assert first.validation == again.validation
    begin(replace(transfer, task=with_few_labels(digits, 2, 0)))
    begin(replace(transfer, task=replace(digits, mean=(0.9,))))
    begin(replace(transfer, weights=replace(weights, sha256="other")))
    assert len(solved) == 5


@pytest.mark.parametrize(("kind", "linear"), [("scaled", False), ("lifted", True)])
def test_networks_of_one_s_own_begin_so_where_they_are_linear_in_their_features(
    digits: Task, kind: str, linear: bool
) -> None:
    model = ModelSpec(name="training_networks:behind_head", args={"kind": kind})
    transfer = Transfer(digits, model, pretrained(digits, model), 1)
    begun = started(transfer, TrainSettings(), compute=ONE_THREAD)
    assert bool(begun.heads) == linear
    assert ("no longer linear" in beginning(transfer, TrainSettings(), compute=ONE_THREAD).why) != linear
    if not linear:
        with pytest.raises(ModelError, match=r"train.head = probe: .* no longer linear .*; write train.head: random"):
            started(transfer, PROBE, compute=ONE_THREAD)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("weights", "without calling it"),
        ("named", "without calling it"),
        ("twice", "vectors for"),
        ("normed", "no plain matrix"),
    ],
)
def test_networks_of_one_s_own_that_use_their_head_otherwise_begin_with_torch_s(
    digits: Task, kind: str, reason: str
) -> None:
    model = ModelSpec(name="training_networks:own_head", args={"kind": kind})
    few = with_few_labels(digits, 1, 0)
    transfer = Transfer(few, model, pretrained(few, model), 1)
    assert started(transfer, TrainSettings(), compute=ONE_THREAD).heads == ()
    with pytest.raises(HeadUnfitError, match=rf"train.head = probe: .*{reason}.*; write train.head: random"):
        started(transfer, PROBE, compute=ONE_THREAD)


def test_a_normalised_head_cannot_begin_with_zeros(digits: Task) -> None:
    model = ModelSpec(name="training_networks:own_head", args={"kind": "normed"})
    with pytest.raises(HeadUnfitError, match=r"train.head = zero: .* cannot be 0; write train.head: random"):
        started(Transfer(digits, model, None, 1), ZERO, compute=ONE_THREAD)


def test_logits_are_compared_where_float64_exists() -> None:
    class AppleTensor(torch.Tensor):
        def cpu(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            return self.as_subclass(torch.Tensor)

        def double(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            raise TypeError("the MPS framework doesn't support float64")

    values = torch.arange(6.0).view(2, 3).as_subclass(AppleTensor)
    assert same_logits(values, values + 7)
    assert not same_logits(values, values * 2)


def test_grey_images_and_a_relu_behind_the_head_and_random_weights(digits: Task) -> None:
    assert begins_with(TrainSettings(), None) == begins_with(PROBE, None)
    assert begins_with(PROBE, None).in_words == "torch's own initialisation, as there are no weights"
    assert begins_with(ZERO, None).how == "zero"
    assert started(Transfer(digits, SMALL_CNN, None, 1), PROBE).heads == ()
    squeezenet = ModelSpec(name="squeezenet1_1")
    large = replace(digits, image_size=32, images=digits.images.repeat(4, 1).repeat(4, 2))
    transfer = Transfer(large, squeezenet, pretrained(large, squeezenet), 1)
    begun = started(transfer, TrainSettings(), compute=ONE_THREAD)
    found, labels = features(transfer, "train", compute=ONE_THREAD)
    head = as_linear_head(fitted(found.astype(np.float64), labels))
    expected = torch.from_numpy(found @ head.weight.T + head.bias)
    assert expected.min() < 0  # which its ReLU would lose
    assert torch.allclose(centred(logits(begun, "train")), centred(expected), atol=1e-2)


def test_a_spec_says_which_head_and_one_of_an_earlier_version_means_torch_s() -> None:
    spec = {"data": {"source": "digits"}, "search": {"strategy": "random"}}
    assert load_spec(spec).train.settings().head == "auto"
    assert load_spec(StoredSpec(spec | {"train": {"epochs": 3}})).train.settings().head == "random"
    assert load_spec(StoredSpec(spec | {"train": {"head": "zero"}})).train.settings().head == "zero"
    with pytest.raises(
        SpecError, match=r"train.head: probe solves for the features of model.weights, but they are none"
    ):
        load_spec(spec | {"train": {"head": "probe"}})
