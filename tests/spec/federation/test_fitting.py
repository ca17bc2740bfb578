"""What goes together with a federation is searched and compared; what does not is one message."""

from typing import Any

import pytest
import yaml

from tlsweep.errors import SpecError
from tlsweep.spec import ImageSpec, SourceTask, dump_spec, load_spec
from tlsweep.spec.federation import Split
from tlsweep.spec.idle import remarks
from tlsweep.spec.images import require_images

BASE: dict[str, Any] = {
    "data": {"source": "digits"},
    "model": {"weights": {"data": {"source": "digits", "domain": "source"}}},
    "train": {"lr": {"loguniform": [1e-3, 1]}},
    "search": {"strategy": "random", "trials": 4},
}
FEDERATED = "train.federated={clients: 10, split: {dirichlet: 0.5}}"


def loaded(*overrides: str) -> ImageSpec:
    return require_images(load_spec(BASE, overrides), "a test")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.server_lr=0.5"], "train.server_lr = 0.5: acts in a federation alone; write train.federated: {clients"),
        (["train.proximal={choice: [0, 0.1]}"], "train.proximal = "),
        (["train.server_optimizer=adam"], "train.server_optimizer = adam: acts in a federation alone"),
        (["train.server_momentum=0.9"], "train.server_momentum = 0.9: acts in a federation alone"),
        (["search.metric=val_worst_client"], "search.metric = val_worst_client: there are no clients; write train.fed"),
        (["study=federation"], "study: federation compares what train.federated says with other federations; write"),
        ([FEDERATED, "train.noise_scale=true"], "train.noise_scale measures the gradient of training on all images"),
        ([FEDERATED, "train.ema=0.9"], "train.ema = 0.9: a round of train.federated averages networks already"),
        ([FEDERATED, "train.ema={choice: [0, 0.5]}"], "train.ema = 0.5: a round of train.federated averages"),
        (
            [FEDERATED, "train.server_optimizer=adam", "train.server_momentum=0.5"],
            "train.server_momentum = 0.5: is of server_optimizer sgd, and here it is adam, whose momentum is 0.9; ",
        ),
        (
            [FEDERATED, "train.server_optimizer={choice: [adam, yogi]}", "train.server_momentum={choice: [0, 0.5]}"],
            "train.server_momentum = 0.5: is of server_optimizer sgd, and here it is adam or yogi",
        ),
        (
            [FEDERATED, "study=federation", "train.federated.fraction=0.5"],
            "a round sees the training images 0.5 times (5 of 10 clients, local_epochs 1), the arm central only whole",
        ),
        ([FEDERATED, "search.metric=val_worst_client", "soup=3"], "soup tells networks apart by the validation images"),
        ([FEDERATED, "search.metric=val_worst_client", "soup=start"], "leave soup out, or search by another metric"),
        ([FEDERATED, "search.metric=val_worst_client", "controls=probe"], "controls: probe has no result where search"),
        (["train.federated={clients: 1}", "study=federation"], "and train.federated.clients is 1; write more, or"),
        (["model.weights.train.server_lr=0.1"], "a source task is no federation, and has no server_lr; it belongs to"),
    ],
)
def test_what_cannot_be_is_one_message(overrides: list[str], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        loaded(*overrides)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["search.metric=val_worst_client", "controls=[scratch, hyperrule, tutorial]"],
        ["train.server_optimizer={choice: [sgd, adam]}", "train.server_momentum=0.9"],
        ["train.server_lr={loguniform: [0.01, 2]}", "train.proximal={choice: [0, 0.1]}"],
        ["data.folds=3", "data.repeats=2"],
        ["soup=4", "controls=[scratch, hyperrule, tutorial, probe]"],
        ["train.freeze=gradual", "train.sampler=balanced", "train.class_weights=balanced"],
        ["search={strategy: pbt, mutate: [lr, server_lr, proximal, server_optimizer]}",
         "train.server_lr={loguniform: [0.01, 2]}"],
    ],
)  # fmt: skip
def test_what_can_be_is_taken(overrides: list[str]) -> None:
    spec = loaded(FEDERATED, *overrides)
    assert load_spec(yaml.safe_load(dump_spec(spec))) == spec


def test_what_the_server_does_is_searched_like_anything_else() -> None:
    spec = loaded(FEDERATED, "train.server_lr={loguniform: [0.01, 2]}", "train.server_optimizer={choice: [sgd, adam]}")
    assert list(spec.space) == ["lr", "server_optimizer", "server_lr"]
    values = spec.completed("main", {"lr": 0.1, "server_lr": 0.5, "server_optimizer": "adam"})
    assert (values["server_lr"], values["server_optimizer"], values["server_momentum"]) == (0.5, "adam", 0.0)


@pytest.mark.parametrize(
    ("split", "arms"),
    [
        ("{dirichlet: 0.5}", "main central iid dirichlet-0.1"),
        ("{dirichlet: 0.1}", "main central iid"),
        ("iid", "main central dirichlet-0.1"),
    ],
)
def test_the_study_has_the_arms_that_the_main_one_is_not(split: str, arms: str) -> None:
    for study in ("study=federation", "study={federation: true}"):
        assert loaded(FEDERATED, f"train.federated.split={split}", study).arms == tuple(arms.split())


def test_all_arms_of_the_study_see_as_many_images() -> None:
    overrides = ["train.federated={clients: 20, split: {classes: 2}, fraction: 0.5, local_epochs: 4}"]
    spec = loaded(*overrides, "study=federation", "train.server_lr={loguniform: [0.1, 2]}", "train.proximal=0.1")
    told = {arm: spec.settings_in(arm).federated for arm in spec.arms}
    assert {arm: federated and federated.passes for arm, federated in told.items()} == dict.fromkeys(spec.arms, 2)
    assert {arm: federated and federated.split for arm, federated in told.items()} == {
        "main": Split(classes=2), "central": Split(), "iid": Split(), "dirichlet-0.1": Split(dirichlet=0.1),
    }  # fmt: skip
    assert told["central"] is not None
    assert told["central"].clients == 1
    values = spec.completed("central", {"lr": 0.1, "server_lr": 0.5})
    assert (values["server_lr"], values["proximal"]) == (1.0, 0.0)
    assert list(spec.space_in("central")) == ["lr"]
    assert list(spec.space_in("iid")) == ["lr", "server_lr"]
    assert load_spec(yaml.safe_load(dump_spec(spec))) == spec


def test_weights_that_were_kept_before_are_found_again() -> None:
    """The key of a source task is what it was when there were no federations."""
    from tlsweep.pretrained.pretraining import source_key
    from tlsweep.spec import ModelSpec

    source = SourceTask.model_validate({"data": {"source": "digits"}})
    assert source_key(source, ModelSpec(), 0, "f") == "6a83b29f756b2fc1"


def test_batch_norm_is_spoken_of() -> None:
    told = "train.federated with train.batch_norm train"
    resnet = ["model={name: resnet18, weights: DEFAULT}", FEDERATED]
    assert any(told in line for line in remarks(loaded(*resnet)))
    assert not any(told in line for line in remarks(loaded(*resnet, "train.batch_norm=frozen")))
    assert not any(told in line for line in remarks(loaded(FEDERATED)))
