"""The verdict of a confirmation follows from intervals that cover other seeds and other test images."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from builders import SweepBuilder, make_spec
from rich.console import Console
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from tlsweep import figures
from tlsweep.report import Confirmation, find_best, find_confirmation, load_tables
from tlsweep.report.intervals import another_like, over_seeds_and_images
from tlsweep.store import Results
from tlsweep.store.tables import rows_to_table, write_table
from tlsweep.terminal.outcome import print_outcome

SEEDS, IMAGES = 4, 300
Floats = npt.NDArray[np.float64]


def of_seeds(random: np.random.Generator, *, skill: float = 0.0, spread: float = 0.3) -> Floats:
    """Which images networks are right about: images are easy or hard, and a seed is good or bad at all of them."""
    hardness = np.random.default_rng(7).normal(1.5, 1.0, IMAGES)
    seeds = random.normal(skill, spread, SEEDS)
    noise = random.normal(0, 0.6, (SEEDS, IMAGES))
    return (hardness + seeds[:, None] + noise > 0).astype(float)


def test_an_interval_covers_other_seeds_and_other_images() -> None:
    random, covered, sweeps = np.random.default_rng(0), 0, 400
    for _ in range(sweeps):
        images = random.normal(1.0, 1.0, 100)
        pair = [
            images + random.normal(0, 0.7, 100) + random.normal(0, 0.3, SEEDS)[:, None]
            + random.normal(0, 0.6, (SEEDS, 100)) > 0 for _ in range(2)
        ]  # fmt: skip
        found = over_seeds_and_images(1.0 * pair[0] - pair[1])  # both are equally good
        covered += found.low <= 0 <= found.high
    assert 0.93 <= covered / sweeps <= 0.99  # an interval over the images alone covers it in 0.75


def test_where_images_or_seeds_are_alike_it_is_students_interval_of_the_others() -> None:
    values = np.random.default_rng(0).normal(0, 1, 6)
    known = ttest_1samp(values, 0).confidence_interval(0.95)
    for grid in (np.tile(values, (4, 1)), np.tile(values[:, None], (1, 9))):
        found = over_seeds_and_images(grid)
        assert (found.low, found.high) == pytest.approx((known.low, known.high))
    always = over_seeds_and_images(np.ones((3, 5)))
    assert (always.value, always.low, always.high) == (1, 1, 1)


def test_the_figure_of_another_seed_lies_between_its_bounds() -> None:
    random, inside, draws = np.random.default_rng(0), 0, 4000
    for _ in range(draws):
        *known, another = random.normal(0.9, 0.02, 6)
        found = another_like(float(np.mean(known)), float(np.std(known, ddof=1)) / 5**0.5, 5)
        inside += found.low <= another <= found.high
    assert inside / draws == pytest.approx(0.95, abs=0.012)
    of_many = another_like(0.9, 0.01, 5, networks=10**9)
    assert of_many.high == pytest.approx(0.9 + student.ppf(0.975, 4) * 0.01)


def confirmed(path: Path, right: dict[str, Floats], claim: dict[str, Any], validation: float = 0.9) -> Results:
    """A confirmation in which the networks of each arm are right about these images."""
    rivals = {arm: [{"to_epoch": 1}] for arm in right if arm != "main"}
    search = {"strategy": "recipe", "schedule": [{"to_epoch": 1}], "rivals": rivals,
              "claim": {"sweep": "demo", "trial": "t0007", **claim}}  # fmt: skip
    train = {"lr": 0.01, "batch_size": 32, "epochs": 1}
    spec = make_spec(search=search, train=train, controls=[], data={"source": "digits", "repeats": SEEDS})
    builder, rows = SweepBuilder(path, spec), []
    for arm, hits in right.items():
        trial = "t0000" if arm == "main" else f"t0000-{arm}"
        builder.create(trial, 0)
        builder.report(trial, validation, val_accuracy_se=0.005)
        builder.event("evaluated", trial, arm=arm, trial=trial, accuracy=float(hits.mean()))
        rows += [
            {"arm": arm, "trial": trial, "fold": 0, "repeat": seed, "image": image, "label": "a",
             "predicted": "ba"[int(hits[seed, image])]} for seed in range(SEEDS) for image in range(IMAGES)
        ]  # fmt: skip
    results = builder.finish()
    write_table(results.path, "predictions", rows_to_table("predictions", [{"sweep": "demo", **row} for row in rows]))
    return results


def verdict_of(results: Results) -> Confirmation:
    found = find_confirmation(load_tables(results))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("main", "others", "begins", "holds"),
    [
        (1.5, {"t0003": -1.0, "tutorial-like": -2.0}, "confirmed: t0007 has", True),
        (0.1, {"t0003": 0.05, "t0004": -2.0}, "not refuted: t0007 has", True),
        (0.0, {"t0003": 0.1, "t0004": -2.0}, "not confirmed: t0007 has", False),
        (-1.0, {"t0003": 1.5, "t0004": -2.0}, "refuted: t0007 has", False),
        (-1.0, {"constant": 1.5, "t0004": -2.0}, "refuted: t0007 has", False),
    ],
)
def test_the_verdict_is_what_the_intervals_carry(
    tmp_path: Path, main: float, others: dict[str, float], begins: str, holds: bool
) -> None:
    random = np.random.default_rng(3)
    right = {arm: of_seeds(random, skill=skill, spread=0.02) for arm, skill in {"main": main, **others}.items()}
    results = confirmed(tmp_path, right, {})
    found = verdict_of(results)
    assert found.verdict.startswith(begins)
    assert found.holds == holds
    near = max(others, key=lambda arm: right[arm].mean())
    assert [found.rivals[0].result.arm, len(found.rivals)] == [near, len(others)]
    assert found.verdict.endswith("luck") == (begins.startswith("refuted") and near != "constant")
    assert found.verdict.endswith("what needs no search is better") == (near == "constant")
    behind = found.rivals[0].behind
    assert behind is not None
    assert behind.value == pytest.approx((right["main"] - right[near]).mean())
    assert found.rivals[0].name in found.verdict
    assert "t0004" not in found.verdict
    stream = io.StringIO()
    print_outcome(Console(file=stream, width=120), results)
    assert found.verdict in " ".join(stream.getvalue().split())
    drawn = figures.contenders(load_tables(results))
    assert drawn is not None
    means, seeds = drawn.data
    assert list(means.x) == [found.winner.test.value, *(rival.test.value for rival in found.rivals)]
    assert list(seeds.x[:SEEDS]) == right["main"].mean(1).tolist()
    assert found.verdict[1:] in drawn.layout.meta["caption"]
    assert find_best(load_tables(results)).as_dict()["confirmation"]["verdict"] == found.verdict


@pytest.mark.parametrize(
    ("claim", "lucky"),
    [
        ({}, []),
        ({"val_accuracy": 0.91, "test_accuracy": None}, []),
        ({"val_accuracy": 0.99}, ["validation"]),
        ({"val_accuracy": 0.5, "test_accuracy": 0.1}, []),
        ({"val_accuracy": 0.99, "test_accuracy": 1.0}, ["validation", "the test images"]),
        ({"val_accuracy": 0.925, "networks": 1}, []),
        ({"val_accuracy": 0.925, "networks": 50}, ["validation"]),  # a mean of many has less luck
    ],
)
def test_what_another_seed_would_hardly_reach_is_called_luck(
    tmp_path: Path, claim: dict[str, Any], lucky: list[str]
) -> None:
    right = {"main": of_seeds(np.random.default_rng(0), spread=0.1)}
    found = verdict_of(confirmed(tmp_path, right, claim))
    assert [warning.partition(" on ")[2].partition(":")[0] for warning in found.luck] == lucky
    for warning, figure in zip(found.luck, ("val_accuracy", "test_accuracy"), strict=False):
        assert f"it says {claim[figure]:.3f}" in warning


def test_with_folds_a_seed_is_the_mean_of_its_networks(tmp_path: Path) -> None:
    """Each image is seen by every fold; on validation a standard error over folds says nothing of another seed."""
    results = confirmed(tmp_path, {"main": of_seeds(np.random.default_rng(0), spread=0.1)}, {"val_accuracy": 0.99})
    tables = load_tables(results)
    other = [{**row, "fold": 1, "predicted": "a"} for row in tables.predictions]  # right about every image
    data = tables.spec.data.model_copy(update={"folds": 2})
    spec = tables.spec.model_copy(update={"data": data})
    found = find_confirmation(replace(tables, spec=spec, predictions=[*tables.predictions, *other]))
    alone = verdict_of(results)
    assert found is not None
    assert found.winner.by_seed == pytest.approx([(accuracy + 1) / 2 for accuracy in alone.winner.by_seed])
    assert (found.images, found.seeds) == (alone.images, alone.seeds)
    assert [bool(alone.luck), bool(found.luck)] == [True, False]


def test_no_other_sweep_has_a_verdict(tmp_path: Path) -> None:
    results = confirmed(tmp_path, {"main": of_seeds(np.random.default_rng(0))}, {})
    tables = load_tables(results)
    search = tables.spec.search.model_copy(update={"claim": None})
    object.__setattr__(tables, "spec", tables.spec.model_copy(update={"search": search}))
    assert find_confirmation(tables) is None
    assert figures.contenders(tables) is None
