"""What is said of a cut follows from the tables, and nothing is said that nobody saw."""

import io
import itertools
from pathlib import Path

import pytest
from builders import SweepBuilder, make_spec
from rich.console import Console
from scipy.stats import kendalltau

from tlsweep import figures, open_results
from tlsweep.report import cut_costs, load_tables
from tlsweep.terminal import print_report

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


@pytest.mark.parametrize("name", ["digits-seed0", "ants-bees-asha", "mnist-to-semeion-seed0"])
def test_of_a_kept_sweep_it_is_what_its_reports_say(name: str) -> None:
    results = open_results(REFERENCE / name)
    tables = load_tables(results)
    main = results.to_pandas("reports").query("arm == 'main'")
    curves = main.pivot_table(index="trial", columns="epoch", values="val_accuracy")
    best, costs = curves.max(axis=1), cut_costs(tables)
    stops = results.to_pandas("trials").query("arm == 'main' and status == 'stopped'")
    assert [cost.epoch for cost in costs] == sorted(set(stops.epoch))
    for cost, after in itertools.zip_longest(costs, costs[1:]):
        cut, on = curves.loc[stops[stops.epoch == cost.epoch].trial, cost.epoch], curves[cost.epoch + 1].dropna().index
        assert (cost.cut, cost.went_on) == (len(cut), len(on))
        assert cost.saved == len(cut) * (tables.spec.train.epochs - cost.epoch)
        assert curves[cost.epoch][cost.best_cut] == cut.max()
        needed = best.max() - best[cost.best_cut]
        assert cost.needed == pytest.approx(needed)
        assert cost.gained == (best[on] - curves.loc[on, cost.epoch] >= needed - 1e-9).sum()
        assert cost.next_epoch == (after.epoch if after else tables.spec.train.epochs)
        both = curves.loc[on, [cost.epoch, cost.next_epoch]].dropna()
        ties = both[cost.epoch].duplicated().any() or both[cost.next_epoch].duplicated().any()
        if len(both) > 1 and not ties:
            assert cost.pairs == len(both) * (len(both) - 1) / 2
            assert 2 * cost.in_order / cost.pairs - 1 == pytest.approx(kendalltau(*both.to_numpy().T).statistic)


@pytest.mark.parametrize(("cut", "words"), [
    (0.6, "t0003, the best that was cut, would have had to gain 0.200 to win, as none of the 3 that went on did"),
    (0.7, "t0003, the best that was cut, would have had to gain 0.100 to win, as 2 of the 3 that went on did"),
    (0.9, "the winner t0003 is one of those that were cut"),
])  # fmt: skip
def test_it_is_said_in_words_with_what_nobody_saw(tmp_path: Path, cut: float, words: str) -> None:
    spec = make_spec(search={"strategy": "asha", "trials": 4, "min_epochs": 1}, controls=[])
    builder = SweepBuilder(tmp_path, spec)
    for number, (here, later) in enumerate([(0.65, 0.8), (0.5, 0.6), (0.4, 0.45)]):
        builder.create(f"t{number:04d}", number)
        builder.report(f"t{number:04d}", here)
        builder.report(f"t{number:04d}", later, epoch=3)
    builder.create("t0003", 3)
    builder.report("t0003", cut)
    builder.event("stopped", "t0003", rung=1, score=cut, threshold=cut + 0.01, reason="number 4 of 4")
    results = builder.finish()
    tables, stream = load_tables(results), io.StringIO()
    (cost,) = cut_costs(tables)
    assert words in cost.in_words()
    print_report(Console(file=stream, width=400), results)
    assert cost.in_words() in stream.getvalue()
    assert "would have become was not seen" in stream.getvalue()
    drawn = figures.rungs(figures.load(results))
    assert drawn is not None
    assert cost.in_words() in drawn.layout.meta["caption"]


def test_a_population_whose_members_go_on_with_weights_of_others_has_no_such_line(tmp_path: Path) -> None:
    spec = make_spec(search={"strategy": "asha_then_pbt", "trials": 4, "population": 2, "min_epochs": 1}, controls=[])
    builder = SweepBuilder(tmp_path, spec)
    for number in range(2):
        builder.create(f"t{number:04d}", number)
        builder.report(f"t{number:04d}", 0.5 + number / 10)
    builder.event("stopped", "t0000", rung=1, score=0.5, reason="number 2 of 2")
    assert cut_costs(load_tables(builder.finish())) == []
