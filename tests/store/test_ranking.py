"""One order of trials, for all that ask."""

import itertools
import math

from tlsweep.store.ranking import rank

NAN, INFINITE = math.nan, math.inf


def test_trials_have_one_order_with_ties_and_with_what_is_no_number() -> None:
    best_first = [
        (0.9, 0.3, 4), (0.9, 0.3, 7),  # the earlier one
        (0.9, 0.5, 1),  # the lower loss decides before the number does
        (0.9, NAN, 0), (0.9, None, 2), (0.9, INFINITE, 3),
        (0.2, 0.1, 5),
        (NAN, 0.1, 6), (None, 0.1, 8), (INFINITE, 0.1, 9), (-INFINITE, 0.2, 10),
    ]  # fmt: skip
    for chosen in itertools.permutations(best_first, 4):  # a NaN that is compared depends on where it stands
        ranked = sorted(chosen, key=lambda trial: rank(*trial, sign=1), reverse=True)
        assert ranked == sorted(chosen, key=best_first.index)


def test_where_less_is_better_the_order_of_values_is_turned_and_what_is_no_number_still_loses() -> None:
    trials = [(NAN, 0.1, 0), (0.4, 0.4, 1), (0.2, 0.2, 2), (INFINITE, 0.1, 3), (-INFINITE, 0.1, 4)]
    ranked = sorted(trials, key=lambda trial: rank(*trial, sign=-1), reverse=True)
    assert [number for *_, number in ranked] == [2, 1, 0, 3, 4]
