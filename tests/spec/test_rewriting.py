"""A spec rewritten: what was asked for changes, and nothing else does."""

from pathlib import Path

import pytest

from tlsweep.errors import SpecError
from tlsweep.spec import load_spec, presets
from tlsweep.spec.rewriting import rewrite_spec

BOUNDS = {"lr": {"loguniform": [4e-05, 0.03]}, "batch_size": {"powers_of_two": [8, 64]}}


@pytest.mark.parametrize("name", presets())
def test_it_means_the_same_with_the_new_bounds(tmp_path: Path, name: str) -> None:
    changes = ["train.epochs=9", "search.strategy=pbt", "seed=3"]
    path = tmp_path / f"{name}.yaml"
    path.write_text(rewrite_spec(name, changes, BOUNDS, "measured"))
    wanted = [*changes, "train.lr={loguniform: [4e-5, 0.03]}", "train.batch_size={powers_of_two: [8, 64]}"]
    assert load_spec(path) == load_spec(name, wanted)


def test_comments_and_notation_stay() -> None:
    text = rewrite_spec("digits", [], BOUNDS, "one\ntwo")
    before = presets()["digits"].splitlines()
    changed = [line for line in text.splitlines() if line not in before]
    assert changed == [
        "# one", "# two", "  lr: {loguniform: [4e-05, 0.03]}", "  batch_size: {powers_of_two: [8, 64]}"
    ]  # fmt: skip


def test_a_spec_without_train_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("data: {source: digits}  # ours\nsearch: {strategy: random}\n")
    text = rewrite_spec(path, [], BOUNDS, "measured")
    assert "# ours" in text
    path.write_text(text)
    assert load_spec(path).train.space()["batch_size"].extremes[-1] == 64


SOURCE = "data: {source: digits}\nsearch: {strategy: random}\n"
PRETRAINED = "model:\n  weights:\n    data: {source: digits, domain: source}\n    train:"
VALUES = "lr: 0.02\n      momentum: 0.8  # ours\n"


@pytest.mark.parametrize(
    "text",
    [
        f"{PRETRAINED} &t\n      {VALUES}train: *t  # the same\n",
        f"{PRETRAINED} &t\n      {VALUES}train:\n  <<: *t\n  epochs: 5\n",
        f"train: &t\n      {VALUES}{PRETRAINED} *t\n",
        f"train: &t\n      {VALUES}{PRETRAINED}\n      <<: *t\n      lr: 0.5\n",
        f"{PRETRAINED}\n      lr: &lr 0.02\ntrain:\n  lr: *lr\n",
        "<<: {train: {epochs: 5}, seed: 4}\n",
    ],
    ids=["aliased", "merged", "anchored", "merged elsewhere", "value", "above all"],
)
def test_what_stands_in_two_places_is_changed_in_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "shared.yaml"
    path.write_text(SOURCE + text)
    bounds = ["train.lr={loguniform: [4e-5, 0.03]}", "train.batch_size={powers_of_two: [8, 64]}"]
    before, wanted = load_spec(path), load_spec(path, [*bounds, "seed=3"])
    path.write_text(rewrite_spec(path, ["seed=3"], BOUNDS, "measured"))
    assert load_spec(path) == wanted
    assert load_spec(path).model == before.model


def test_an_override_inside_an_alias_changes_that_alone(tmp_path: Path) -> None:
    path = tmp_path / "shared.yaml"
    path.write_text(
        "data: &d {source: digits, augment: {flip: false}}\nsearch: {strategy: random}\nmodel: {weights: {data: *d}}\n"
    )
    changes = ["model.weights.data.domain=source", "model.weights.data.augment.flip=true"]
    wanted = load_spec(path, [*changes, "train.lr={loguniform: [4e-5, 0.03]}"])
    path.write_text(rewrite_spec(path, changes, {"lr": BOUNDS["lr"]}, "measured"))
    assert load_spec(path) == wanted


def test_a_name_that_marks_two_places_means_the_last_before_its_alias(tmp_path: Path) -> None:
    path = tmp_path / "marked.yaml"
    path.write_text(f"{SOURCE}seed: &n 3\nbudget: {{epochs: &n 9}}\ntrain: {{epochs: *n}}\n")
    path.write_text(rewrite_spec(path, [], BOUNDS, "measured"))
    assert (load_spec(path).seed, load_spec(path).train.epochs) == (3, 9)


def test_what_cannot_be_kept_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(f"{SOURCE}model: {{args: {{day: 2024-13-45}}}}\n")  # a date for what keeps comments, and none
    assert load_spec(path).model.args == {"day": "2024-13-45"}
    with pytest.raises(SpecError, match="odd.yaml': cannot be rewritten with its comments: month") as told:
        rewrite_spec(path, [], BOUNDS, "measured")
    assert "\n" not in str(told.value)


def test_bounds_that_break_a_rule_are_refused() -> None:
    recipe = "search={strategy: recipe, schedule: [{to_epoch: 1, values: {lr: 0.1}}]}"
    with pytest.raises(SpecError, match="digits with other bounds for lr, batch_size: .*recipe draws nothing"):
        rewrite_spec("digits", [recipe, "train={epochs: 1}"], BOUNDS, "measured")
