"""Population Based Training: quantiles as Ray's, what diverged is first out, nothing is copied that is not there."""

import copy
import math
import random
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import answers, copied, due_now, equal, population, replayed, report, simulation, tell

from tlsweep.schedulers import Continue, Ended, Exploit, Exploited, Observation, Pbt, Reopened, Stop, Yield
from tlsweep.schedulers.population import MOST_LISTED, Member, Standings
from tlsweep.spec import generator


class FakeTrial(NamedTuple):
    trial_id: str

    def is_finished(self) -> bool:
        return False


def ranked(pbt: Pbt, *, checkpoints: str = "abc", epoch: int = 2) -> Pbt:
    """a, b and c have reported, a the best."""
    for trial, score in (("a", 0.9), ("b", 0.5), ("c", 0.4)):
        pbt.apply(report(trial, epoch, score, checkpoint=trial in checkpoints))
    return pbt


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(-5, 5), min_size=0, max_size=20),
    st.sampled_from([0.1, 0.25, 0.3, 0.5]),
)
def test_quantiles_equal_rays(scores: dict[str, float], fraction: float) -> None:
    from ray.tune.schedulers import PopulationBasedTraining

    theirs = PopulationBasedTraining(
        time_attr="epoch", metric="score", mode="max", quantile_fraction=fraction, hyperparam_mutations={"lr": [1, 2]}
    )
    for name, score in scores.items():
        trial = FakeTrial(name)
        theirs._trial_state[trial] = SimpleNamespace(last_score=score)
    low, high = theirs._quantiles()
    ours = Standings()
    for number, (name, score) in enumerate(scores.items()):
        ours.put(name, Member(number=number, latest=report("a", 1, score)))
    ranks = ours.ranks(fraction)
    assert ranks.lowest == [one.trial_id for one in low]
    assert ranks.highest == [one.trial_id for one in high]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([0.1, 0.2, 0.3, math.nan, None])), max_size=40))
def test_members_are_kept_in_the_order_that_sorting_gives(changes: list[tuple[str, float | None]]) -> None:
    """A number is a new score, None an end; whoever has ended comes back with a score."""
    members = {trial: Member(number=number) for number, trial in enumerate("abcdef")}
    standings = Standings()
    for trial, score in changes:
        member = members[trial]
        member.ended = score is None
        member.latest = member.latest if score is None else report(trial, 1, score)
        standings.put(trial, member)
    live = {trial: member.latest.score for trial, member in members.items() if member.latest and not member.ended}
    sound = {trial: -math.inf if math.isnan(score) else score for trial, score in live.items()}
    ranks = standings.ranks(0.25)
    assert ranks.ascending == sorted(sound, key=lambda trial: sound[trial])
    assert ranks.scores == sound


def test_what_an_exploit_writes_down_does_not_grow_with_a_large_population() -> None:
    pbt = population(members=2 * MOST_LISTED)
    for number in range(1, 2 * MOST_LISTED):
        pbt.apply(report(f"t{number}", 2, number))
    decision = tell(pbt, report("t0", 2, 0.0))
    assert isinstance(decision, Exploit)
    assert decision.details == {
        "score": 0.0, "donor_score": int(decision.donor[1:]), "rank": 2 * MOST_LISTED, "compared": 2 * MOST_LISTED,
    }  # fmt: skip


def test_nothing_is_decided_between_intervals_and_at_the_end() -> None:
    pbt = population(epochs=4)
    assert tell(pbt, report("a", 1, 0.1)) == Continue()
    assert tell(pbt, report("a", 2, 0.1)) == Yield()
    assert tell(pbt, report("a", 4, 0.1)) == Continue()


def test_the_worst_copies_the_best_at_the_same_progress_and_mutates() -> None:
    pbt = ranked(population())
    pbt.apply(report("a", 4, 0.95))
    decision = tell(pbt, report("d", 2, 0.1))
    assert isinstance(decision, Exploit)
    assert (decision.donor, decision.epoch, decision.checkpoint) == ("a", 2, "a/g0-e2")
    assert decision.digest == "sha of a/g0-e2"
    assert decision.mutated["batch_size"][0] == 32
    assert decision.hyperparameters["momentum"] == 0.9
    assert decision.details == {
        "score": 0.1, "donor_score": 0.9, "rank": 4, "compared": 4, "lowest": ["d"], "highest": ["a"],
        "scores": {"a": 0.95, "b": 0.5, "c": 0.4, "d": 0.1},
    }  # fmt: skip


def test_a_decision_draws_from_its_own_generator() -> None:
    """Named by seed, number, generation and epoch: not by what was drawn before."""
    decision = tell(
        ranked(population(seed=7, resample_probability=0, factors=[0.5, 0.8, 1.25, 2])), report("d", 2, 0.1)
    )
    assert isinstance(decision, Exploit)
    rng = generator(7, "mutation", 3, 0, 2)
    rng.random()  # whether to draw again
    assert decision.hyperparameters["lr"] == 1e-2 * rng.choice([0.5, 0.8, 1.25, 2])


def test_a_donor_without_a_checkpoint_is_never_copied() -> None:
    assert tell(ranked(population(), checkpoints=""), report("d", 2, 0.1)) == Yield()


def test_a_diverged_member_takes_any_sound_one_where_the_best_have_no_checkpoint() -> None:
    decision = tell(ranked(population(), checkpoints="c"), report("d", 2, math.nan))
    assert isinstance(decision, Exploit)
    assert decision.donor == "c"


def test_what_a_member_that_has_not_reported_yet_may_copy_is_kept() -> None:
    pbt = population(interval=1)
    for epoch in (1, 2, 3):
        ranked(pbt, epoch=epoch)
    assert pbt.needed("a") == {"a/g0-e1", "a/g0-e2", "a/g0-e3"}
    decision = tell(pbt, report("d", 1, 0.1))
    assert isinstance(decision, Exploit)
    assert decision.checkpoint == "a/g0-e1"


def test_what_all_have_passed_is_forgotten() -> None:
    pbt = population(interval=1)
    for epoch in (1, 2, 3):
        for trial in "abcd":
            pbt.apply(report(trial, epoch, 0.5))
    pbt.apply(report("a", 4, 0.5))
    assert pbt.needed("a") == {"a/g0-e3", "a/g0-e4"}
    for trial in "bcd":
        pbt.apply(Ended(trial))
    pbt.apply(report("a", 5, 0.5))
    assert pbt.needed("a") == {"a/g0-e5"}


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_what_is_no_longer_needed_is_never_copied(data: st.DataObject) -> None:
    """In whatever order members report, end, are reopened, and go back to a donor's earlier epoch."""
    pbt, members, epochs = population(members=4, interval=1, quantile=0.5), "abcd", dict.fromkeys("abcd", 0)
    generations, gone, there = dict.fromkeys(members, 0), set[str](), set[str]()
    ended = set[str]()
    for _ in range(40):
        trial = data.draw(st.sampled_from(members))
        if trial in ended:
            ended.discard(trial)
            pbt.apply(Reopened(trial))
        elif data.draw(st.integers(0, 5)) == 0:
            ended.add(trial)
            pbt.apply(Ended(trial))
        else:
            epochs[trial] += 1
            score = data.draw(st.floats(0, 1) | st.just(math.nan))
            decision = tell(pbt, report(trial, epochs[trial], score, generation=generations[trial]))
            if isinstance(decision, Exploit):
                assert decision.checkpoint not in gone
                assert decision.donor not in ended
                generations[trial], epochs[trial] = generations[trial] + 1, decision.epoch
                pbt.apply(Exploited(trial, generations[trial], decision))
        needed = set().union(*(pbt.needed(one) for one in members))
        gone |= there - needed
        there |= needed


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_diverged_member_is_replaced_at_once_even_between_intervals(bad: float) -> None:
    decision = tell(ranked(population()), report("d", 3, bad))
    assert isinstance(decision, Exploit)
    assert decision.donor == "a"


@pytest.mark.parametrize("score", [0.1, math.nan], ids=["weak", "diverged"])
def test_a_member_that_ends_where_it_was_does_not_take_the_same_state_again(score: float) -> None:
    """Without explore it would train the same epochs for ever; with a state of its own it goes on, else it ends."""
    pbt = ranked(population(explore=False))
    first = tell(pbt, report("d", 4, score))
    assert isinstance(first, Exploit)
    pbt.apply(Exploited("d", 1, first))
    again = tell(pbt, report("d", 4, score, generation=1))
    assert isinstance(again, Stop if math.isnan(score) else Yield)


def test_a_diverged_member_without_any_donor_is_stopped() -> None:
    assert isinstance(tell(population(), report("a", 1, math.nan)), Stop)


def test_a_diverged_member_is_never_a_donor() -> None:
    pbt = population(members=2, quantile=0.5)
    pbt.apply(report("a", 2, math.nan))
    assert tell(pbt, report("b", 2, 0.1)) == Yield()


def test_members_that_ended_are_neither_donors_nor_counted_until_they_are_reopened() -> None:
    pbt = ranked(population())
    pbt.apply(Ended("a"))
    decision = tell(pbt, report("d", 2, 0.1))
    assert isinstance(decision, Exploit)
    assert decision.donor == "b"
    pbt.apply(Reopened("a"))
    again = pbt.decide(report("d", 2, 0.1))
    assert isinstance(again, Exploit)
    assert again.donor == "a"


def test_of_a_member_that_ended_only_the_state_that_it_would_go_on_from_is_kept() -> None:
    pbt = population(interval=1)
    for epoch in (1, 2, 3):
        pbt.apply(report("a", epoch, 0.5))
    pbt.apply(Ended("a"))
    assert pbt.needed("a") == {"a/g0-e3"}


def test_after_an_exploit_the_history_begins_anew() -> None:
    pbt = ranked(population())
    pbt.apply(report("d", 2, 0.1))
    pbt.apply(Exploited("d", 1, copied("a", 2)))
    pbt.apply(report("d", 4, 0.99, generation=1))
    assert pbt.needed("d") == {"d/g1-e4"}


def test_progress_falls_back_to_the_donors() -> None:
    """What the copy may need later is kept although it had passed it itself."""
    pbt = population(interval=1)
    for epoch in (1, 2, 3):
        ranked(pbt, epoch=epoch)
        pbt.apply(report("d", epoch, 0.1))
    pbt.apply(Exploited("d", 1, copied("a", 1)))
    for epoch in (4, 5):
        pbt.apply(report("a", epoch, 0.9))
    assert "a/g0-e3" in pbt.needed("a")


@settings(max_examples=16, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([False, True]), st.sampled_from(["pbt", "pb2"]))
def test_a_replayed_fold_answers_alike_from_any_point_on_and_questions_change_nothing(
    seed: int, synchronous: bool, strategy: str
) -> None:
    rng = random.Random(seed)
    options = {"interval": rng.choice([1, 2]), "synchronous": synchronous, "strategy": strategy, "seed": seed}

    def gain(_: object) -> float:
        return math.nan if rng.random() < 0.1 else rng.random()

    run = simulation(population(epochs=6, quantile=0.5, **options), 6, gain)  # type: ignore[arg-type]
    run.run(rng)
    names, quiet, asked = list(run.members), *(population(epochs=6, quantile=0.5, **options) for _ in range(2))  # type: ignore[arg-type]
    for at, fact in enumerate(run.facts):
        for rules in (quiet, asked):
            rules.apply(fact)
        first, before = answers(asked, names), copy.deepcopy(vars(asked))
        if isinstance(fact, Observation):
            decision = asked.decide(fact)
            assert equal(asked.decide(fact), decision)
        assert equal(answers(asked, names), first)
        assert repr({key: one for key, one in vars(asked).items() if key != "_explorer"}) == repr(
            {key: one for key, one in before.items() if key != "_explorer"}
        )
        if at % 5 == 0 or at == len(run.facts) - 1:
            assert equal(answers(quiet, names), first)
    fresh = replayed(population(epochs=6, quantile=0.5, **options), run.facts)  # type: ignore[arg-type]
    assert equal(answers(fresh, names), answers(run.rules, names))


@pytest.mark.parametrize("synchronous", [False, True])
def test_the_same_seed_gives_the_same_decisions(synchronous: bool) -> None:
    def run() -> list[tuple[str, object]]:
        rng = random.Random(1)
        pbt = population(members=6, interval=1, epochs=8, synchronous=synchronous)
        one = simulation(pbt, 8, lambda _: rng.random(), members=6)
        one.run(random.Random(2))
        return one.decisions

    first = run()
    assert first == run()
    assert any(isinstance(decision, Exploit) for _, decision in first)


@pytest.mark.parametrize("synchronous", [False, True])
def test_a_member_that_diverges_again_from_the_same_state_with_the_same_values_ends(synchronous: bool) -> None:
    """Its seed is its own, so a third time would be no other than the second."""
    rules = population(2, 1, quantile=0.5, explore=False, synchronous=synchronous)
    rules.apply(report("a", 1, 0.9))
    tell(rules, report("b", 1, 0.5))
    copied = due_now(rules).get("b") if synchronous else rules.decide(report("b", 1, 0.5))
    assert isinstance(copied, Exploit)
    rules.apply(Exploited("b", 1, copied))
    if synchronous:
        rules.apply(report("a", 2, 0.95, checkpoint=False))
    decision = tell(rules, report("b", 2, float("nan"), generation=1))
    assert isinstance(due_now(rules).get("b") if synchronous else decision, Stop)
