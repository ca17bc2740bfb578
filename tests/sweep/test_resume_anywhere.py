"""A sweep that is killed anywhere, any time, goes on as if nothing had happened.

With one place everything that is decided is the same as if nobody had killed it; with several, where the order of
reports is open, nothing is missing or doubled. What is simulated and what is real: see simulated_sweep.py.
"""

import random
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import pytest
from simulated_sweep import Dies, SimulatedSweep, Stay, assert_complete
from sudden_death import Death, Killed, killed_at

from tlsweep.store import Record, SweepState
from tlsweep.store.schema import KINDS

pytestmark = pytest.mark.usefixtures("instant_disk", "no_tables")

ASHA = ("search.strategy=asha", "search.trials=7", "search.reduction_factor=2", "train.epochs=8")
PBT = ("search.strategy=pbt", "search.population=4", "search.quantile=0.5", "train.epochs=5")
THEN_PBT = (
    "search.strategy=asha_then_pbt", "search.trials=6", "search.population=3", "search.reduction_factor=2",
    "train.epochs=6", "search.screening_epochs=2",
)  # fmt: skip
PER_BATCH_SIZE = "train.lr={per: batch_size, power: 0.5, loguniform: [1e-3, 0.1]}"
INDEPENDENT: dict[str, tuple[str, ...]] = {
    "random": ("search.trials=4",),
    "grid": ("search.strategy=grid", "search.points=2", "train.batch_size={choice: [8, 16]}"),
    "asha stopping": ASHA,
    "asha promotion": (*ASHA, "search.form=promotion"),
    "asha budget": (*ASHA, "search.form=promotion", "search.reduction_factor=3", "budget.epochs=15"),
    "asha arms": (*ASHA, "search.form=promotion", "search.trials=4", "controls=[scratch]", "model.weights=DEFAULT"),
    "asha device hours": (*ASHA, "budget.device_hours=0.01"),
    "random patience": ("search.trials=4", "search.patience=2", "train.epochs=9"),
    "asha patience": (*ASHA, "search.patience=1"),
    "random tpe": ("search.trials=12", "search.sampler=tpe", "train.epochs=4", PER_BATCH_SIZE),
    "asha tpe": ("search.strategy=asha", "search.trials=14", "search.sampler=tpe", "train.epochs=3"),
}
POPULATIONS = {
    "pbt": PBT,
    "pbt interval": (*PBT, "search.interval=2", "search.couple_lr=sqrt"),
    "pbt sync": (*PBT, "search.synchronous=true", PER_BATCH_SIZE),
    "pbt sync interval": (*PBT, "search.synchronous=true", "search.interval=2", "train.epochs=7"),
    "pbt arms": (*PBT, "search.population=3", "controls=[no-explore]", "budget.epochs=9"),
    "recipe": (
        "search.strategy=recipe",
        "train.lr=0.1",
        "train.batch_size=16",
        "train.epochs=8",
        "search.schedule=[{to_epoch: 2}, {to_epoch: 5, values: {lr: 0.05}}, {to_epoch: 7, values: {batch_size: 32}}]",
    ),
    "asha then pbt": THEN_PBT,
    "asha then pbt sync": (*THEN_PBT, "search.synchronous=true", "search.interval=2"),
    "asha then pbt budget": (*THEN_PBT, "search.trials=9", "budget.epochs=16"),
    "asha then pbt arms": (*THEN_PBT, "search.trials=4", "search.population=2", "controls=[no-explore]"),
    "pb2": ("search.strategy=pb2", "search.population=3", "train.epochs=4"),
}
EVERY = INDEPENDENT | POPULATIONS
HOW: tuple[Death, ...] = get_args(Death)
every_search = pytest.mark.parametrize("name", EVERY)


def unlucky(stay: Stay, state: SweepState) -> bool:
    """t0000 loses its worker once, t0001 whenever it begins its second epoch, t0002 twice at the start."""
    number, failures = int(stay.assignment.trial[1:5]), state.trials[stay.assignment.trial].failures
    return (number, stay.epoch) == (1, 1) or (number, stay.epoch, failures) in {(0, 1, 0), (2, 0, 0), (2, 0, 1)}


@dataclass(frozen=True)
class Undisturbed:
    """What a sweep that nobody kills has written down, decided and left, and in how many transactions."""

    records: list[Record]
    history: list[str]
    outcome: list[str]
    transactions: int


@cache
def undisturbed(name: str, dies: Dies | None = None) -> Undisturbed:
    """Of each search once: it is the same for every test."""
    with TemporaryDirectory() as path:
        sweep = SimulatedSweep(Path(path), *EVERY[name], dies=dies)
        sweep.launch()
        assert_complete(sweep)
        transactions = len(sweep.folder.journal.read_bytes().splitlines())
        return Undisturbed(sweep.records(), sweep.history(), sweep.outcome(), transactions)


@every_search
def test_what_events_say_stands_in_their_reference(name: str) -> None:
    listed = {kind: set(re.findall(r"`(\w+)`", known.details)) for kind, known in KINDS.items()}
    listed["finished"] |= listed["stopped"]
    for record in undisturbed(name, unlucky).records:
        if record["type"] == "event":
            kind, details = record["kind"], record["details"]
            inner = [names for change in details.values() for names in change] if kind == "perturbed" else details
            assert set(inner) <= listed[kind], kind


def some(transactions: int, name: str, stride: int = 1) -> range:
    """Every `stride`th transaction, of a short journal at least five; a fit of PB2's takes a while, so there fewer."""
    stride = min(stride, max(1, transactions // 5))
    return range(0, transactions, 5 * stride if name == "pb2" else stride)


@every_search
@pytest.mark.parametrize(
    ("dies", "stride"),
    [
        pytest.param(None, 16, id=""),
        pytest.param(unlucky, 24, id="failures"),
        pytest.param(None, 1, id="every one", marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_transaction_it_decides_as_if_nothing_had_happened(
    tmp_path: Path, name: str, dies: Dies | None, stride: int
) -> None:
    whole = undisturbed(name, dies)
    for at in some(whole.transactions, name, stride):
        sweep = SimulatedSweep(tmp_path / f"{at}", *EVERY[name], dies=dies)
        with pytest.raises(Killed), killed_at(at, HOW[at % 3]):
            sweep.launch()
        sweep.launch()
        assert sweep.history() == whole.history, at
        assert sweep.outcome() == whole.outcome, at


@every_search
def test_killed_and_interrupted_again_and_again_it_decides_as_if_nothing_had_happened(
    tmp_path: Path, name: str
) -> None:
    whole = undisturbed(name)
    sweep, chance = SimulatedSweep(tmp_path, *EVERY[name]), random.Random(name)
    for _ in range(whole.transactions // 2):
        try:
            with killed_at(chance.randrange(1, 8), chance.choice(HOW)):
                sweep.launch(steps=chance.choice([None, 1, 3, 5]))
        except Killed:
            pass
    sweep.launch()
    assert sweep.history() == whole.history
    assert sweep.outcome() == whole.outcome


@every_search
def test_interrupted_at_any_step_every_trial_has_an_end_and_the_sweep_goes_on(tmp_path: Path, name: str) -> None:
    whole = undisturbed(name)
    for at in some(2 * whole.transactions, name, 26):
        sweep = SimulatedSweep(tmp_path / f"{at}", *EVERY[name])
        assert all(one.status.final for one in sweep.launch(steps=at).trials.values())
        sweep.launch()
        assert sweep.history() == whole.history, at
        assert sweep.outcome() == whole.outcome, at


@every_search
@pytest.mark.parametrize("budget", ["target=0.7", "epochs=6", "device_hours=0.004"])
def test_launched_again_after_a_budget_ended_it_a_sweep_decides_nothing_more(
    tmp_path: Path, name: str, budget: str
) -> None:
    sweep = SimulatedSweep(tmp_path / "sweep", *EVERY[name], f"budget.{budget}", slots=3)
    sweep.launch()
    assert_complete(sweep)
    before = sweep.history(), sweep.outcome()
    sweep.launch()
    assert (sweep.history(), sweep.outcome()) == before


def spoil(sweep: SimulatedSweep, chance: random.Random) -> None:
    """Of trials that are to go on, cut the last checkpoint short or remove it; sometimes the one before it too."""
    for one in sweep.state().trials.values():
        for checkpoint in one.trail[-chance.choice([1, 1, 2]) :] if not one.status.final else ():
            path = sweep.folder.path / checkpoint.path
            if path.exists():
                sweep.damaged.add(checkpoint.path)
                if chance.random() < 0.5:
                    path.unlink()
                else:
                    path.write_bytes(path.read_bytes()[:-9])


@every_search
def test_a_damaged_checkpoint_is_passed_over_and_no_row_is_doubled(tmp_path: Path, name: str) -> None:
    whole = undisturbed(name)
    told = set()
    for at in some(whole.transactions, name, 5 if name == "pb2" else 8):
        sweep = SimulatedSweep(tmp_path / f"{at}", *EVERY[name])
        sweep.pace = 4.0  # epochs so long that reports come before a trial's last one, whatever the search
        with pytest.raises(Killed), killed_at(at, "after"):
            sweep.launch()
        spoil(sweep, random.Random(at))
        sweep.launch()
        assert_complete(sweep)
        told |= {record["kind"] for record in sweep.records() if record["type"] == "event"}
        if name in INDEPENDENT:  # an epoch that is trained again gives the same weights, and changes no decision
            assert sweep.history("restored", "repeated") == whole.history, at
    # PB2 is killed at a few moments only, and a recipe where a step ends: there nothing may have to be trained again.
    assert ({"restored"} if name in ("pb2", "recipe") else {"restored", "repeated"}) <= told


def launch_until_an_accident(sweep: SimulatedSweep, chance: random.Random) -> None:
    """It is interrupted, or killed, or neither."""
    with suppress(Killed), killed_at(chance.randrange(1, 20), chance.choice(HOW)):
        sweep.launch(steps=chance.choice([None, 4, 12]))


@every_search
def test_nor_is_it_with_several_trials_in_a_place(tmp_path: Path, name: str) -> None:
    """They die alone here, as when they are tried again."""
    full: set[int] = set()
    fill = EVERY.keys() - {"grid", "recipe", "pb2", "pbt interval", "random tpe", "asha tpe"}  # with one kind alone
    for seed in range(1 if name == "pb2" else 2):
        chance = random.Random(f"{name} {seed}")
        sweep = SimulatedSweep(
            *(tmp_path / f"{seed}", *EVERY[name], *(["train.batch_size=8"] if name in fill else [])),
            slots=chance.randint(1, 3),
            room=chance.randint(2, 5),
            seed=seed,
            dies=chance.choice([None, unlucky]),
        )
        for _ in range(4):
            launch_until_an_accident(sweep, chance)
        sweep.launch()
        assert_complete(sweep)
        full.add(sweep.fullest)
    assert name not in fill or max(full) > 1


@every_search
@pytest.mark.parametrize("alike", [True, False], ids=["", "never twice the same weights"])
def test_with_several_places_nothing_is_missing_or_doubled_whatever_happens(
    tmp_path: Path, name: str, alike: bool
) -> None:
    for seed in range(2 if alike and name != "pb2" else 1):
        chance = random.Random(f"{name} {seed}")  # else every search would meet the same few accidents
        dies = chance.choice([None, unlucky])
        sweep = SimulatedSweep(tmp_path / f"{seed}", *EVERY[name], slots=chance.randint(2, 6), seed=seed, dies=dies)
        sweep.alike = alike
        for _ in range(10):
            launch_until_an_accident(sweep, chance)
            if chance.random() < 0.3:
                spoil(sweep, chance)
        sweep.launch()
        assert_complete(sweep)
