"""A spec written anew: what was asked for changes, and nothing else does."""

from pathlib import Path

import pytest

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
