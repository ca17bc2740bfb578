"""Each figure shows what the tables say, of real sweeps and of made-up ones; and nothing where there is nothing."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from builders import SweepBuilder, make_spec, make_sweep

from tlsweep.report import SweepTables, figures, landscape
from tlsweep.report.figures import FIGURES, load
from tlsweep.report.figures.curves import MOST_CURVES
from tlsweep.report.figures.style import SHADES, Scale, plain, thinned
from tlsweep.report.rungs import rungs_of
from tlsweep.store import open_results

REFERENCE = Path(__file__).parents[3] / "results" / "reference"


@pytest.fixture(scope="module")
def digits() -> SweepTables:
    return load(open_results(REFERENCE / "digits-seed0"))


def test_every_trial_has_its_curve_and_its_end(digits: SweepTables) -> None:
    figure = figures.learning_curves(digits)
    assert figure is not None
    rows = [row for row in digits.reports if row["arm"] == "main"]
    curves = {
        trace.name: dict(zip(trace.x, trace.y, strict=True)) for trace in figure.data if trace.mode.startswith("lines")
    }
    assert curves == {
        trial: {row["epoch"]: row["val_accuracy"] for row in rows if row["trial"] == trial}
        for trial in {row["trial"] for row in rows}
    }
    (stopped,) = (trace for trace in figure.data if trace.name == "stopped")
    ended = [row for row in digits.trials if row["arm"] == "main" and row["status"] == "stopped"]
    assert sorted(name for name, _ in stopped.customdata) == sorted(row["trial"] for row in ended)


def test_of_many_trials_the_best_and_a_sample_are_drawn_and_that_is_said(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path, make_spec(controls=[]))
    for number in range(100):
        builder.create(f"t{number:04d}", number)
        builder.report(f"t{number:04d}", number / 100)
    figure = figures.learning_curves(load(builder.finish()))
    assert figure is not None
    names = {trace.name for trace in figure.data if trace.mode.startswith("lines")}
    assert len(names) == MOST_CURVES
    assert names >= {f"t{number:04d}" for number in range(99, 99 - MOST_CURVES // 2, -1)}
    assert f"the best {MOST_CURVES // 2} of 100 trials" in figure.layout.meta["caption"]


@pytest.mark.parametrize("most", [1, 2, 7, 50, 99, 100, 1000])
def test_a_thinned_ranking_keeps_its_best_and_its_order(most: int) -> None:
    names = [f"{at:03d}" for at in range(100)]
    found = thinned(names, most)
    assert len(found) == len(set(found)) == min(most, 100)
    assert found == sorted(found)
    assert found[: most // 2] == names[: most // 2]


def test_a_generation_that_took_over_weights_begins_a_line_of_its_own(tmp_path: Path) -> None:
    figure = figures.learning_curves(load(make_sweep(tmp_path)))
    assert figure is not None
    (line,) = (trace for trace in figure.data if trace.name == "t0001")
    assert (line.x, line.y) == ((1, 2, None, 3, 4), (0.5, 0.55, None, 0.9, 0.95))
    (marks,) = (trace for trace in figure.data if trace.name == "exploited")
    assert set(zip(marks.x, marks.y, strict=True)) == {(2, 0.55), (1, 0.3)}


def test_the_map_is_the_landscape_with_its_errors(digits: SweepTables) -> None:
    figure = figures.lr_batch_map(digits)
    assert figure is not None
    grid, heat = landscape(digits), figure.data[0]
    for (row, column), cell in grid.cells.items():
        assert heat.z[row][column] == cell.mean
        assert f"n={cell.n or cell.diverged}" in heat.text[row][column]
        assert cell.error is None or f"±{cell.error:.3f}" in heat.text[row][column]
    assert sum(value is not None for line in heat.z for value in line) == sum(
        cell.mean is not None for cell in grid.cells.values()
    )


@pytest.mark.parametrize("name", ["digits-seed0", "ants-bees-asha", "mnist-to-semeion-seed0"])
def test_at_each_rung_stand_those_who_came_and_what_became_of_them(name: str) -> None:
    tables = load(open_results(REFERENCE / name))
    rungs = rungs_of(tables)
    epochs = {row["trial"]: row["epoch"] for row in tables.trials if row["arm"] == "main"}
    cut = {trial: epoch for epoch, rung in rungs.items() for trial in rung.cut}
    assert cut == {
        row["trial"]: row["epoch"] for row in tables.trials if row["arm"] == "main" and row["status"] == "stopped"
    }
    for epoch, rung in rungs.items():
        assert set(rung.went_on) == {trial for trial, last in epochs.items() if last > epoch}
    figure = figures.rungs(tables)
    assert figure is not None
    drawn = {
        trace.name: Counter(round(x) for x in trace.x) for trace in figure.data if trace.name in ("cut", "went on")
    }
    assert drawn == {
        "cut": Counter({at: len(rung.cut) for at, rung in enumerate(rungs.values()) if rung.cut}),
        "went on": Counter({at: len(rung.went_on) for at, rung in enumerate(rungs.values()) if rung.went_on}),
    }


@pytest.mark.parametrize("over", ["device", "wall"])
def test_the_best_so_far_rises_to_the_best_of_its_arm(digits: SweepTables, over: str) -> None:
    figure = figures.best_so_far(digits, over)
    assert figure is not None
    for trace in figure.data:
        rows = [row for row in digits.reports if row["arm"] == trace.name]
        assert trace.y[-1] == max(row["val_accuracy"] for row in rows)
        assert list(trace.y) == sorted(trace.y)
        assert list(trace.x) == sorted(trace.x)
        spent = sum(row["train_seconds"] + row["eval_seconds"] for row in rows)
        assert trace.x[-1] == pytest.approx(spent if over == "device" else max(row["elapsed"] for row in rows))


def test_sweeps_are_compared_at_the_budget_of_the_cheapest() -> None:
    sweeps = [load(open_results(REFERENCE / f"digits-seed{seed}")) for seed in (0, 1)]
    figure = figures.best_so_far(sweeps)
    assert figure is not None
    assert [trace.name for trace in figure.data] == ["digits-seed0", "digits-seed1"]
    budget = min(trace.x[-1] for trace in figure.data)
    assert figure.layout.shapes[0].x0 == budget
    for trace in figure.data:
        reached = max(y for x, y in zip(trace.x, trace.y, strict=True) if x <= budget)
        assert f"{trace.name} {reached:.3f}" in figure.layout.meta["caption"]


def test_parallel_coordinates_have_each_trial_once(digits: SweepTables) -> None:
    figure = figures.parallel_coordinates(digits)
    assert figure is not None
    axes = len(figure.layout.xaxis.tickvals)
    drawn = [x for trace in figure.data for x in trace.x if x is not None]
    assert Counter(drawn) == dict.fromkeys(range(axes), sum(row["arm"] == "main" for row in digits.trials))
    assert all(0 <= y <= 1 for trace in figure.data for y in trace.y if y is not None)


def test_what_decides_alone_has_nearly_all_the_importance(tmp_path: Path) -> None:
    choices = {"lr": {"loguniform": [1e-4, 0.1]}, "batch_size": {"powers_of_two": [16, 128]}, "epochs": 4}
    builder, rng = SweepBuilder(tmp_path, make_spec(controls=[], train=choices)), np.random.default_rng(0)
    for number in range(40):
        lr = float(10 ** rng.uniform(-4, -1))
        builder.create(f"t{number:04d}", number, lr=lr, batch_size=int(2 ** rng.integers(4, 8)))
        builder.report(f"t{number:04d}", -0.2 * float(np.log10(lr)))
    figure = figures.importance(load(builder.finish()))
    assert figure is not None
    (bars,) = figure.data
    shares = dict(zip(bars.y, bars.x, strict=True))
    assert shares["lr"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    assert all(0 <= error < 0.3 for error in bars.error_x.array)


def test_the_time_is_that_of_the_reports(digits: SweepTables) -> None:
    figure = figures.time_spent(digits)
    assert figure is not None
    sums = {trace.name: sum(trace.x) for trace in figure.data}
    assert sums == {
        label: pytest.approx(sum(row[name] for row in digits.reports))
        for name, label in (("train_seconds", "training"), ("eval_seconds", "evaluation"), ("wait_seconds", "waiting"))
    }


def test_the_confusion_matrix_has_every_test_image() -> None:
    tables = load(open_results(REFERENCE / "mnist-to-semeion-few-labels"))
    figure = figures.confusion(tables)
    assert figure is not None
    pairs = Counter((row["label"], row["predicted"]) for row in tables.predictions if row["arm"] == "main")
    names, heat = figure.layout.xaxis.ticktext, figure.data[0]
    assert pairs == Counter(
        {(names[row], names[column]): heat.customdata[row][column] for row in heat.y for column in heat.x}
    )


def test_failures_are_all_there(tmp_path: Path) -> None:
    figure = figures.incidents(load(make_sweep(tmp_path)))
    assert figure is not None
    (failed,) = figure.data
    assert failed.customdata == (["t0003-scratch", "ValueError: [boom]"],)


def test_a_sweep_without_a_report_has_no_figure_but_its_failures(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path, make_spec(controls=[]))
    builder.create("t0000", 0)
    builder.event("failed", "t0000", reason="no", error="ValueError: no")
    found = [figure for figure in (draw(load(builder.finish())) for draw in FIGURES) if figure is not None]
    assert [figure.layout.title.text for figure in found] == ["Failures"]


def test_a_scale_keeps_the_order_of_numbers_and_has_a_place_for_everything() -> None:
    values = [1e-4, 3e-4, 0.01, 0.5]
    places = [Scale(values).at(value) for value in values]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, 1)
    for odd in ([None, 0.1, 0.2], ["sgd", None], [True, False], [3], []):
        scale = Scale(odd)
        assert all(0 <= scale.at(value) <= 1 and 0 <= scale.shade(value) < SHADES for value in odd)
        assert all(0 <= place <= 1 for place, _ in scale.ticks())


def test_text_of_others_is_text() -> None:
    assert plain("<a href='x'>&lt;\x1b]0;") == "&lt;a href='x'&gt;&amp;lt;\\x1b]0;"
