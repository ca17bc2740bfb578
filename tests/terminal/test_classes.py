"""Figures of each class and the confusion matrix, at every width; and what several networks reached."""

import io
import random
from pathlib import Path
from typing import Any

import pytest
from builders import SweepBuilder, make_spec
from rich.console import Console
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from tlsweep.report import ClassResult, ClassResults, class_results, describe_search, find_best, load_tables
from tlsweep.store import Results
from tlsweep.store.files import write_json
from tlsweep.terminal import print_best, print_outcome, print_report
from tlsweep.terminal.classes import print_classes


def sweep_that_met_the_test(path: Path, names: list[str], **more: Any) -> Results:
    """A sweep whose winner took about half of the test images for what they are."""
    rng = random.Random(0)
    true = [label for label in range(len(names)) for _ in range(7)]
    taken = [label if rng.random() < 0.5 else rng.randrange(len(names)) for label in true]
    figures = precision_recall_fscore_support(true, taken, labels=range(len(names)), zero_division=0)
    per_class = dict(zip(("precision", "recall", "f1", "support"), (one.tolist() for one in figures), strict=True))
    confusion = confusion_matrix(true, taken, labels=range(len(names))).tolist()
    builder = SweepBuilder(path, make_spec(controls=[], **more.pop("sections", {})))
    builder.create("t0000", 0)
    builder.report("t0000", 0.75)
    builder.records[-1] |= more.pop("reported", {})
    write_json(builder.folder.environment, {"data": {"classes": names, "images": {}, "fingerprint": "f"}})
    whole = dict.fromkeys(("loss", "accuracy", "precision", "recall", "f1"), 0.5)
    builder.event("evaluated", "t0000", trial="t0000", **whole, per_class=per_class, confusion=confusion, **more)
    return builder.finish()


def printed(function: Any, *args: Any, width: int) -> list[str]:
    stream = io.StringIO()
    function(Console(file=stream, width=width), *args)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert all(len(line) <= width for line in lines)
    return lines


@pytest.mark.parametrize("page", [print_best, print_report])
@pytest.mark.parametrize("width", [80, 160])
def test_classes_and_confusion_are_shown(tmp_path: Path, page: Any, width: int) -> None:
    results = sweep_that_met_the_test(tmp_path, ["ant", "bee", "wasp"])
    found = class_results(load_tables(results))
    assert found is not None
    lines = printed(page, results, width=width)
    begin = next(at for at, line in enumerate(lines) if line.startswith("class "))
    for line, one in zip(lines[begin + 1 : begin + 4], found.classes, strict=True):
        assert line.split()[:5] == [one.name, f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}", "7"]
    matrix = lines[lines.index("rows: what it is; columns: what it is taken for") + 1 :][:4]
    assert matrix[0].split() == ["ant", "bee", "wasp"]
    cells = [line.replace("·", "0").split() for line in matrix[1:]]
    assert cells == [[name, *map(str, row)] for name, row in zip(["ant", "bee", "wasp"], found.confusion, strict=True)]


def test_long_names_make_room_by_numbers(tmp_path: Path) -> None:
    names = [f"a class of the long name {at}" for at in range(9)]
    found = class_results(load_tables(sweep_that_met_the_test(tmp_path, names)))
    lines = printed(print_classes, found, width=80)
    head = lines[lines.index("rows: what it is; columns: what it is taken for") + 1]
    assert head.split() == list("012345678")
    assert lines[-1].startswith("8 a class of the long name 8  ")


def test_of_many_classes_the_hardest_and_the_most_frequent_mistakes(tmp_path: Path) -> None:
    names = [f"kind {at}" for at in range(60)]
    found = class_results(load_tables(sweep_that_met_the_test(tmp_path, names)))
    assert found is not None
    lines = printed(print_classes, found, width=100)
    shown = [line.split("  ")[0] for line in lines[1:11]]
    assert sorted(shown) == sorted(one.name for one in sorted(found.classes, key=lambda one: one.f1)[:10])
    assert lines[11] == "and 50 more classes, of which 2 also with F1 0.308, the others with a higher one"
    true, taken, count = found.mistakes()[0]
    assert count == max(found.confusion[a][b] for a in range(60) for b in range(60) if a != b)
    assert lines[13].startswith(f"most often taken: kind {true} for kind {taken} ({count}), ")


@pytest.mark.parametrize(
    ("wrong", "right", "told"),
    [
        (999, 1, "and 990 more classes, of which 989 also with F1 0.000, the others with a higher one"),
        (1000, 0, "and 990 more classes, also with F1 0.000"),
        (10, 20, "and 20 more classes, all with a higher F1"),
        (4, 17, "and 11 more classes, also with F1 1.000"),
        (11, 10, "and 11 more classes, of which 1 also with F1 0.000, the others with a higher one"),
    ],
)
def test_of_the_classes_that_are_not_shown_nothing_false_is_said(wrong: int, right: int, told: str) -> None:
    classes = [ClassResult(f"c{at}", *([0.0] * 3 if at < wrong else [1.0] * 3), 1) for at in range(wrong + right)]
    confusion = [[0] * len(classes) for _ in classes]
    assert told in printed(print_classes, ClassResults(classes, confusion), width=100)


def test_machines_get_the_same(tmp_path: Path) -> None:
    tables = load_tables(sweep_that_met_the_test(tmp_path, ["ant", "bee"]))
    found, value = class_results(tables), find_best(tables).as_dict()
    assert found is not None
    assert value["classes"] == [vars(one) for one in found.classes]
    assert value["confusion"] == found.confusion


def test_a_sweep_of_an_earlier_version_has_no_classes(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path, make_spec(controls=[]))
    builder.create("t0000", 0)
    builder.report("t0000", 0.5)
    builder.event("evaluated", "t0000", trial="t0000", accuracy=0.5)
    tables = load_tables(builder.finish())
    assert class_results(tables) is None
    assert find_best(tables).as_dict()["classes"] is None


def test_several_networks_show_how_sure_their_mean_is(tmp_path: Path) -> None:
    sections = {"data": {"source": "digits", "folds": 5, "repeats": 2}}
    errors = {f"val_{name}_se": 0.0125 for name in ("loss", "accuracy", "precision", "recall", "f1")}
    results = sweep_that_met_the_test(
        tmp_path, ["ant", "bee"], sections=sections, reported={"runs": 10, **errors}, runs=10, accuracy_se=0.021
    )
    spec = load_tables(results).spec
    assert describe_search(spec) == "pbt: 4 members × 4 epochs × 5 folds × 2 repeats"
    outcome = printed(print_outcome, results, width=100)
    assert any("0.750 ± 0.013" in line and line.startswith("t0000") for line in outcome)
    assert "±: standard error over 5 folds × 2 repeats" in outcome
    assert any(line.startswith("main") and "0.750 ± 0.013  0.500 ± 0.021" in line for line in outcome)
    best = " ".join(" ".join(printed(print_best, results, width=80)).split())
    assert "accuracy 0.750 ± 0.013, precision" in best
    assert "accuracy 0.500 ± 0.021, precision 0.500" in best
    assert "(± standard error over 5 folds × 2 repeats)" in best
    assert "rows: what it is; columns: what it is taken for, by 10 networks together" in best
