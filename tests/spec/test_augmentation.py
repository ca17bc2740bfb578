"""Augmentation in a spec: presets stand for fields, which are written out, and what is written wins."""

from typing import Any

import pytest

from tlsweep.errors import SpecError
from tlsweep.spec import SourceTask, SweepSpec, dump_spec, load_spec
from tlsweep.spec.augmentation import PRESETS, STRENGTHS, strengths_in_words
from tlsweep.spec.hyperparameters import Hyperparameters
from tlsweep.spec.idle import remarks
from tlsweep.spec.loading import load_text
from tlsweep.spec.reference import spec_fields

DEFAULTS = Hyperparameters().model_dump()


def _spec(augment: Any = None, **sections: Any) -> SweepSpec:
    data = {"source": "digits"} | ({} if augment is None else {"augment": augment})
    return load_spec({"data": data, "search": {"strategy": "random"}, **sections})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_stands_for_fields_that_are_written_out(name: str) -> None:
    spec = _spec(name)
    assert spec.data.augment.model_dump() == PRESETS[name]["data"]
    strengths = {field: getattr(spec.train, field) for field in STRENGTHS}
    assert strengths == {field: DEFAULTS[field] for field in STRENGTHS} | PRESETS[name]["train"]
    assert load_text(dump_spec(spec), "spec") == spec
    assert name == "none" or f"`{name}`: crop" in next(f.meaning for f in spec_fields() if f.path == "data.augment")


def test_without_augmentation_nothing_has_changed() -> None:
    assert strengths_in_words(Hyperparameters(), DEFAULTS) == ""
    assert strengths_in_words(_spec("light").train, DEFAULTS) == ""


def test_what_train_says_itself_wins_over_a_preset() -> None:
    train = {"mixup": {"uniform": [0, 0.4]}, "auto_augment": {"choice": ["none", "rand"]}, "lr": 0.5}
    spec = _spec("strong", train=train)
    assert sorted(spec.space) == ["auto_augment", "mixup"]
    assert (spec.train.lr, spec.train.cutmix) == (0.5, 1.0)
    words = "auto_augment none or rand, random_erasing 0.1, mixup 0 to 0.4, cutmix 1.0"
    assert strengths_in_words(spec.train, DEFAULTS) == words


def test_an_override_may_name_a_preset() -> None:
    assert load_spec("digits", ["data.augment=medium"]).train.auto_augment == "trivial"


def test_a_source_task_may_name_a_preset_and_keeps_its_own_defaults() -> None:
    source = {"data": {"source": "digits", "domain": "source", "augment": "medium"}}
    weights = _spec(model={"weights": source}).model.weights
    assert isinstance(weights, SourceTask)
    plain = SourceTask.model_fields["train"].default.model_dump()
    assert weights.train.model_dump() == plain | PRESETS["medium"]["train"]


@pytest.mark.parametrize(
    ("augment", "train", "message"),
    [
        ("mild", {}, "data.augment = 'mild': must be a preset (none, light, medium, strong) or a mapping of fields"),
        (3, {}, "data.augment = 3: must be a mapping of fields"),
        ({}, {"rotation": -10}, "train.rotation = -10: must be at least 0"),
        ({}, {"rotation": {"uniform": [0, 360]}}, "must be at most 180 (value 360"),
        ({}, {"rand_augment_magnitude": 31}, "train.rand_augment_magnitude = 31: must be at most 30"),
        ({}, {"rand_augment_ops": {"uniform": [1, 3]}}, "needs whole numbers"),
        ({}, {"mixup": -0.1}, "train.mixup = -0.1: must be at least 0"),
        ({}, {"color_jitter": 1.5}, "train.color_jitter = 1.5: must be at most 1"),
        ({}, {"auto_augment": "trivialaugment"}, "must be one of none, trivial, rand"),
    ],
)
def test_what_cannot_be_is_refused(augment: Any, train: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        _spec(augment, train=train)
    assert message in str(refused.value)


def test_people_are_told_what_training_accuracy_means_with_mixed_labels_and_what_has_no_effect() -> None:
    (told,) = [line for line in remarks(_spec("strong")) if "train_accuracy" in line]
    assert told.startswith("train.mixup and train.cutmix: train_loss is that on mixed labels")
    assert "train.rand_augment_ops has no effect with auto_augment none" in remarks(
        _spec(train={"rand_augment_ops": 3})
    )
