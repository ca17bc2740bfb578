"""Head node and its disk vanish: what object storage has is enough to go on as if nothing had happened.

What was appended to the journal and not uploaded yet is lost, and nothing else: whatever may be forgotten, no file is
missing that the resumed sweep wants (SimulatedSweep looks at each), and with one place it decides alike.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_store import store_in_memory
from simulated_sweep import SimulatedSweep, assert_complete
from sudden_death import Killed
from vanishing_machine import vanishes

from tlsweep.store import ObjectPath
from tlsweep.store.tables import TableWriter

pytestmark = pytest.mark.usefixtures("instant_disk", "no_tables")

ASHA = ("search.strategy=asha", "search.trials=6", "search.reduction_factor=2", "train.epochs=8")
PBT = ("search.strategy=pbt", "search.population=4", "search.quantile=0.5", "train.epochs=5")
SEARCHES = {
    "random": ("search.trials=3",),
    "stopping": (*ASHA, "search.form=stopping"),
    "promotion": ASHA,
    "pbt": PBT,
    "pbt sync": (*PBT, "search.synchronous=true", "search.interval=2", "train.epochs=6"),
}
every_search = pytest.mark.parametrize("name", SEARCHES)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectPath]:
    monkeypatch.setattr(TableWriter, "due", False)  # each writing waits for the upload, and nothing would be lost
    with store_in_memory() as place:
        yield place


def undisturbed(path: Path, *search: str) -> tuple[SimulatedSweep, int]:
    """A sweep on disk that nobody kills, and of how many transactions its journal consists."""
    sweep = SimulatedSweep(path, *search)
    sweep.launch()
    return sweep, len((path / "journal.jsonl").read_bytes().splitlines())


@every_search
def test_on_a_bucket_it_decides_as_in_a_folder(tmp_path: Path, bucket: ObjectPath, name: str) -> None:
    whole, _ = undisturbed(tmp_path, *SEARCHES[name])
    sweep = SimulatedSweep(bucket / "it", *SEARCHES[name])
    sweep.launch()
    assert sweep.history() == whole.history()
    assert sweep.outcome() == whole.outcome()


@every_search
def test_whatever_was_not_uploaded_is_done_again_alike(tmp_path: Path, bucket: ObjectPath, name: str) -> None:
    whole, transactions = undisturbed(tmp_path, *SEARCHES[name])
    for uploaded in range(0, transactions, 2):
        lost = (0, 1, 2, 5, 11, 10**6)[uploaded // 2 % 6]
        sweep = SimulatedSweep(bucket / f"{uploaded}", *SEARCHES[name])
        with pytest.raises(Killed), vanishes(uploaded, uploaded + lost):
            sweep.launch()
        if uploaded:
            assert len(sweep.records()) >= uploaded
        sweep.launch()
        assert sweep.history() == whole.history(), (uploaded, lost)
        assert sweep.outcome() == whole.outcome(), (uploaded, lost)


@every_search
def test_with_several_places_nothing_is_missing_or_doubled(bucket: ObjectPath, name: str) -> None:
    for seed in range(4):
        chance = random.Random(seed)
        sweep = SimulatedSweep(bucket / f"{seed}", *SEARCHES[name], slots=chance.randint(2, 5), seed=seed)
        for _ in range(6):
            uploaded = chance.randrange(20)
            try:
                with vanishes(uploaded, uploaded + chance.randrange(12)):
                    sweep.launch(steps=chance.choice([None, 6, 15]))
            except Killed:
                pass
        sweep.launch()
        assert_complete(sweep)


def test_a_file_removed_too_early_would_be_missed(bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """That removals wait is what the tests above prove: without it they fail."""
    from tlsweep.sweep.ledger import Ledger

    monkeypatch.setattr(Ledger, "when_durable", lambda self, action: action())
    missed = 0
    for uploaded in range(4, 16):
        sweep = SimulatedSweep(bucket / f"{uploaded}", *SEARCHES["random"], "train.epochs=9")
        sweep.pace = 9.0  # no report waits for the next one
        with pytest.raises(Killed), vanishes(uploaded, uploaded + 6):
            sweep.launch()
        try:
            sweep.launch()
        except AssertionError:
            missed += 1
    assert missed
