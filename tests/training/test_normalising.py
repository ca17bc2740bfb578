"""What images are normalised by: the weights' own statistics, the training split's, or the spec's, everywhere alike."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import folder_data, write_folder
from safetensors.torch import save_file
from training_trials import SMALL_CNN, Train

from tlsweep.data import Task, load_task
from tlsweep.data.views import run_tasks, with_few_labels
from tlsweep.errors import DataError, ModelError
from tlsweep.models import Weights, resolve_weights
from tlsweep.models.statistics import Statistics, exported_statistics
from tlsweep.observer import Silence
from tlsweep.planning import make_plan
from tlsweep.pretrained.features import features
from tlsweep.pretrained.pretraining import source_statistics
from tlsweep.spec import DigitsData, ModelSpec, Normalisation, load_spec
from tlsweep.spec.loading import StoredSpec
from tlsweep.spec.recipe import recipe_spec
from tlsweep.sweep.prepare import prepare
from tlsweep.training import Compute, Transfer, export_model, load_exported
from tlsweep.training.networks import new_network
from tlsweep.training.normalising import normalisation_in_words, normalised_for

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OTHERS = Statistics((0.9,), (0.05,), "as the source task's images were")
GIVEN = Normalisation(mean=OTHERS.mean, std=OTHERS.std)


@pytest.fixture
def weights(digits: Task) -> Weights:
    state = new_network(Transfer(digits, SMALL_CNN, None, 9)).module.state_dict()
    return Weights.from_state_dict(state, "elsewhere", OTHERS)


def test_a_trial_sees_images_as_its_weights_expect_them(digits: Task, train: Train, weights: Weights) -> None:
    own, given = replace(digits, normalize="train"), replace(digits, normalize=GIVEN, mean=GIVEN.mean, std=GIVEN.std)
    unknown = replace(weights, statistics=None)
    expected = train(task=given, weights=unknown, epochs=1)
    assert train(task=digits, weights=weights, epochs=1).numbers == expected.numbers
    plain = train(task=own, weights=unknown, epochs=1)
    assert plain.numbers != expected.numbers
    assert train(task=own, weights=weights, epochs=1).numbers == plain.numbers
    assert train(task=digits, weights=unknown, epochs=1).numbers == plain.numbers
    assert train(task=digits, epochs=1).numbers == train(task=own, epochs=1).numbers  # random weights


def test_features_and_export_have_the_same(digits: Task, train: Train, weights: Weights, tmp_path: Path) -> None:
    options = {"compute": Compute("cpu", 1), "cache": tmp_path}
    found = features(Transfer(digits, SMALL_CNN, weights, 1), "val", **options)[0]
    given = replace(digits, normalize=GIVEN, mean=GIVEN.mean, std=GIVEN.std)
    assert np.array_equal(
        found, features(Transfer(given, SMALL_CNN, replace(weights, statistics=None), 1), "val", **options)[0]
    )
    assert not np.array_equal(
        found, features(Transfer(replace(digits, normalize="train"), SMALL_CNN, weights, 1), "val", **options)[0]
    )
    checkpoint = train(task=digits, weights=weights, epochs=1).checkpoints[-1]
    export_model(tmp_path / "best", checkpoint, Transfer(digits, SMALL_CNN, weights, 1), metrics={})
    written = json.loads((tmp_path / "best" / "preprocessing.json").read_text())
    assert (written["mean"], written["std"]) == ([0.9], [0.05])
    assert load_exported(tmp_path / "best")[1].preprocessing["mean"] == [0.9]


def test_weights_of_torchvision_networks_have_imagenet_s_and_others_say_nothing(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pth")
    found = resolve_weights(ModelSpec(name="squeezenet1_1", weights=str(tmp_path / "w.pth")))
    assert found is not None
    assert found.statistics is not None
    assert (found.statistics.mean, found.statistics.std) == IMAGENET
    assert "squeezenet1_1, which the file fits" in found.statistics.reason
    own = resolve_weights(ModelSpec(name="cnn", weights=str(tmp_path / "w.pth")))
    assert own is not None
    assert own.statistics is None


NUMBERS = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}


@pytest.mark.parametrize("name", ["squeezenet1_1", "cnn"])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_file_beside_its_export_s_preprocessing_has_what_that_says(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / f"model.{kind}"
    (save_file if kind == "safetensors" else torch.save)({"a": torch.ones(1)}, path)
    (tmp_path / "preprocessing.json").write_text(json.dumps(NUMBERS | {"channels": 3}))
    found = resolve_weights(ModelSpec(name=name, weights=str(path)))
    assert found is not None
    assert found.statistics == Statistics(
        (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "as the preprocessing.json beside the file says"
    )


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{}", "[" * 9999, "\xff", *(json.dumps(NUMBERS | other) for other in (
        {"mean": None}, {"mean": [0.1]}, {"std": [0.1, 0.2, 0]}, {"mean": [123, 117, 104]}, {"std": [float("nan")] * 3},
    ))],
)  # fmt: skip
def test_a_file_of_that_name_by_others_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "preprocessing.json").write_bytes(content.encode("latin-1"))
    assert exported_statistics(tmp_path / "model.safetensors") is None


def test_a_source_task_hands_its_own_on(clean_digits: Task, digits: Task) -> None:
    statistics = source_statistics(clean_digits)
    seen = normalised_for(digits, statistics)
    assert (seen.mean, seen.std) == (clean_digits.mean, clean_digits.std)
    assert "as the source task's images were" in normalisation_in_words(digits, statistics)


def test_grey_images_have_the_mean_of_the_colours_and_colours_thrice_the_grey() -> None:
    colours = Statistics(*IMAGENET, "")
    assert colours.seen_in(3) == IMAGENET
    assert colours.seen_in(1) == (pytest.approx((0.449,)), pytest.approx((0.226,)))
    assert OTHERS.seen_in(3) == ((0.9,) * 3, (0.05,) * 3)


def test_views_keep_what_the_spec_gives_and_other_statistics_are_each_run_s_own(tmp_path: Path) -> None:
    given = DigitsData(source="digits", folds=3, normalize=GIVEN)
    task = load_task(given, 0, cache=tmp_path)
    assert {(view.mean, view.std) for view in (task, with_few_labels(task, 2, 0), *run_tasks(task))} == {
        (GIVEN.mean, GIVEN.std)
    }
    auto = load_task(given.model_copy(update={"normalize": "auto"}), 0, cache=tmp_path)
    assert len({view.mean for view in run_tasks(auto)}) == 3
    assert {normalised_for(view, OTHERS).mean for view in run_tasks(auto)} == {OTHERS.mean}
    train = load_task(given.model_copy(update={"normalize": "train"}), 0, cache=tmp_path)
    assert auto.fingerprint == train.fingerprint != task.fingerprint


def test_numbers_for_another_count_of_channels_are_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    three = DigitsData(source="digits", normalize=Normalisation(mean=(0.5,) * 3, std=(0.5,) * 3))
    with pytest.raises(DataError, match=r"mean = \[0.5, 0.5, 0.5\]: .* 3 channels, but the images are grey"):
        load_task(three, 0, cache=tmp_path)
    write_folder(tmp_path / "images", {"ants": 8, "bees": 8})
    with pytest.raises(DataError, match="the images are in colour: give three numbers each"):
        load_task(folder_data(tmp_path / "images", normalize=GIVEN), 0, cache=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_weights_that_say_nothing_cannot_be_asked_for_their_own(tmp_path: Path) -> None:
    spec = load_spec(
        {
            "data": {"source": "digits", "normalize": "weights"},
            "model": {"name": "mlp", "args": {"hidden": []}, "weights": str(tmp_path / "w.pth")},
            "search": {"strategy": "random"},
        }
    )
    torch.save({"head.weight": torch.ones(10, 64), "head.bias": torch.ones(10)}, tmp_path / "w.pth")
    with pytest.raises(
        ModelError, match=r"data.normalize = weights: .* \(file w.pth\) is not known, .* write data.norm"
    ):
        prepare(spec, load_task(spec.data, 0), Silence())


def test_check_says_which_and_why() -> None:
    source = {"data": {"source": "digits", "domain": "source"}, "epochs": 1}
    spec = {
        "data": {"source": "digits", "labels_per_class": 10},
        "model": {"name": "mlp", "args": {"hidden": [8]}, "weights": source},
        "search": {"strategy": "random", "trials": 1},
    }
    (line,) = make_plan(load_spec(spec)).normalisation
    assert line.endswith(", as the source task's images were")
    (line,) = make_plan(load_spec(spec, ["data.normalize=train"])).normalisation
    assert line.endswith(", of the training split")
    (line,) = make_plan(load_spec(spec, ["data.normalize={mean: [0.5], std: [0.25]}"])).normalisation
    assert line == "mean 0.500, std 0.250, as data.normalize says"


def test_what_earlier_versions_began_goes_on_with_the_training_split_s() -> None:
    spec = {"data": {"source": "digits"}, "search": {"strategy": "random"}}
    assert load_spec(spec).data.normalize == "auto"
    assert load_spec(StoredSpec(spec)).data.normalize == "train"
    assert load_spec(StoredSpec(spec | {"data": {"source": "digits", "normalize": "auto"}})).data.normalize == "auto"
    recipe = {
        "seed": 0, "data": spec["data"], "model": {"name": "cnn"}, "epochs": 1, "constants": {},
        "schedule": [{"from_epoch": 0, "to_epoch": 1, "trial": "t0000", "number": 0, "lr": 0.1, "batch_size": 8}],
    }  # fmt: skip
    assert load_spec(recipe_spec(recipe, 2)).data.normalize == "train"
