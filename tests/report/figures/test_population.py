"""The lineage that is drawn is that of the events."""

import random
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from builders import SweepBuilder, make_spec, make_sweep

from tlsweep.report.figures import load, population, winners_schedule


def trace(figure: Any, name: str) -> list[Any]:
    return [trace for trace in figure.data if trace.name == name]


def pieces(trace: Any) -> Iterator[tuple[tuple[float, ...], tuple[float, ...], Any]]:
    """The lines of a trace, which gaps separate: x, y and what a hover box says."""
    places = zip(trace.x, trace.y, trace.customdata, strict=True)
    for there, group in groupby(places, lambda place: place[0] is not None):
        if there:
            points = list(group)
            yield tuple(x for x, _, _ in points), tuple(y for _, y, _ in points), points[0][2]


@pytest.mark.parametrize("seed", range(8))
def test_members_exploits_and_ancestry_are_those_of_a_random_population(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    builder = SweepBuilder(tmp_path, make_spec(controls=[]))
    weights: dict[str, list[tuple[str, int]]] = {}
    stretches: dict[tuple[str, int], list[int]] = {}
    when: dict[tuple[str, int, int], float] = {}
    exploits, best = [], (-1.0, [("", 0)])
    for number in range(5):
        trial = f"t{number}"
        builder.create(trial, number, lr=rng.uniform(0.001, 0.1))
        builder.event("started", trial)
        weights[trial], stretches[trial, 0] = [], [0, 0]
    for _ in range(80):
        trial, donor = rng.sample(sorted(weights), 2)
        one, source = builder.state.trials[trial], builder.state.trials[donor]
        if rng.random() < 0.25:
            epoch = len(weights[donor])
            event = builder.exploit(trial, donor, epoch, lr=rng.uniform(0.001, 0.1))
            copied = when.get((donor, source.generation, epoch), event["elapsed"])
            exploits.append((donor, source.generation, trial, one.generation, epoch, copied, event["elapsed"]))
            weights[trial], stretches[trial, one.generation] = list(weights[donor]), [epoch, epoch]
        else:
            accuracy = rng.random()
            row = builder.report(trial, accuracy)
            weights[trial].append((trial, one.generation))
            stretches[trial, one.generation][1] = row["epoch"]
            when[trial, one.generation, row["epoch"]] = row["elapsed"]
            if accuracy > best[0]:
                best = (accuracy, list(weights[trial]))
    figure = population(load(builder.finish()))
    assert figure is not None
    rows = dict(zip(figure.layout.yaxis.ticktext, figure.layout.yaxis.tickvals, strict=True))

    drawn = [piece for members in trace(figure, "members") for piece in pieces(members)]
    assert {(given[0], given[1]): [given[2], given[3]] for _, _, given in drawn} == {
        stretch: epochs for stretch, epochs in stretches.items() if stretch[1] or epochs[1]
    }
    assert all(y == (rows[given[0]], rows[given[0]]) for _, y, given in drawn)

    (lines,) = trace(figure, "exploits")
    assert sorted((*given, *x) for x, _, given in pieces(lines)) == sorted(exploits)
    assert all(y == (rows[given[0]], rows[given[2]]) for _, y, given in pieces(lines))

    (band,) = trace(figure, "ancestry")
    assert [y for y, _ in groupby(band.y)] == [rows[trial] for trial, _ in groupby(trial for trial, _ in best[1])]
    assert all(before <= after for before, after in zip(band.x, band.x[1:], strict=False))


def test_the_winners_schedule_is_what_its_weights_went_through(tmp_path: Path) -> None:
    figure = winners_schedule(load(make_sweep(tmp_path)))
    assert figure is not None
    rates, sizes = figure.data
    assert list(zip(rates.x, rates.y, rates.customdata, strict=True)) == [
        (0, 0.01, "t0000"), (1, 0.01, "t0000"), (1, 0.0125, "t0002"), (2, 0.0125, "t0002"),
        (2, 0.01, "t0001"), (4, 0.01, "t0001"),
    ]  # fmt: skip
    assert list(sizes.y) == [32, 32, 32, 32, 64, 64]
