"""PB2: the process predicts as scikit-learn's, proposals stay in the space, and the best value is found."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from populations import SPACE, VALUES, Simulated, population, report, simulation

from tlsweep.schedulers import Exploit, Exploited
from tlsweep.schedulers.explore import Interval, Perturb
from tlsweep.schedulers.pb2 import LATEST, Bandit, Process, fit, standardised, unit
from tlsweep.spec.search.space import Choice, Distribution, LogUniform, PowersOfTwo, Uniform

FALLBACK = Perturb(SPACE, (0.8, 1.25), 0.25)
BANDIT = Bandit(SPACE, 1, FALLBACK)


def intervals(count: int, best: float = 1e-2, *, seed: int = 0) -> list[Interval]:
    """Gains that are highest at a learning rate of `best`."""
    rng, found = random.Random(seed), []
    for at in range(count):
        values = {name: distribution.sample(rng) for name, distribution in SPACE.items()}
        gain = math.exp(-(math.log10(float(values["lr"]) / best) ** 2) / 0.5)
        found.append(Interval(at % 4, 1 + at // 4, values, gain))
    return found


def test_the_process_predicts_as_scikit_learns() -> None:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    rng = np.random.default_rng(0)
    points = np.column_stack([np.full(12, 3.0), rng.random((12, 2))])  # all at one time: what scikit-learn has
    gains, tried = rng.standard_normal(12), np.column_stack([np.full(5, 3.0), rng.random((5, 2))])
    process = Process(points, gains, 0.3, 0.1, 0.05)
    theirs = GaussianProcessRegressor(RBF(0.3), alpha=0.05, optimizer=None).fit(points[:, 1:], gains)
    mean, deviation = theirs.predict(tried[:, 1:], return_std=True)
    beta = 0.2 + math.log(0.4 * 12)
    assert np.allclose(process.upper_bounds(tried, points[:0]), mean + math.sqrt(beta) * deviation, atol=1e-6)
    constant = 6 * math.log(2 * math.pi)
    assert process.log_likelihood() - constant == pytest.approx(theirs.log_marginal_likelihood_value_)


def test_time_takes_away_what_is_known() -> None:
    old, new = (Process(np.array([[at, 0.5]]), np.array([1.0]), 0.3, 0.3, 0.01) for at in (0.0, 9.0))
    here = np.array([[10.0, 0.5]])
    assert new.kernel(new.points, here)[0, 0] == pytest.approx(0.7**0.5)
    assert old.kernel(old.points, here)[0, 0] == pytest.approx(0.7**5)


def test_what_others_try_makes_a_point_less_interesting_and_moves_nothing_else() -> None:
    process = fit(BANDIT._points(intervals(12)), standardised([one.gain for one in intervals(12)]))
    tried = np.array([[4.0, 0.1, 0.0], [4.0, 0.9, 1.0]])
    alone, beside = process.upper_bounds(tried, tried[:0]), process.upper_bounds(tried, tried[:1])
    assert beside[0] < alone[0]
    assert beside[0] - alone[0] < beside[1] - alone[1] <= 0


def test_the_likeliest_process_forgets_what_is_contradicted() -> None:
    points = np.array([[float(at), place] for at in range(20) for place in (0.0, 0.5, 1.0)])
    steady = np.array([place for _, place in points])
    changing = np.array([place if at < 10 else 1 - place for at, place in points])
    assert fit(points, standardised(steady)).forgetting < fit(points, standardised(changing)).forgetting


@pytest.mark.parametrize(
    ("distribution", "value", "wanted"),
    [
        (LogUniform(1e-4, 1e-2), 1e-3, 0.5), (Uniform(2, 4), 3, 0.5), (PowersOfTwo(16, 64), 32, 0.5),
        (Choice((1, 10, 11)), 10, 0.5), (Choice((5,)), 5, 0), (LogUniform(1e-4, 1e-2), 1.0, 1),
    ],
)  # fmt: skip
def test_values_lie_in_the_unit_cube(distribution: Distribution, value: float, wanted: float) -> None:
    assert unit(distribution, value) == pytest.approx(wanted)


def test_divergence_is_the_least_gain() -> None:
    gains = standardised([1.0, 2.0, math.nan, 3.0, -math.inf])
    assert gains[2] == gains[4] == gains[0] == gains.min()
    assert np.array_equal(standardised([0.5] * 6), np.zeros(6))


@pytest.mark.parametrize("seen", [0, 4])
def test_with_few_intervals_it_perturbs(seen: int) -> None:
    diverged = [Interval(0, 1, VALUES, math.nan)] * 10
    donor = report("a", 4, 0.5)
    proposal = BANDIT(donor, intervals(seen) + diverged, [], random.Random(3))
    assert proposal == FALLBACK(donor, [], [], random.Random(3))


def test_proposals_stay_in_bounds_and_on_the_lattice_and_follow_from_the_seed() -> None:
    space: dict[str, Distribution] = {**SPACE, "momentum": Choice((0.0, 0.5, 0.9, 0.99))}
    bandit = Bandit(space, 1, Perturb(space, (0.8, 1.25), 0.25))
    seen = [
        Interval(one.number, one.epoch, {**one.hyperparameters, "momentum": 0.5}, one.gain) for one in intervals(30)
    ]
    for seed in range(8):
        proposal = bandit(report("a", 8, 0.5), seen, seen[:3], random.Random(seed))
        assert proposal == bandit(report("a", 8, 0.5), list(reversed(seen)), seen[:3], random.Random(seed))
        assert proposal.fresh == set(space)
        assert 1e-4 <= float(proposal.values["lr"]) <= 1e-1
        assert proposal.values["batch_size"] in (16, 32, 64, 128)
        assert proposal.values["momentum"] in (0.0, 0.5, 0.9, 0.99)


@pytest.mark.parametrize("best", [1e-3, 3e-2])
def test_it_proposes_what_has_gained_most(best: float) -> None:
    found = [
        float(BANDIT(report("a", 10, 0.5), intervals(40, best, seed=seed), [], random.Random(seed)).values["lr"])
        for seed in range(8)
    ]
    assert abs(float(np.median(np.log10(found))) - math.log10(best)) < 0.3


def test_only_the_latest_intervals_count_in_whatever_order_they_came() -> None:
    old, donor = intervals(40, 1e-3), report("a", 70, 0.5)
    new = [replace(one, epoch=one.epoch + 40) for one in intervals(LATEST, 3e-2)]
    wanted = BANDIT(donor, new, [], random.Random(0))
    assert BANDIT(donor, old + new, [], random.Random(0)) == wanted
    assert BANDIT(donor, new + old, [], random.Random(0)) == wanted
    assert BANDIT(donor, old, [], random.Random(0)) != wanted


@pytest.mark.parametrize("synchronous", [False, True])
def test_on_a_toy_problem_it_finds_the_learning_rate_better_than_random_exploration(synchronous: bool) -> None:
    """A score that grows the faster, the nearer lr is to 2e-3; all members begin far from it."""

    def reached(strategy: str, seed: int, **options: object) -> float:
        def gain(one: Simulated) -> float:
            return math.exp(-(math.log10(float(one.values["lr"]) / 2e-3) ** 2) / 0.1)

        pbt = population(
            6,
            1,
            12,
            seed=seed,
            strategy=strategy,
            synchronous=synchronous,
            mutate=["lr"],
            **options,  # type: ignore[arg-type]
        )
        run = simulation(pbt, 12, gain, members=6)
        for one in run.members.values():
            one.values["lr"] = 0.1 * random.Random(seed).uniform(0.3, 1)
        run.run(random.Random(seed))
        return max(one.score for one in run.members.values())

    seeds = range(4)
    bandit = [reached("pb2", seed) for seed in seeds]
    chance = [reached("pbt", seed, resample_probability=1.0) for seed in seeds]
    assert sum(bandit) > sum(chance), (bandit, chance)


def test_pending_values_of_other_members_reach_the_explorer() -> None:
    """Those of a member that was replaced are known before it has reported again."""
    pbt = population(members=4, interval=1, strategy="pb2", quantile=0.5)
    for epoch in (1, 2, 3, 4):
        for trial, score in (("a", 0.9), ("b", 0.8), ("c", 0.2), ("d", 0.1)):
            pbt.apply(report(trial, epoch, score * epoch))
    exploit = pbt.decide(report("d", 4, 0.4))
    assert isinstance(exploit, Exploit)
    pbt.apply(Exploited("d", 1, exploit))
    pending = {one.number: one for one in pbt._pending(without={"c"})}
    assert pending[3].hyperparameters == exploit.hyperparameters
    assert pending[3].epoch == exploit.epoch + 1
