"""The rehearsal, and the devices it may be asked to run on."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_trials import ONE_THREAD, SMALL_CNN, Train

from tlsweep.data import Task, load_task
from tlsweep.errors import ResourceError
from tlsweep.models import Weights
from tlsweep.models.plain import cnn, mlp
from tlsweep.models.starting_head import HeadUnfitError
from tlsweep.observer import Silence
from tlsweep.planning.heads import try_heads
from tlsweep.planning.rehearsal import Rehearsal, rehearse
from tlsweep.pretrained.features import KeptFeatures
from tlsweep.spec import Augment, Hyperparameters, ModelSpec, TrainSettings, load_spec
from tlsweep.sweep.prepare import prepare
from tlsweep.training import choose_device
from tlsweep.training.devices import lower_precision, uses_channels_last
from tlsweep.training.networks import new_network
from tlsweep.training.transfer import Transfer


def run(task: Task, hyperparameters: Hyperparameters, model: ModelSpec = SMALL_CNN, epochs: int = 4) -> Rehearsal:
    settings = TrainSettings(epochs=epochs)
    return rehearse(hyperparameters, settings, Transfer(task, model, weights=None, seed=1), ONE_THREAD)


@pytest.mark.parametrize("freeze", ["nothing", "gradual", "backbone"])
def test_it_tells_what_a_trial_takes(digits: Task, train: Train, freeze: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # By a clock that stands still while others have the processor.
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    hyperparameters = Hyperparameters(lr=0.05, batch_size=16, freeze=freeze)
    rehearsal, trial = run(digits, hyperparameters), train(hyperparameters, epochs=4)
    assert rehearsal.checkpoint_bytes == pytest.approx(len(trial.checkpoints[-1]), abs=256)
    assert rehearsal.device == "cpu"
    image = sum(row.train_seconds + row.wait_seconds for row in trial.rows[1:]) / (3 * digits.size("train"))
    assert image / 5 < rehearsal.seconds_per_training_image < image * 5
    assert 0 < rehearsal.seconds_per_validation_image < image * 5
    assert 0 < rehearsal.fastest <= 1 + 1e-9


def test_heads_on_kept_features_take_what_they_take_then(
    digits: Task, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    still = replace(digits, augment=Augment(crop="none", flip=False))
    hyperparameters = Hyperparameters(lr=0.05, batch_size=16, freeze="backbone")
    model = ModelSpec(name="cnn", args={"channels": [64, 64, 64]})
    weights = Weights.from_state_dict(new_network(Transfer(still, model, None, 9)).module.state_dict(), "elsewhere")
    transfer = Transfer(still, model, weights, 1)
    each = rehearse(hyperparameters, TrainSettings(), transfer, ONE_THREAD)
    once = rehearse(hyperparameters, TrainSettings(), transfer, ONE_THREAD, on_features=True)
    trial = train(hyperparameters, task=still, weights=weights, model=model, epochs=4, features=KeptFeatures(tmp_path))
    image = sum(row.train_seconds + row.wait_seconds for row in trial.rows[1:]) / (3 * still.size("train"))
    assert image / 5 < once.seconds_per_training_image < image * 5
    assert once.seconds_per_training_image < each.seconds_per_training_image / 2
    assert once.seconds_per_validation_image < each.seconds_per_validation_image / 2
    assert once.seconds_per_kept_image > once.seconds_per_validation_image
    assert each.seconds_per_kept_image == 0
    assert once.checkpoint_bytes == each.checkpoint_bytes


def test_it_counts_parameters(digits: Task) -> None:
    linear = ModelSpec(name="mlp", args={"hidden": []})
    assert run(digits, Hyperparameters(), linear).parameters == 64 * 10 + 10


def test_it_leaves_no_trace(digits: Task) -> None:
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    run(digits, Hyperparameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads


def test_memory_too_small_is_one_message(digits: Task) -> None:
    for phase, what in (("forward", "training"), ("evaluation", "evaluation")):
        model = ModelSpec(name="training_networks:limited", args={phase: 0})
        with pytest.raises(ResourceError, match=rf"^{what}: the memory of cpu .+ a single image of 8x8 pixels"):
            run(digits, Hyperparameters(batch_size=2), model)


def test_it_divides_what_does_not_fit_as_a_trial_would(digits: Task) -> None:
    model = ModelSpec(name="training_networks:limited", args={"forward": 8, "backward": 4, "evaluation": 16})
    rehearsal = run(digits, Hyperparameters(batch_size=32), model)
    assert rehearsal.seconds_per_training_image > 0
    assert rehearsal.checkpoint_bytes > 4 * rehearsal.parameters


def test_batches_too_large_to_be_made_are_one_message(digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("tlsweep.data.augmentation.changing.Changer._normalised", exhausted)
    with pytest.raises(ResourceError, match=r"batch_size 32 with images of 8 pixels .+; lower train.batch_size"):
        run(digits, Hyperparameters(batch_size=32))


def test_auto_is_a_device_that_is_there() -> None:
    assert torch.zeros(1, device=choose_device("auto")).device.type == choose_device("auto").partition(":")[0]
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cuda:x", ""])
def test_a_device_that_is_not_there_is_one_message(device: str) -> None:
    with pytest.raises(ResourceError, match=f"device '{device}' is not on this machine, which has .*cpu"):
        choose_device(device)


def test_automatic_settings_are_plain_on_a_cpu() -> None:
    assert lower_precision(TrainSettings(), "cpu") is None
    assert lower_precision(TrainSettings(precision="bf16"), "cpu") is torch.bfloat16
    convolutional, dense = cnn(10, 1, 8), mlp(10, 1, 8)
    assert uses_channels_last(convolutional, "cpu")
    assert uses_channels_last(convolutional, "cuda:0")
    assert not uses_channels_last(convolutional, "mps")
    assert not uses_channels_last(dense, "cpu")
    assert not uses_channels_last(convolutional, "cuda:0", wanted=False)
    assert uses_channels_last(dense, "cpu", wanted=True)


SOURCE = "model.weights={data: {source: digits, domain: source}, epochs: 1}"


@pytest.mark.parametrize(
    ("overrides", "said", "fits"),
    [
        (["model.weights=none"], "torch's own initialisation, as there are no weights", True),
        (["model.weights=none", "train.head=zero"], "zeros, as train.head says", True),
        ([SOURCE], "the probe's solution, as there are weights", True),
        ([SOURCE, "data.folds=3"], "the probe's solution, as there are weights", True),
        ([SOURCE, "model.name=training_networks:own_head", "model.args={kind: normed}"], "no plain matrix", False),
        ([SOURCE, "model.name=training_networks:behind_head", "model.args={kind: scaled}"], "no longer linear", False),
    ],
)
def test_it_tries_what_the_head_begins_with_on_a_few_images(
    overrides: list[str], said: str, fits: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TLSWEEP_CACHE", str(tmp_path))
    monkeypatch.setattr("tlsweep.pretrained.starting._probe", None)  # nothing is solved
    base = ["model.name=mlp", "model.args={hidden: [8]}", "controls=[]"]
    spec = load_spec("digits", [*base, *overrides])
    prepared = prepare(spec, load_task(spec.data, 0), Silence())
    (line,) = try_heads(spec, prepared, ONE_THREAD)
    assert said in line
    if not fits:
        named = load_spec("digits", [*base, *overrides, "train.head=probe"])
        with pytest.raises(HeadUnfitError, match=f"train.head = probe: .*{said}.*; write train.head: random"):
            try_heads(named, prepared, ONE_THREAD)
        with pytest.raises(HeadUnfitError, match=f"controls: probe has no result, .*{said}.*; take it out"):
            try_heads(load_spec("digits", [*base, *overrides, "controls=probe"]), prepared, ONE_THREAD)
