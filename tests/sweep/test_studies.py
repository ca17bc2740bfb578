"""Arms and weights to choose from, from the decision to the network that is trained."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from referee_harness import Stage
from simulated_sweep import SimulatedSweep, assert_complete

from tlsweep.data import Task, load_task
from tlsweep.data.batches import Batches
from tlsweep.data.views import with_few_labels
from tlsweep.errors import DataError
from tlsweep.models import Network, Weights
from tlsweep.models.starting_head import HeadUnfitError, StartingHead
from tlsweep.observer import Silence
from tlsweep.spec import Hyperparameters, ModelSpec, SweepSpec, TrainSettings, load_spec
from tlsweep.store import SweepFolder
from tlsweep.store.starts import Start
from tlsweep.store.tables import rows_to_table
from tlsweep.sweep import trainable
from tlsweep.sweep.assignment import starting_values, trained_with, trial_seed
from tlsweep.sweep.environment import weights_hash
from tlsweep.sweep.heads import find_heads, starting_heads, starts
from tlsweep.sweep.prepare import check_batch_sizes, check_metric
from tlsweep.sweep.trainable import Shared
from tlsweep.sweep.winner.evaluating import HARD_IMAGES, Winner, _evaluate_arms, _prediction_rows
from tlsweep.training import evaluation, load_exported
from tlsweep.training.devices import Compute
from tlsweep.training.networks import new_network
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer

pytestmark = pytest.mark.usefixtures("instant_disk", "no_tables")

CHOICE = "model.weights={choice: [none, A, B]}"
PBT = ("search.strategy=pbt", "search.population=6", "search.quantile=0.5", "train.epochs=8")
STUDIES = "study={freeze: true, few_labels: [2, 5]}"
SMALL = ModelSpec(name="mlp", args={"hidden": [8]})


def test_all_arms_try_the_same_configurations_but_for_what_they_fix(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "model.weights=A", STUDIES)
    stage.start()
    for arm in stage.ledger.spec.arms:
        fixed = {"weights": "none" if "scratch" in arm else "A"}
        fixed |= {"freeze": arm.removeprefix("freeze-")} if arm.startswith("freeze") else {}
        for number in range(4):
            name = f"t000{number}"
            main, here = stage.placed[name], stage.placed[name if arm == "main" else f"{name}-{arm}"]
            assert here.hyperparameters == main.hyperparameters | fixed
            assert here.seed == main.seed


def test_a_copy_goes_on_from_the_weights_of_its_donor_and_they_never_mutate(tmp_path: Path) -> None:
    """Those of the donor when it made the checkpoint: it may be a copy of another one itself by now."""
    sweep = SimulatedSweep(tmp_path, CHOICE, *PBT)
    sweep.launch()
    weights: dict[tuple[str, int], str] = {}
    changed = 0
    for record in sweep.records():
        kind, details, member = record.get("kind"), record.get("details") or {}, (record["trial"], record["generation"])
        if kind == "created":
            weights[member] = details["hyperparameters"]["weights"]
        elif kind == "exploited":
            weights[member] = weights[details["donor"], details["donor_generation"]]
            assert details["hyperparameters"]["weights"] == weights[member]
            changed += weights[member] != weights[member[0], member[1] - 1]
        elif kind == "perturbed":
            assert "weights" not in details
        elif record["type"] == "report":
            assert record["weights"] == weights[member]
    assert changed


@pytest.mark.parametrize("search", [PBT[:2], ("search.strategy=asha",)])
def test_a_study_that_is_interrupted_decides_as_one_that_is_not(tmp_path: Path, search: tuple[str, ...]) -> None:
    overrides = (*search, "train.epochs=3", "model.weights={choice: [A, B]}", STUDIES)
    whole = SimulatedSweep(tmp_path / "whole", *overrides)
    whole.launch()
    stopped = SimulatedSweep(tmp_path / "stopped", *overrides)
    for steps in (5, 40, 90, None):
        stopped.launch(steps=steps)
    assert stopped.outcome() == whole.outcome()


@pytest.mark.parametrize("search", [PBT, ("search.strategy=asha",), ("search.strategy=random", "budget.epochs=5")])
def test_an_arm_without_trials_changes_nothing_of_the_others(tmp_path: Path, search: tuple[str, ...]) -> None:
    with_probe, without = (
        SimulatedSweep(tmp_path / str(len(controls)), "model.weights=A", *search, f"controls={controls}")
        for controls in ("[scratch, probe]", "[scratch]")
    )
    for sweep in (with_probe, without):
        sweep.launch(steps=7)
        sweep.launch()
        assert_complete(sweep)
    assert with_probe.history() == without.history()
    assert with_probe.outcome() == without.outcome()


# What a worker is given


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    data = load_spec("digits", ["data.labels_per_class=5"]).data
    return load_task(data, 0, cache=tmp_path_factory.mktemp("cache"))


def weights_of(task: Task, seed: int) -> Weights:
    state = new_network(Transfer(task, SMALL, weights=None, seed=seed)).module.state_dict()
    return Weights.from_state_dict(state, f"seed {seed}")


@pytest.fixture
def shared(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shared]:
    """What workers are given, without an object store."""
    there: dict[str, Any] = {"task": task, "A": weights_of(task, 10), "B": weights_of(task, 11), "none": None}
    monkeypatch.setattr(trainable, "fetch", there.get)
    spec = load_spec("digits", ["model={name: mlp, args: {hidden: [8]}}", CHOICE, STUDIES, "train.epochs=2"])
    references = {name: name for name in ("none", "A", "B")}
    trainable._with_labels.cache_clear()
    yield Shared(spec, tmp_path, "task", references, 0.0)
    trainable._with_labels.cache_clear()


def trainer(shared: Shared, arm: str, number: int, **values: Any) -> Trainer:
    """A trial as a worker builds it."""
    hyperparameters = starting_values(shared.spec, arm, number) | values
    return Trainer(
        trained_with(hyperparameters),
        TrainSettings(epochs=2),
        Transfer(
            shared.arm_task(arm),
            shared.spec.model,
            weights=shared.base_weights(arm, hyperparameters),
            seed=trial_seed(shared.spec, number),
        ),
        Compute(device="cpu"),
    )


def tensors(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.module.state_dict().items()}


@pytest.mark.parametrize("freeze", ["nothing", "backbone"])
def test_the_network_of_a_copy_is_its_donors_bit_for_bit(shared: Shared, freeze: str) -> None:
    """Also where a frozen backbone is not in the checkpoint: then it comes from the donor's weights."""
    donor = trainer(shared, "main", 0, weights="A", freeze=freeze)
    donor.train_epoch()
    expected, checkpoint = tensors(donor.network), donor.snapshot()

    def copied(weights: str) -> dict[str, torch.Tensor]:
        member = trainer(shared, "main", 1, weights=weights, freeze=freeze)
        member.restore(checkpoint)
        return tensors(member.network)

    assert all(torch.equal(tensor, expected[name]) for name, tensor in copied("A").items())
    wrong = [name for name, tensor in copied("B").items() if not torch.equal(tensor, expected[name])]
    assert bool(wrong) == (freeze == "backbone")  # with the member's own weights this would fail


def test_each_arm_starts_from_its_weights_and_sees_its_labels(shared: Shared, task: Task) -> None:
    seen = {arm: shared.arm_task(arm) for arm in shared.spec.arms}
    assert {arm: one.size("train") for arm, one in seen.items()} == {
        "main": 50, "scratch": 50, "labels-2": 20, "labels-2-scratch": 20, "freeze-backbone": 50, "freeze-gradual": 50,
    }  # fmt: skip
    assert all(one.images is task.images for one in seen.values())
    assert seen["labels-2"].fingerprint == with_few_labels(task, 2, shared.spec.seed).fingerprint
    assert shared.base_weights("main", {"weights": "B"}).origin == "seed 11"
    assert shared.base_weights("labels-2-scratch", starting_values(shared.spec, "labels-2-scratch", 0)) is None
    assert shared.base_weights("scratch", {}) is None  # of a journal that an earlier version wrote


def test_each_arm_begins_with_the_head_of_its_weights_and_labels(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[tuple[str, int | None], tuple[StartingHead, ...]] = {}
    for arm, name in (("main", "A"), ("main", "B"), ("labels-2", "A")):
        found[shared.beginning(arm, {"weights": name})] = find_heads(shared, arm, name, progress=print).heads
    assert len({float(heads[0].tensors["bias"].sum()) for heads in found.values()}) == 3
    there = replace(shared, heads={key: key for key in found})
    weights = {name: trainable.fetch(name) for name in ("A", "B", "task")}
    monkeypatch.setattr(trainable, "fetch", (found | weights).get)
    assert there.transfer("main", {"weights": "B"}, 3).heads == found["B", None]
    assert there.transfer("freeze-backbone", {"weights": "A"}, 3).heads == found["A", None]
    assert there.transfer("labels-2", {"weights": "A"}, 3).heads == found["A", 2]
    assert there.transfer("scratch", {}, 3).heads == there.transfer("labels-2-scratch", {}, 3).heads == ()


def test_a_sweep_that_goes_on_begins_with_the_heads_that_it_began_with(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever another version of torch or scikit-learn would make of them."""
    monkeypatch.setattr("ray.put", lambda heads: heads)
    found: list[str] = []

    def here(function: Any, spec: SweepSpec, cluster: Any, there: Shared, arm: str, name: str, **options: Any) -> Any:
        found.append(name)
        return function(there, arm, name, **options)

    monkeypatch.setattr("tlsweep.sweep.heads.telling_where_trials_run", here)
    weights = {name: trainable.fetch(name) for name in ("none", "A", "B")}
    cluster: Any = None

    def begin() -> Any:
        return starting_heads(shared, weights, cluster, Silence())

    first, words = begin()
    assert found == ["A", "B"] * 2  # with all labels, and with two of each class
    again, same = begin()
    assert len(found) == 4
    assert {name: one.in_words for name, one in same.items()} == {name: one.in_words for name, one in words.items()}
    assert again.keys() == first.keys()
    for key, (head,) in first.items():
        assert head.validation == again[key][0].validation
        assert all(np.array_equal(array, again[key][0].tensors[name]) for name, array in head.tensors.items())
    file = SweepFolder(shared.folder).heads
    assert isinstance(file, Path)
    file.write_bytes(file.read_bytes()[:-9])
    begin()
    assert len(found) == 8
    other = replace(shared.transfer("main", {"weights": "A"}, 0), model=ModelSpec(name="mlp", args={"hidden": [9]}))
    with pytest.raises(HeadUnfitError, match="is of another network"):
        new_network(replace(other, weights=None, heads=first["A", None]))


def test_predictions_are_those_of_the_checkpoint_that_won(shared: Shared, task: Task) -> None:
    """The accuracy that they give is the one that was written down; the probability is that of the softmax."""
    candidates = {}
    for arm in ("main", "labels-2-scratch"):
        one = trainer(shared, arm, 0, weights="A" if arm == "main" else "none")
        one.train_epoch()
        content = one.snapshot()
        digest = sha256(content).hexdigest()
        path = SweepFolder(shared.folder).checkpoint(f"t0000-{arm}", 0, 1, digest)
        (shared.folder / path).parent.mkdir(parents=True)
        (shared.folder / path).write_bytes(content)
        values = starting_values(shared.spec, arm, 0) | {"weights": "A" if arm == "main" else "none"}
        candidates[arm] = [Winner(arm, f"t0000-{arm}", 0, (path, digest, 1), values, {})]
    for arm, tested in _evaluate_arms(candidates, shared).items():
        frame = rows_to_table("predictions", list(_prediction_rows("s", arm, tested))).to_pandas()
        assert frame.image.tolist() == task.splits["test"].tolist()
        assert (frame.label == frame.predicted).mean() == pytest.approx(tested.figures["accuracy"])
        assert set(frame.trial) == {f"t0000-{arm}"}
        assert frame.probability.between(1 / task.num_classes, 1).all()
        assert np.array_equal(frame.label, [task.classes[task.labels[at]] for at in frame.image])
        right = frame.label == frame.predicted
        assert (frame.label_probability[right] == frame.probability[right]).all()
        assert (frame.label_probability[~right] < frame.probability[~right]).all()
        assert bool(tested.hard_images) == (arm == "main")
    hard = pd.DataFrame(_evaluate_arms({"main": candidates["main"]}, shared)["main"].hard_images)
    assert hard.label_probability.is_monotonic_increasing
    assert len(hard) == min(HARD_IMAGES, task.size("train") + task.size("val"))
    for split, rows in hard.groupby("split"):
        assert set(rows.image) <= set(task.splits[str(split)].tolist())
    assert SweepFolder(shared.folder).best.exists()


def test_what_trials_begin_with_is_tested_and_exported_as_it_is(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = find_heads(shared, "main", "B", progress=print).heads
    key = shared.beginning("main", {"weights": "B"})
    fetched = trainable.fetch
    monkeypatch.setattr(trainable, "fetch", lambda name: heads if name == "heads" else fetched(name))
    there = replace(shared, heads={key: "heads"})
    start = Start("B", starts(there)["main"]["B"])
    assert start.figures["val_accuracy"] == heads[0].validation["accuracy"]
    tested = _evaluate_arms({"main": [Winner.untrained("main", start)]}, there)["main"]
    network = new_network(there.transfer("main", {"weights": "B"}, 5))  # all trials begin with the same
    module, info = load_exported(SweepFolder(shared.folder).best)
    images, labels = next(iter(Batches(there.transfer("main", {"weights": "B"}, 5).task).evaluate("test", 1000)))
    with torch.inference_mode():
        assert torch.equal(module(images), network.module.eval()(images))
        right = module(images).argmax(1) == labels
    assert tested.figures["accuracy"] == pytest.approx(right.double().mean())
    assert info.metrics["trial"] == tested.trial == "start"
    assert info.metrics["validation"] == start.figures


# What is checked before


def spec_with(*overrides: str) -> SweepSpec:
    return load_spec("digits", ["train.batch_size={powers_of_two: [8, 32]}", *overrides])


def test_no_batch_is_larger_than_the_smallest_arms_training_split(task: Task) -> None:
    check_batch_sizes(spec_with(), task)
    with pytest.raises(DataError, match=r"batch_size = 32: with 2 labels a class .* only 20 images"):
        check_batch_sizes(spec_with("study.few_labels=[2, 5]"), task)
    check_batch_sizes(spec_with("study.few_labels=[4, 5]"), task)


def test_a_metric_that_tells_nothing_of_these_images_is_refused(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    for metric in ("val_top5", "val_auroc"):
        check_metric(spec_with(f"search.metric={metric}"), task)
    few = replace(task, labels=task.labels % 5, classes=task.classes[:5])
    with pytest.raises(DataError, match="val_top5: must have six classes or more, as with 5 every trial"):
        check_metric(spec_with("search.metric=val_top5"), few)
    monkeypatch.setattr(evaluation, "PROBABILITIES", 100)
    with pytest.raises(DataError, match="val_auroc: must have at most 100 validation images × classes"):
        check_metric(spec_with("search.metric=val_auroc"), task)


def test_a_choice_of_weights_is_known_by_all_of_them(task: Task) -> None:
    one, other = weights_of(task, 10), weights_of(task, 11)
    assert weights_hash({"A": one}) == one.sha256
    assert weights_hash({"none": None}) is None
    hashes = {weights_hash(some) for some in ({"A": one, "B": other}, {"A": other, "B": one}, {"A": one, "none": None})}
    assert len(hashes) == 3


def test_hyperparameters_of_a_trial_are_those_of_the_fine_tuning_function() -> None:
    values = Hyperparameters(lr=0.5).model_dump() | {"weights": "A"}
    assert trained_with(values) == Hyperparameters(lr=0.5)
    assert trained_with({"lr": 0.5}) == Hyperparameters(lr=0.5)  # of a journal that an earlier version wrote
