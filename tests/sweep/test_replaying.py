"""A recipe that is replayed gives the validation curve of the winner whose it is, whoever's weights that took over."""

from pathlib import Path
from typing import Any

import pytest
from without_ray import run_sweep

from tlsweep.data import Task, load_task
from tlsweep.errors import SpecError
from tlsweep.report.arms import arm_results
from tlsweep.report.recipe import recipe, replayed, write_recipe
from tlsweep.report.tables import load_tables
from tlsweep.spec import ImageSpec, SweepSpec, load_spec
from tlsweep.store import Results

COMMON = ["data.labels_per_class=5", "model={name: mlp, args: {hidden: [8]}}", "controls=[]", "train.head=auto"]
SEARCHES = {
    "pbt": ["search={strategy: pbt, population: 4, interval: 1, quantile: 0.5}", "train.epochs=5"],
    "repeats": ["search={strategy: random, trials: 2}", "train.epochs=2", "data.repeats=2"],
}


def task_of(spec: SweepSpec, tmp_path: Path) -> Task:
    assert isinstance(spec, ImageSpec)
    return load_task(spec.data, 0, cache=tmp_path / "cache")


def curve(results: Results, schedule: list[dict[str, Any]]) -> dict[int, list[str]]:
    """Loss in training and figures on validation, by epoch, of the trials that a schedule names."""
    rows = {(row["trial"], row["epoch"]): row for row in results.reports.to_pylist()}  # the newest generation's last
    figures = ("train_loss", "val_loss", "val_accuracy", "val_auroc")
    return {
        epoch: [repr(rows[step["trial"], epoch][name]) for name in figures]
        for step in schedule
        for epoch in range(step["from_epoch"] + 1, step["to_epoch"] + 1)
    }


@pytest.mark.parametrize("search", SEARCHES)
def test_a_recipe_with_its_own_seeds_gives_the_winners_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    spec = load_spec("digits", [*COMMON, *SEARCHES[search]])
    task = task_of(spec, tmp_path)
    won = run_sweep(tmp_path / "sweep", spec, task, monkeypatch)
    remembered = won.folder.recipe.read_text()
    write_recipe(won.path)
    assert won.folder.recipe.read_text() == remembered  # as the journal has it
    schedule = recipe(won)["schedule"]
    assert len({step["number"] for step in schedule}) > (search == "pbt")
    again = load_spec(replayed(won.folder.recipe, None))
    found = run_sweep(tmp_path / "again", again, task, monkeypatch)
    steps = [step | {"trial": "t0000"} for step in schedule]
    assert curve(found, steps) == curve(won, schedule)
    seeds = load_spec(replayed(won.folder.recipe, 2))
    others = run_sweep(tmp_path / "others", seeds, task_of(seeds, tmp_path), monkeypatch)
    assert curve(others, steps) != curve(won, schedule)
    # Of several networks standard errors are kept beside the means; they are no metrics of their own.
    for tables in map(load_tables, (won, others)):
        (shown,) = arm_results(tables)
        assert "accuracy" in shown.val
        assert not [name for name in shown.val if name.endswith("_se")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory); a sweep that has ended has a recipe.yaml in its folder"),
        (b"\xff\xfe", "cannot be read (it is no text)"),
        (b"- 1", "is no recipe"),
        (b"schedule: [", "recipe.yaml"),
        (b"trial: start\nschedule: []", "nothing was trained, so there is no training to repeat"),
    ],
)
def test_what_is_no_recipe_is_one_message(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(SpecError) as caught:
        replayed(tmp_path / "recipe.yaml", 3)
    assert words in str(caught.value)
